"""The networks that are known as graphs of ncnn: RRDBNet, the compact network, SPAN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised
from img2img.interop.ncnn import Graph, Value
from img2img.interop.ncnn_files import Layer
from img2img.models import ArchSpec
from img2img.models.span import IMG_RANGE, MEANS

Read = tuple[dict[str, Any], dict[str, Tensor]]


def open_ncnn(path: Path) -> Recognised:
    """Reads a `.param` file and the `.bin` beside it.

    Raises:
        UnknownModelError: It is of a network that is not known; the first layer that is too much is named.
        ModelError: The files are damaged, do not fit each other, or one of them is missing.
    """
    graph = Graph(path)
    name, title, read = _family({layer.kind for layer in graph.layers})
    try:
        arguments, state = read(graph)
    except ModelError as error:
        raise type(error)(error.reason, path) from None
    text = f"ncnn, {title}, x{arguments['scale']}"
    return Recognised(ArchSpec(name, arguments), state, text, ModelInfo(origin={"layout": text}))


def _family(kinds: set[str]) -> tuple[str, str, Callable[[Graph], Read]]:
    """Returns the only network that may have layers of such kinds."""
    if "Swish" in kinds:
        return "span", "SPAN", _span
    if "PixelShuffle" in kinds:
        return "compact", "compact (SRVGGNetCompact)", _compact
    return "rrdbnet", "ESRGAN", _rrdbnet


class _State(dict[str, Tensor]):
    """The weights of a network under our names."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def conv(self, name: str, x: Value) -> Value:
        """Follows the convolution that takes `x`, and keeps its numbers as those of `name`."""
        y = self._graph.take("conv", x)
        self[f"{name}.weight"], self[f"{name}.bias"] = self._graph.weights(y)
        return y

    def sides(self, first: str, last: str) -> dict[str, int]:
        """Returns the channels at both ends and in between."""
        weight, end = self[f"{first}.weight"], self[f"{last}.weight"]
        return {"in_channels": weight.shape[1], "out_channels": end.shape[0], "features": weight.shape[0]}


def _compact(graph: Graph) -> Read:
    state, x, place = _State(graph), graph.input, 0
    slopes = {"relu": 0.0, "leakyrelu": 0.1}
    activation = None
    y = state.conv("body.0", x)
    while True:
        if after := graph.has("prelu", y):
            kind = "prelu"
            (state[f"body.{place + 1}.weight"],) = graph.weights(after)
        else:
            found = {name: graph.has("leaky", y, slope) for name, slope in slopes.items()}
            kind, after = next(((name, value) for name, value in found.items() if value), ("", None))
        if after is None:
            break
        if activation not in (None, kind):
            raise graph.unknown()
        activation, place = kind, place + 2
        y = state.conv(f"body.{place}", after)
    sides = state.sides("body.0", f"body.{place}")
    scale = _scale(sides)
    picture = _shuffled(graph, y, scale)
    enlarged = x if scale == 1 and not graph.has("nearest", x, 1) else graph.take("nearest", x, scale)
    graph.finish(graph.take("add", picture, enlarged))
    return {
        **sides,
        "scale": scale,
        "convs": place // 2 - 1,
        "activation": activation or "prelu",
    }, state


