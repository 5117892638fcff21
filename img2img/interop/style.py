"""Networks of style transfer from PyTorch's examples (fast_neural_style): candy.pth, mosaic.pth, udnie.pth.

    conv{1,2,3}.conv2d, in{1,2,3}                 convolution and norm, down to a quarter of the resolution
    res{1,...}.{conv1.conv2d,in1,conv2.conv2d,in2}  residual blocks
    deconv{1,2}.conv2d, in{4,5}                   up again
    deconv3.conv2d                                the picture

They take and make pictures from 0 to 255. Both are folded into the first and the last convolution, exactly,
since all borders are reflected. Older files carry running statistics of the norms, which were never used;
they are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_KERNEL = 9
_HALF = 127.5  # of white, which is where our 0 lies


@layouts.register("fast_neural_style")
def fast_neural_style(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises a network of any width and number of blocks."""
    first, last = state.get("conv1.conv2d.weight"), state.get("deconv3.conv2d.weight")
    blocks = count(state, "res{}.conv1.conv2d.weight", 1)
    if first is None or last is None or not blocks or "conv1.conv2d.bias" not in state:
        return None
    if first.ndim != 4 or last.ndim != 4 or (first.shape[-1], last.shape[-1]) != (_KERNEL, _KERNEL):
        return None
    modules = {"deconv3.conv2d": "last.conv"}
    for index in range(3):
        modules |= {
            f"conv{index + 1}.conv2d": f"head.{index}.conv",
            f"in{index + 1}": f"head.{index}.norm",
        }
    for index in range(2):
        modules |= {
            f"deconv{index + 1}.conv2d": f"tail.{index}.conv",
            f"in{index + 4}": f"tail.{index}.norm",
        }
    for index in range(blocks):
        for place in (1, 2):
            modules[f"res{index + 1}.conv{place}.conv2d"] = f"blocks.{index}.conv{place}"
            modules[f"res{index + 1}.in{place}"] = f"blocks.{index}.norm{place}"
    renamed = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if leaf not in _STATISTICS:
            renamed[f"{modules.get(module, module)}.{leaf}"] = value
    weight, bias = first.float(), state["conv1.conv2d.bias"].float()
    renamed["head.0.conv.weight"] = weight * _HALF
    renamed["head.0.conv.bias"] = bias + weight.sum((1, 2, 3)) * _HALF
    renamed["last.conv.weight"] = last.float() / _HALF
    if (shift := state.get("deconv3.conv2d.bias")) is not None:
        renamed["last.conv.bias"] = shift.float() / _HALF - 1
    arguments = {
        "in_channels": first.shape[1],
        "out_channels": last.shape[0],
        "features": first.shape[0],
        "blocks": blocks,
    }
    text = f"fast_neural_style, {blocks} blocks"
    return Recognised(ArchSpec("style_resnet", arguments), renamed, text, ModelInfo("own", synthetic=True))
