"""The generators of pix2pix, CycleGAN and CUT as their authors' PyTorch code saves them.

    U-Net      model.model.0, model.model.1.model.{1..6}, one .model.3 deeper for each level, model.model.3
    ResNet     model.1, model.4, model.7, model.10.conv_block.{1,2,5,6}, ..., model.26
    CUT        the same with blurs between, which have constant filters: model.7.filt

Any number of channels, levels and blocks, every norm, with and without dropout; the global generator of
pix2pixHD for pictures is a ResNet with more halvings (for label maps see `img2img.interop.pix2pixhd`).
Dropout in a ResNet shifts the second convolution of its blocks by one place. In a U-Net it leaves no trace:
it is assumed, as in the original's defaults, and is off outside training.

Instance norms of old files carry running statistics that were never used; they are dropped. A batch norm is
one with weights. Files do not tell the size of the training images: the size taken is 256, the original's
default, and for a U-Net the one in its name, which its levels reduce to a single pixel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError, UnknownModelError
from img2img.interop.discriminators import discriminator_reason
from img2img.interop.layouts import Recognised, layouts
from img2img.models import ArchSpec
from img2img.models.norm import NormKind

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@layouts.register("pix2pix-unet")
def unet(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises the U-Net of pix2pix."""
    first, last = state.get("model.model.0.weight"), state.get("model.model.3.weight")
    levels = ["model.model.1.model"]
    if first is None or last is None or first.ndim != 4 or f"{levels[0]}.1.weight" not in state:
        return None
    while f"{levels[-1]}.3.model.1.weight" in state:
        levels.append(f"{levels[-1]}.3.model")
    norm = _norm_kind(state, f"{levels[-1]}.4", "model.model.0")

    modules = {"model.model.0": "down.0.conv", "model.model.3": "last.conv"}
    for level, place in enumerate(levels, 1):
        up = len(levels) - level  # ours count from the innermost outwards
        modules[f"{place}.1"] = f"down.{level}.conv"
        if up == 0:
            modules |= {f"{place}.3": "up.0.conv", f"{place}.4": "up.0.norm"}
        else:
            modules |= {
                f"{place}.2": f"down.{level}.norm",
                f"{place}.5": f"up.{up}.conv",
                f"{place}.6": f"up.{up}.norm",
            }
    downs = len(levels) + 1
    arguments = {
        "in_channels": first.shape[1],
        "out_channels": last.shape[1],
        "features": first.shape[0],
        "downs": downs,
        "norm": norm,
        "dropout": True,
        "upsample": "deconv",
    }
    text = f"pix2pix U-Net, {downs} levels, {_text(norm)}"
    return Recognised(
        ArchSpec("unet", arguments),
        _rename(state, modules, norm),
        text,
        ModelInfo("own", (2**downs, 2**downs)),
    )