def _rrdbnet(graph: Graph) -> Read:
    state, x, unshuffle = _State(graph), graph.input, 1
    for times in (2, 4):
        if folded := graph.has("unshuffle", x, times):
            x, unshuffle = folded, times
    first = y = state.conv("conv_first", x)
    blocks = 0
    while _is_activated(graph, y):
        start = y
        for part in ("rdb1", "rdb2", "rdb3"):
            maps = [y]
            for number in range(1, 5):
                joined = y if number == 1 else graph.take("concat", *maps)
                z = state.conv(f"body.{blocks}.{part}.conv{number}", joined)
                maps.append(graph.take("leaky", z, 0.2))
            z = state.conv(f"body.{blocks}.{part}.conv5", graph.take("concat", *maps))
            y = graph.take("add", graph.take("times", z, 0.2), y)
        y = graph.take("add", graph.take("times", y, 0.2), start)
        blocks += 1
    y = graph.take("add", first, state.conv("conv_body", y))
    steps = 0
    while enlarged := graph.has("nearest", y, 2):
        steps += 1
        y = graph.take("leaky", state.conv(f"conv_up{steps}", enlarged), 0.2)
    y = graph.take("leaky", state.conv("conv_hr", y), 0.2)
    graph.finish(state.conv("conv_last", y))
    sides = state.sides("conv_first", "conv_last")
    growth = state["body.0.rdb1.conv1.weight"].shape[0] if blocks else 32
    return {
        **sides,
        "in_channels": sides["in_channels"] // unshuffle**2,
        "scale": 2**steps // unshuffle,
        "blocks": blocks,
        "growth": growth,
        "unshuffle": unshuffle,
        "plus": False,
    }, state


def _span(graph: Graph) -> Read:
    state, x = _State(graph), graph.input
    mean, factor = "none", 1.0
    for constant in (layer for layer in graph.layers if layer.kind == "MemoryData"):
        x, mean = graph.take("subtract", x, graph.take("constant", constant.name)), _mean(constant)
    if scaled := graph.has("times", x, IMG_RANGE):
        x, factor = scaled, IMG_RANGE
    first = y = state.conv("first", x)
    blocks: list[tuple[Value, Value]] = []
    while (conv := graph.has("conv", y)) and (early := graph.has("silu", conv)):
        name = f"blocks.{len(blocks)}.conv"
        state.conv(f"{name}1", y)
        middle = graph.take("silu", state.conv(f"{name}2", early))
        late = state.conv(f"{name}3", middle)
        weight = graph.take("plus", graph.take("sigmoid", late), -0.5)
        y = graph.take("mul", graph.take("add", late, y), weight)
        blocks.append((y, early))
    after = state.conv("after", y)
    if not blocks:
        raise graph.unknown()
    joined = graph.take("concat", first, after, blocks[0][0], blocks[-1][1])
    last = state.conv("last", state.conv("join", joined))
    sides = state.sides("first", "last")
    scale = _scale(sides)
    graph.finish(_shuffled(graph, last, scale))
    # ours counts in levels wherever it takes the mean off: the first layer makes up for it
    state["first.weight"] *= factor if mean == "none" else factor / IMG_RANGE
    rest = {"blocks": len(blocks), "mean": mean, "skip": False, "branches": False, "symmetric": False}
    return {**sides, "scale": scale, **rest}, state


def _shuffled(graph: Graph, phases: Value, scale: int) -> Value:
    if scale == 1 and not graph.has("shuffle", phases, 1):
        return phases
    return graph.take("shuffle", phases, scale)


def _is_activated(graph: Graph, y: Value) -> bool:
    conv = graph.has("conv", y)
    return conv is not None and graph.has("leaky", conv, 0.2) is not None


def _scale(sides: dict[str, int]) -> int:
    """Returns the scale that makes as many phases, and puts the channels of the picture in their place."""
    phases, outputs = sides["out_channels"], sides["in_channels"]
    scale = next((n for n in range(1, 17) if outputs * n * n == phases), None)
    if scale is None:
        raise ModelError(f"has {outputs} input and {phases} last channels, which no scale fits.")
    sides["out_channels"] = outputs
    return scale


def _mean(constant: Layer) -> str:
    (mean,) = constant.weights
    for name, known in MEANS.items():
        if mean.shape == (3,) and torch.allclose(mean, torch.tensor(known), atol=1e-4):
            return name
    raise ModelError(
        f"takes {[round(value, 4) for value in mean.flatten()[:4].tolist()]} off its input, in {constant}; "
        f"SPAN is built here with one of {', '.join(str(list(known)) for known in MEANS.values())}."
    )
