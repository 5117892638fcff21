"""EDSR in the layouts of the code that people train it with.

    BasicSR       conv_first, body.0.conv1, ..., conv_after_body, upsample.0, upsample.2, conv_last
    mmagic        the same, but upsample.0.upsample_conv, upsample.1.upsample_conv
    its authors   sub_mean, head.0, body.0.body.0, body.0.body.2, ..., body.16, tail.0.0, tail.1, add_mean

Two numbers stand in no file but in the configurations of those who trained them, and go into the weights
here. BasicSR and the authors feed the network levels of 8 bits, mmagic parts of white. What a block adds is
multiplied by 0.1 where there are 256 features, as the paper says of its large network, and else by 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec
from img2img.models.span import IMG_RANGE, MEANS
from img2img.models.srresnet import STEPS

_LARGE, _LARGE_SCALE = 256, 0.1  # features, and what their residuals are multiplied by (section 3.2)


@layouts.register("edsr")
def edsr(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises EDSR in any of its layouts.

    Raises:
        ModelError: It is one for pictures that are not RGB, of a scale that is not built, or with a mean
            colour that is not known.
    """
    if "body.0.conv1.weight" in state and "conv_after_body.weight" in state:
        steps = count(state, "upsample.{}.upsample_conv.weight")
        layout, levels = ("mmagic", 1.0) if steps else ("BasicSR", IMG_RANGE)
        ends, conv = ("conv_first", "conv_after_body", "conv_last"), "conv{}"
        step = "upsample.{}.upsample_conv" if steps else "upsample.{}"
    elif "head.0.weight" in state and "body.0.body.0.weight" in state:
        after = f"body.{count(state, 'body.{}.body.0.weight')}"
        layout, levels = "EDSR-PyTorch", _levels(state)
        ends, conv, step = ("head.0", after, "tail.1"), "body.{}", "tail.0.{}"
    else:
        return None
    if any(f"{end}.weight" not in state for end in ends):
        return None
    places = _steps(state, step)
    numbers = ("1", "2") if conv == "conv{}" else ("0", "2")
    modules = dict(zip(ends, ("first", "after", "last"), strict=True))
    modules |= {step.format(place): f"up.{index}" for index, place in enumerate(places)}
    blocks = count(state, f"body.{{}}.{conv.format(numbers[0])}.weight")
    for block in range(blocks):
        for index, number in enumerate(numbers, 1):
            modules[f"body.{block}.{conv.format(number)}"] = f"blocks.{block}.conv{index}"
    weights = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if module not in ("sub_mean", "add_mean"):
            weights[f"{modules.get(module, module)}.{leaf}"] = value
    features, inputs = weights["first.weight"].shape[:2]
    outputs = weights["last.weight"].shape[0]
    scale = _scale(weights, features)
    if inputs != 3 or outputs != 3:
        raise ModelError(
            f"is an EDSR network from {inputs} to {outputs} channels, and its mean colour stands in no file; "
            "those for RGB are read."
        )
    _fold(weights, blocks, levels, _LARGE_SCALE if features == _LARGE else 1.0)
    arguments = {
        "in_channels": inputs,
        "out_channels": outputs,
        "scale": scale,
        "features": features,
        "blocks": blocks,
        "mean": "div2k",
    }
    text = f"EDSR ({layout}), x{scale}"
    return Recognised(ArchSpec("edsr_paper", arguments), weights, text, ModelInfo(origin={"layout": text}))


def _steps(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Returns the places of the enlarging convolutions, which shuffles without weights may stand between."""
    return [place for place in range(8) if f"{pattern.format(place)}.weight" in state]


def _scale(weights: Mapping[str, Tensor], features: int) -> int:
    steps = [
        math.isqrt(weights[f"up.{index}.weight"].shape[0] // features)
        for index in range(count(weights, "up.{}.weight"))
    ]
    scale = math.prod(steps)
    if STEPS.get(scale) != tuple(steps):
        raise ModelError(
            f"is an EDSR network that enlarges by {' times '.join(map(str, steps))}; those for "
            f"{', '.join(map(str, STEPS))} are read."
        )
    return scale


def _levels(state: Mapping[str, Tensor]) -> float:
    """Returns what is white for a network of the authors: the mean colour in its numbers tells."""
    bias = state.get("sub_mean.bias")
    if bias is None:
        return IMG_RANGE
    mean = torch.tensor(MEANS["div2k"])
    levels = float(-bias.float().flatten()[0] / mean[0])
    if bias.shape != (3,) or levels <= 0 or not torch.allclose(-bias.float(), levels * mean, rtol=1e-3):
        raise ModelError(
            f"is an EDSR network that takes {[round(float(value), 3) for value in bias.flatten()[:4]]} off "
            f"its input; those with multiples of {list(MEANS['div2k'])} are read."
        )
    return levels


def _fold(weights: dict[str, Tensor], blocks: int, levels: float, residual: float) -> None:
    """Puts the levels of white and the scale of the residuals into the weights."""
    factors = {"first.weight": levels, "last.weight": 1 / levels, "last.bias": 1 / levels}
    for block in range(blocks):
        factors |= {f"blocks.{block}.conv2.{leaf}": residual for leaf in ("weight", "bias")}
    for key, factor in factors.items():
        if factor != 1 and key in weights:
            weights[key] = weights[key].float() * factor