@layouts.register("cyclegan-resnet")
def resnet(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises the ResNet of CycleGAN, the one of CUT, and the global generator of pix2pixHD for pictures.

    Raises:
        ModelError: It is CUT's, with other filters than CUT's.
        UnknownModelError: It is a discriminator.
    """
    if reason := discriminator_reason(state):
        raise UnknownModelError(reason)
    convs = _places(state, r"model\.(\d+)\.weight", 4)
    blocks = _places(state, r"model\.(\d+)\.conv_block\.1\.weight", 4)
    filters = _places(state, r"model\.(\d+)\.filt", 4)
    if not blocks or "model.1.weight" not in state:
        return None
    head = [place for place in convs if place < blocks[0]]
    tail = [place for place in convs if place > blocks[-1]]
    downs = len(head) - 1
    blur_down, blur_up = (
        any(place < blocks[0] for place in filters),
        any(place > blocks[-1] for place in filters),
    )
    blurred = blur_down or blur_up
    if downs < 1 or len(tail) != len(head) or (blurred and downs != 2):
        return None
    second = state.get(f"model.{blocks[0]}.conv_block.6.weight")
    dropout = second is not None and second.ndim == 4
    if not dropout and not blurred and takes_labels(state["model.1.weight"].shape[1], downs):
        return None
    norm = _norm_kind(state, "model.2", "model.1")

    modules = {f"model.{tail.pop()}": "last.conv"}
    last = state[next(iter(modules)) + ".weight"]
    for part, places in (("head", head), ("tail", tail)):
        for index, place in enumerate(places):
            modules |= {
                f"model.{place}": f"{part}.{index}.conv",
                f"model.{place + 1}": f"{part}.{index}.norm",
            }
    for index, place in enumerate(blocks):
        inner = f"model.{place}.conv_block"
        conv2 = 6 if dropout else 5
        modules |= {
            f"{inner}.1": f"blocks.{index}.conv1",
            f"{inner}.2": f"blocks.{index}.norm1",
            f"{inner}.{conv2}": f"blocks.{index}.conv2",
            f"{inner}.{conv2 + 1}": f"blocks.{index}.norm2",
        }
    arguments: dict[str, object] = {
        "in_channels": state["model.1.weight"].shape[1],
        "out_channels": last.shape[0],
        "features": state["model.1.weight"].shape[0],
        "blocks": len(blocks),
    }
    if blurred:
        _check_filters(state, filters, before=blocks[0])
        arguments |= {"norm": norm, "dropout": dropout, "blur_down": blur_down, "blur_up": blur_up}
        spec, family = ArchSpec("cut_resnet", arguments), "CUT ResNet"
    else:
        arguments |= {"downs": downs, "norm": norm, "dropout": dropout, "upsample": "deconv"}
        spec = ArchSpec("resnet", arguments)
        family = "CycleGAN ResNet" if downs == 2 else "pix2pixHD global generator"
    text = f"{family}, {len(blocks)} blocks, {_text(norm)}{', dropout' if dropout else ''}"
    size = (256, 256) if downs == 2 else None  # pix2pixHD has no usual size
    return Recognised(spec, _rename(state, modules, norm), text, ModelInfo("own", size))


def takes_labels(channels: int, downs: int) -> bool:
    """Returns whether a ResNet of so many input channels and halvings is that of pix2pixHD for label maps.

    Pictures have 4 channels at most; with the halvings of pix2pixHD 4 are one and boundaries of objects.
    """
    return channels > 4 or (channels == 4 and downs != 2)


def _places(state: Mapping[str, Tensor], pattern: str, ndim: int) -> list[int]:
    """Returns the numbers in the keys that `pattern` matches and that hold a tensor of `ndim` dimensions."""
    found = ((re.fullmatch(pattern, key), value) for key, value in state.items())
    return sorted(int(match[1]) for match, value in found if match and value.ndim == ndim)


def _norm_kind(state: Mapping[str, Tensor], norm: str, conv: str) -> NormKind:
    """Tells the kind from the place of a norm and from a convolution: only instance norm leaves it a bias."""
    if f"{norm}.weight" in state:
        return "batch"
    return "instance" if f"{conv}.bias" in state else "none"


def _text(norm: NormKind) -> str:
    return "no norm" if norm == "none" else f"{norm} norm"


def _rename(state: Mapping[str, Tensor], modules: Mapping[str, str], norm: NormKind) -> dict[str, Tensor]:
    """Returns `state` under our names; whatever has none keeps its own, so that reading reports it."""
    renamed = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        ours = modules.get(module, module)
        if leaf == "filt" or (
            norm == "instance" and leaf in _STATISTICS and ours.rpartition(".")[2][:4] == "norm"
        ):
            continue
        renamed[f"{ours}.{leaf}"] = value
    for key in [key for key in renamed if key.endswith(".running_mean")]:  # batch norms before torch 0.4.1
        renamed.setdefault(f"{key.removesuffix('running_mean')}num_batches_tracked", torch.tensor(0))
    return renamed


def _check_filters(state: Mapping[str, Tensor], places: list[int], before: int) -> None:
    """Refuses blurs that are not CUT's, because ours are constants."""
    for place in places:
        taps, gain = ([1.0, 2, 1], 1) if place < before else ([1.0, 3, 3, 1], 4)
        line = torch.tensor(taps) / sum(taps)
        expected = gain * line[:, None] * line
        found = state[f"model.{place}.filt"].float()
        if found.shape[1:] != (1, *expected.shape) or not torch.allclose(found, expected, atol=1e-3):
            raise ModelError(
                f"is a ResNet in the manner of CUT, but with another blur at model.{place}.filt; known are "
                "the filters 1 2 1 on the way down and 1 3 3 1 on the way up."
            )
