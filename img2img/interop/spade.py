"""The generators of SPADE (`latest_net_G.pth`) and OASIS (`best_EMA.pth`) as their authors' code saves them.

    SPADE    fc, head_0, G_middle_{0,1}, up_{0,...,3}, conv_img; what normalises is param_free_norm
    OASIS    fc, body.{0,...,5}, conv_img; what normalises is first_norm

Blocks hold conv_{0,1,s} and norm_{0,1,s}.{mlp_shared.0,mlp_gamma,mlp_beta}. Convolutions are divided by their
largest singular values as the file has them, once: in averages over steps those are not exactly what the
weights have, and results are the authors' only so.

Files tell how many channels go in, not what they are. Those of the authors' data sets are known by their
number, with the numbers that stand in the label maps of these, and the size of the training. Of other SPADE
files all channels are taken for classes, of other OASIS files all but 64 of noise. Where an upsampling layer
is more, as in SPADE's Cityscapes, no tensor says so: it is taken for that number of channels alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import UnknownModelError
from img2img.image.palette import Palette, indices
from img2img.interop.layouts import Recognised, layouts
from img2img.models import ArchSpec

_SPADE = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3")
_OASIS = tuple(f"body.{number}" for number in range(6))
_NOISE = 64  # channels of OASIS's, by default and in all published files
_COCO = tuple(range(182))
_UNKNOWN = 255  # in label maps of COCO-Stuff
_BLOCK = {
    "conv_0": "conv1",
    "conv_1": "conv2",
    "conv_s": "shortcut",
    "norm_0": "norm1",
    "norm_1": "norm2",
    "norm_s": "norm",
}
_NORM = {
    "mlp_shared.0": "shared.conv",
    "mlp_gamma": "gamma",
    "mlp_beta": "beta",
    "param_free_norm": "norm",
    "first_norm": "norm",
}


class _LabelChannels(NamedTuple):
    """What the channels are that go in.

    Attributes:
        palette: The numbers in label maps, one for each channel of a class.
        instance: Whether boundaries of objects follow them.
        noise: Channels of noise before them.
        size: Height and width of the training, where it is known.
        data: The data set, where it is known.
        more: Whether there is one upsampling layer more, between the middle blocks.
    """

    palette: Palette
    instance: bool = False
    noise: int = 0
    size: tuple[int, int] | None = None
    data: str = ""
    more: bool = False


@layouts.register("spade")
def spade(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises the generators of SPADE and OASIS.

    Raises:
        UnknownModelError: It is one that `spade_resnet` cannot be.
    """
    first, last = state.get("fc.weight"), state.get("conv_img.weight")
    blocks = next((n for n in (_SPADE, _OASIS) if f"{n[0]}.norm_0.mlp_shared.0.weight" in state), None)
    if first is None or last is None or blocks is None or last.ndim != 4:
        return None
    shared = state[f"{blocks[0]}.norm_0.mlp_shared.0.weight"]
    if reason := _reason(state, first, shared):
        raise UnknownModelError(f"holds {reason} (spade_resnet), so it cannot be opened.")
    of_spade = blocks is _SPADE
    meaning = (_of_spade if of_spade else _of_oasis)(first.shape[1])
    norms = any(key.endswith(".running_mean") for key in state)
    arguments = {
        "in_channels": len(meaning.palette),
        "out_channels": last.shape[0],
        "features": last.shape[1],
        "downs": 5 + meaning.more,
        "middle": int(of_spade and not meaning.more),
        "noise": meaning.noise,
        "norm": "batch" if norms else "instance",
        "hidden": shared.shape[0],
        "spectral": False,
        "further": "instance:ids:1" if meaning.instance else "",
    }
    words = [f"{len(meaning.palette)} classes", *["boundaries of objects"] * meaning.instance]
    words += [f"{meaning.noise} channels of noise"] * bool(meaning.noise)
    origin = {"data": f"{meaning.data}, by the number of channels"} if meaning.data else {}
    info = ModelInfo("own", meaning.size, origin, meaning.palette, nearest=True)
    text = f"{'SPADE' if of_spade else 'OASIS'}, {' and '.join(words)}"
    return Recognised(ArchSpec("spade_resnet", arguments), _renamed(state, blocks), text, info)


