"""The U-Net of partial convolutions in the layout of the implementation in PyTorch that people train.

    naoto0804    enc_1.conv.input_conv, enc_2.conv.input_conv, enc_2.bn, ..., dec_1.conv.input_conv, and
                 mask_conv beside each input_conv; earlier conv2d and mask2d, every one with a bias

That code divides by the number of known values alone, where the paper multiplies by that of all as well: here
the weights are smaller by that number instead. Its networks see values in units of ImageNet's mean and
deviation, as ours do. A bias in front of a batch norm moves into its running mean: where nothing is known
neither counts, since the next layer sees nothing there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised, layouts
from img2img.models import ArchSpec

_NAMES = {"input_conv": "mask_conv", "conv2d": "mask2d"}


@layouts.register("partial-convolutions")
def partial_unet(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises the U-Net of partial convolutions."""
    conv = next((name for name in _NAMES if f"enc_1.conv.{name}.weight" in state), None)
    if conv is None or f"dec_1.conv.{conv}.weight" not in state:
        return None
    left = dict(state)
    downs = 1
    while f"enc_{downs + 1}.conv.{conv}.weight" in state:
        downs += 1
    ours: dict[str, Tensor] = {}
    for side, role in (("enc", "encoder"), ("dec", "decoder")):
        for level in range(downs):
            theirs, place = f"{side}_{level + 1}", f"{role}.{level}"
            weight = left.pop(f"{theirs}.conv.{conv}.weight")
            counting = left.pop(f"{theirs}.conv.{_NAMES[conv]}.weight", None)
            if counting is not None and not (counting == 1).all():
                raise ModelError(f"counts known values with other weights than 1 in {theirs}.")
            left.pop(f"{theirs}.conv.{_NAMES[conv]}.bias", None)
            ours[f"{place}.conv.conv.weight"] = weight.float() / weight[0].numel()
            bias = left.pop(f"{theirs}.conv.{conv}.bias", torch.zeros(len(weight))).float()
            if level == 0:
                ours[f"{place}.conv.conv.bias"] = bias
                continue
            for name in ("weight", "bias", "running_mean", "running_var"):
                ours[f"{place}.norm.{name}"] = left.pop(f"{theirs}.bn.{name}").float()
            ours[f"{place}.norm.running_mean"] = ours[f"{place}.norm.running_mean"] - bias
            counted = left.pop(f"{theirs}.bn.num_batches_tracked", torch.tensor(0))
            ours[f"{place}.norm.num_batches_tracked"] = counted
    features, channels = state[f"enc_1.conv.{conv}.weight"].shape[:2]
    widest = max(len(state[f"enc_{level}.conv.{conv}.weight"]) for level in range(1, downs + 1))
    spec = ArchSpec(
        "partial_unet",
        {"in_channels": channels, "features": features, "downs": downs, "growth": widest // features},
    )
    layout = f"partial convolutions (naoto0804), {downs} levels"
    return Recognised(spec, {**ours, **left}, layout, ModelInfo("like_input"))
