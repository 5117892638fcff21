"""Discriminators that lie beside the generators: recognised only to say what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_FLAT = r"\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked|filt|weight_(orig|u|v|bar))"


def discriminator_reason(state: Mapping[str, Tensor]) -> str | None:
    """Returns the sentence for a discriminator of one of the known families, or None for anything else."""
    kind = _kind(state)
    if kind is None:
        return None
    return (
        f"holds {kind}: it judges images and makes none. Open the generator that was saved beside it, "
        "usually under the same name with G in place of D."
    )


def _kind(state: Mapping[str, Tensor]) -> str | None:
    def kernel(key: str) -> int:
        value = state.get(f"{key}.weight", state.get(f"{key}.weight_orig"))
        return value.shape[-1] if value is not None and value.ndim == 4 else 0

    def all_match(pattern: str) -> bool:
        return all(re.fullmatch(pattern, key) for key in state)

    if "conv0_0.weight" in state and "linear1.weight" in state:
        return "the VGG-style discriminator of ESRGAN"
    if kernel("conv0") == 3 and kernel("conv9") == 3 and kernel("conv1") == 4:
        return "the U-Net discriminator of Real-ESRGAN"
    if kernel("model.0") == 4 and all_match("model" + _FLAT) and _ends_in_one(state):
        return "a PatchGAN discriminator (pix2pix, CycleGAN, CUT)"
    if kernel("net.0") == 1 and all_match("net" + _FLAT) and _ends_in_one(state):
        return "a PixelGAN discriminator (pix2pix)"
    if kernel("net.0") == 3 and all_match("net" + _FLAT) and _ends_in_one(state):
        return "a discriminator of SRGAN"
    if kernel("main.0") == 4 and kernel("conv1") == 3 and kernel("conv2"):
        return "the discriminator of StarGAN"
    if state and all_match(r"(scale\d+_)?layer\d+" + _FLAT) and _ends_in_one(state):
        return "the multi-scale discriminator of pix2pixHD"
    if state and all_match(r"discriminator_\d+\.model\d+\..+"):
        return "the multi-scale discriminator of SPADE"
    if "layer_up_last.weight" in state and any(key.startswith("body_down.") for key in state):
        return "the discriminator of OASIS"
    if all_match(r"(features|classifier)\..+") and {key.split(".")[0] for key in state} == {
        "features",
        "classifier",
    }:
        return "a discriminator of SRGAN or ESRGAN" if _ends_in_one(state) else None
    return None


def _ends_in_one(state: Mapping[str, Tensor]) -> bool:
    """Returns whether the last convolution or linear layer has a single output."""
    weights = [
        value
        for key, value in state.items()
        if ".weight" in key and ".filt" not in key and value.ndim in (2, 4)
    ]
    return bool(weights) and weights[-1].shape[0] == 1