def _reason(state: Mapping[str, Tensor], first: Tensor, shared: Tensor) -> str:
    """Returns what is in the file that our network cannot be; "" for nothing."""
    if first.ndim != 4:
        return (
            "a generator of SPADE with an encoder of styles (use_vae): it begins with a vector and makes "
            "pictures of one size, and ours begins with the label map"
        )
    if any(key.startswith("up_4.") for key in state):
        return (
            "a generator of SPADE with a block more at its end (num_upsampling_layers most), which has 32 "
            "times as many channels at its beginning, and ours has 16 times as many"
        )
    if shared.ndim != 4 or shared.shape[-1] != 3:
        side = shared.shape[-1]
        return f"a generator of SPADE whose norms look at {side} x {side} pixels, and ours look at 3 x 3"
    return ""


def _of_spade(channels: int) -> _LabelChannels:
    coco = ((*((n,) for n in _COCO), (_UNKNOWN,)), (256, 256), "COCO-Stuff")
    known = {
        36: _LabelChannels(indices(35), True, 0, (256, 512), "Cityscapes", more=True),
        35: _LabelChannels(indices(35), False, 0, (256, 512), "Cityscapes", more=True),
        151: _LabelChannels((*indices(151)[1:], (0,)), False, 0, (256, 256), "ADE20K"),
        184: _LabelChannels(coco[0], True, 0, *coco[1:]),
        183: _LabelChannels(coco[0], False, 0, *coco[1:]),
    }
    return known.get(channels, _LabelChannels(indices(channels)))


def _of_oasis(channels: int) -> _LabelChannels:
    known = {
        35: _LabelChannels(indices(35), size=(256, 512), data="Cityscapes"),
        151: _LabelChannels(indices(151), size=(256, 256), data="ADE20K"),
        183: _LabelChannels(((_UNKNOWN,), *((n,) for n in _COCO)), size=(256, 256), data="COCO-Stuff"),
    }
    noise = 0 if channels in known or channels <= _NOISE else _NOISE
    return known.get(channels - noise, _LabelChannels(indices(channels - noise)))._replace(noise=noise)


def _renamed(state: Mapping[str, Tensor], blocks: tuple[str, ...]) -> dict[str, Tensor]:
    """Returns `state` under our names; whatever has none keeps its own, so that reading reports it."""
    places = {f"{block}.": f"blocks.{number}." for number, block in enumerate(blocks)}
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        divided = _divided(state, module) if f"{module}.weight_orig" in state else None
        if divided is not None:
            if leaf in ("weight", "weight_u", "weight_v"):
                continue
            if leaf == "weight_orig":
                leaf, value = "weight", divided
        ours[f"{_name(module, places)}.{leaf}"] = value
    return ours


def _name(module: str, places: Mapping[str, str]) -> str:
    """Returns what we call a layer."""
    place = next((place for place in places if module.startswith(place)), "")
    if not place:
        return {"fc": "first", "conv_img": "last.conv"}.get(module, module)
    part, _, inner = module.removeprefix(place).partition(".")
    words = [_BLOCK.get(part, part), *([_NORM.get(inner, inner)] if inner else [])]
    return places[place] + ".".join(words)


def _divided(state: Mapping[str, Tensor], module: str) -> Tensor | None:
    """Returns a weight as torch's spectral norm divides it in evaluation; None where vectors do not fit."""
    original, u, v = (state.get(f"{module}.weight_{part}") for part in ("orig", "u", "v"))
    if v is None:  # PyTorch up to 1.0 stored what was divided
        return state.get(f"{module}.weight")
    assert original is not None
    matrix = original.flatten(1).double()
    if u is None or (u.numel(), v.numel()) != tuple(matrix.shape):
        return None
    sigma = u.flatten().double() @ matrix @ v.flatten().double()
    return (original.double() / sigma).to(original.dtype)
