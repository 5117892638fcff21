"""SPAN as its authors, neosr and traiNNer save it: `conv_1`, `block_1.c1_r`, ..., `conv_cat`, `upsampler.0`.

A convolution there is `sk` and `conv.0` to `conv.2`, the branches that learn, and `eval_conv`, what they were
folded into when the network was used last: old, where it learned on. So the branches are folded here, and
`eval_conv` is taken only where a file has nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec
from img2img.models.folding import fold

_NAMES = {"conv_1": "first", "conv_2": "after", "conv_cat": "join", "upsampler.0": "last"}
_BRANCHES = ("sk", "conv.0", "conv.1", "conv.2")


@layouts.register("span")
def span(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises SPAN with its branches, or folded.

    Raises:
        ModelError: No scale fits the width of its last layer.
    """
    if "conv_cat.weight" not in state or "upsampler.0.weight" not in state:
        return None
    if not any(key.startswith("block_1.c1_r.") for key in state):
        return None
    blocks = count({key.partition(".")[0]: value for key, value in state.items()}, "block_{}", start=1)
    folded = _folded(state)
    weights = {_renamed(key): value for key, value in folded.items() if key != "no_norm"}
    inputs, phases = weights["first.weight"].shape[1], weights["last.weight"].shape[0]
    arguments = {
        "in_channels": inputs,
        "out_channels": (outputs := _outputs(inputs, phases)),
        "scale": math.isqrt(phases // outputs),
        "features": weights["first.weight"].shape[0],
        "blocks": blocks,
        "mean": "none" if "no_norm" in state else "div2k",
        "skip": False,
        "branches": False,
        "symmetric": False,
    }
    text = f"SPAN, {'with branches' if 'conv_1.sk.weight' in state else 'folded'}, x{arguments['scale']}"
    return Recognised(ArchSpec("span", arguments), weights, text, ModelInfo(origin={"layout": text}))


def _folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns `state` with each convolution as one; half of one stays, so that reading reports it."""
    found = dict(state)
    for name in dict.fromkeys(re.sub(r"\.(sk|eval_conv)\.weight$", "", key) for key in state):
        branches = [[f"{name}.{part}.{leaf}" for leaf in ("weight", "bias")] for part in _BRANCHES]
        old = [f"{name}.eval_conv.{leaf}" for leaf in ("weight", "bias")]
        if all(key in state for pair in branches for key in pair):
            skip, *row = ([found.pop(key).double() for key in pair] for pair in branches)
            weight, bias = (value.float() for value in fold(skip, row))
            for key in old:
                found.pop(key, None)
        elif all(key in state for key in old) and f"{name}.sk.weight" not in state:
            weight, bias = (found.pop(key) for key in old)
        else:
            continue
        found |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return found


def _renamed(key: str) -> str:
    """Returns our name of a layer; what has none keeps its own."""
    if match := re.fullmatch(r"block_(\d{1,4})\.c([123])_r\.(weight|bias)", key):
        return f"blocks.{int(match[1]) - 1}.conv{match[2]}.{match[3]}"
    name, _, leaf = key.rpartition(".")
    return f"{_NAMES.get(name, name)}.{leaf}"


def _outputs(inputs: int, phases: int) -> int:
    """Returns how many channels the picture has: as many as the input, if a scale fits that."""
    for outputs in (inputs, 3, 1):
        if phases % outputs == 0 and math.isqrt(phases // outputs) ** 2 * outputs == phases:
            return outputs
    raise ModelError(f"is a SPAN network with {inputs} input and {phases} last channels: no scale fits.")
