"""The generators of pix2pixHD as their authors' code saves them (`latest_net_G.pth`).

    global    model.1, model.4, ..., model.16.conv_block.{1,2,5,6}, ..., model.38
    local     the same without its last convolution, model1_1.{1,4}, model1_2.0.conv_block, ..., model1_2.7;
              of several enhancers model2_1 and model2_2, ...

Files tell how many channels go in, not what they are. As the authors' options have it: 1 and 3 are a picture,
4 one with boundaries of objects; more are classes with boundaries (36 are 35 classes), but 35 are classes
without; 38 and 39 are these with 3 channels of an encoder. Classes are the numbers in label maps, 0 and up.
The centres of an encoder's features are in another file: without them its channels are 0.

A global generator that takes pictures is a ResNet of CycleGAN with more halvings, and is opened as that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import UnknownModelError
from img2img.image.palette import MOST, indices
from img2img.interop.layouts import Recognised, layouts
from img2img.interop.translation import takes_labels
from img2img.models import ArchSpec
from img2img.models.norm import NormKind

_STYLE, _CLUSTERS = 3, 10  # channels of the encoder, and centres of a class
_CLASSES = 35  # of Cityscapes: what the authors' options say
_NONE = torch.empty(0)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class _InputChannels(NamedTuple):
    """What the channels are that go in: `channels` of a picture or classes, and what stands behind them."""

    channels: int
    labels: bool
    instance: bool
    style: int = 0


class _ConvPlaces(NamedTuple):
    """The places of the convolutions in a row of layers: before, in and behind its residual blocks."""

    before: list[int]
    blocks: list[int]
    behind: list[int]


@layouts.register("pix2pixhd")
def pix2pixhd(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises both generators of pix2pixHD, but for one that is a ResNet of CycleGAN as well."""
    base, first = _row(state, "model"), state.get("model.1.weight")
    enhancers = 0
    while f"model{enhancers + 1}_1.1.weight" in state:
        enhancers += 1
    if first is None or first.ndim != 4 or not base.before:
        return None
    if not base.blocks and not enhancers:
        if _is_encoder(state, base):
            raise UnknownModelError(
                "holds the encoder of pix2pixHD, which makes features and no images; open the generator that "
                "was saved beside it, latest_net_G.pth."
            )
        return None
    features, channels = first.shape[:2]
    downs = len(base.before) - 1
    meaning = _meaning(channels)
    if not enhancers and not takes_labels(channels, downs):
        return None
    if any(".filt" in key for key in state) or _has_dropout(state, base):
        return None
    if len(base.behind) != downs + (not enhancers):
        return None
    norm: NormKind = "batch" if "model.2.weight" in state else "instance"
    modules = _named("model", base, "base", downs)
    local_blocks, last = 3, f"model.{base.behind[-1]}" if not enhancers else ""
    for number in range(1, enhancers + 1):
        head, tail = _row(state, f"model{number}_1"), _row(state, f"model{number}_2")
        place, local_blocks = f"enhancers.{number - 1}", len(tail.blocks)
        modules |= _named(f"model{number}_1", head, place, 1)
        modules |= _named(f"model{number}_2", tail, place, None)
        last = f"model{number}_2.{tail.behind[-1]}"
    arguments = {
        "in_channels": meaning.channels,
        "out_channels": state[f"{last}.weight"].shape[0],
        "features": features,
        "downs": downs,
        "blocks": len(base.blocks),
        "enhancers": enhancers,
        "local_blocks": local_blocks,
        "norm": norm,
        "labels": meaning.labels,
        "instance": meaning.instance,
        "style": meaning.style,
        "clusters": _CLUSTERS,
    }
    ours = _renamed(state, modules, norm)
    if meaning.style:
        ours["styles"] = torch.zeros(meaning.channels if meaning.labels else 1, _CLUSTERS, meaning.style)
        ours["style_counts"] = torch.zeros(len(ours["styles"]), dtype=torch.int64)
    palette = indices(meaning.channels) if meaning.labels else None
    text = f"pix2pixHD {'local enhancer' if enhancers else 'global generator'}, {_in_words(meaning)}"
    info = ModelInfo("own", palette=palette, nearest=meaning.labels)
    return Recognised(ArchSpec("pix2pixhd", arguments), ours, text, info)


def _meaning(channels: int) -> _InputChannels:
    if channels <= 4:
        return _InputChannels(channels - (channels % 2 == 0), labels=False, instance=channels % 2 == 0)
    style = _STYLE if channels in (_CLASSES + _STYLE, _CLASSES + _STYLE + 1) else 0
    instance = channels - style != _CLASSES
    classes = channels - style - instance
    if classes > MOST:
        return _InputChannels(channels, labels=False, instance=False)
    return _InputChannels(classes, True, instance, style)


def _in_words(meaning: _InputChannels) -> str:
    words = [f"{meaning.channels} {'classes' if meaning.labels else 'channels'}"]
    words += ["boundaries of objects"] if meaning.instance else []
    words += [f"{meaning.style} channels of an encoder"] if meaning.style else []
    return " and ".join(words)


def _row(state: Mapping[str, Tensor], prefix: str) -> _ConvPlaces:
    """Returns the places of the convolutions of the row `prefix`."""
    found = [(re.fullmatch(rf"{prefix}\.(\d+)\.(conv_block\.1\.)?weight", key), key) for key in state]
    places = [(int(match[1]), bool(match[2])) for match, key in found if match and state[key].ndim == 4]
    blocks = sorted(place for place, is_block in places if is_block)
    convs = sorted(place for place, is_block in places if not is_block)
    if not blocks:
        return _ConvPlaces(convs, [], [])
    return _ConvPlaces([p for p in convs if p < blocks[0]], blocks, [p for p in convs if p > blocks[-1]])


def _is_encoder(state: Mapping[str, Tensor], row: _ConvPlaces) -> bool:
    """Returns whether a row without blocks goes down and up again, with a kernel of 7 at both ends."""
    ends = [state[f"model.{place}.weight"].shape[-1] for place in (row.before[0], row.before[-1])]
    return ends == [7, 7] and len(row.before) % 2 == 0 and all(key.startswith("model.") for key in state)


def _has_dropout(state: Mapping[str, Tensor], row: _ConvPlaces) -> bool:
    """Returns whether the second convolution of blocks is shifted, as CycleGAN with dropout has it."""
    return any(state.get(f"model.{p}.conv_block.6.weight", _NONE).ndim == 4 for p in row.blocks)


def _named(prefix: str, row: _ConvPlaces, ours: str, downs: int | None) -> dict[str, str]:
    """Returns the modules of a row by our names.

    Args:
        prefix: Of the row.
        row: Its places.
        ours: The network or the enhancer that it is of.
        downs: Halvings of a whole network; None for the second row of an enhancer, whose tail is one stage.
    """
    modules: dict[str, str] = {}
    for index, place in enumerate(row.before):
        modules |= _stage(f"{prefix}.{place}", f"{ours}.head.{index}")
    for index, place in enumerate(row.blocks):
        inner = f"{prefix}.{place}.conv_block"
        modules |= {
            f"{inner}.{theirs}": f"{ours}.blocks.{index}.{name}"
            for theirs, name in ((1, "conv1"), (2, "norm1"), (5, "conv2"), (6, "norm2"))
        }
    ups = 1 if downs is None else downs
    for index, place in enumerate(row.behind[:ups]):
        modules |= _stage(f"{prefix}.{place}", f"{ours}.tail" if downs is None else f"{ours}.tail.{index}")
    modules |= {f"{prefix}.{place}": f"{ours}.last.conv" for place in row.behind[ups:]}
    return modules


def _stage(theirs: str, ours: str) -> dict[str, str]:
    """Returns convolution and norm, which follow each other."""
    prefix, _, place = theirs.rpartition(".")
    return {theirs: f"{ours}.conv", f"{prefix}.{int(place) + 1}": f"{ours}.norm"}


def _renamed(state: Mapping[str, Tensor], modules: Mapping[str, str], norm: NormKind) -> dict[str, Tensor]:
    """Returns `state` under our names; whatever has none keeps its own, so that reading reports it.

    A bias in front of a batch norm, which ours have none of, moves into its running mean.
    """
    ours: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        name = modules.get(module, module)
        is_norm = name.rpartition(".")[2].startswith("norm")
        if norm == "instance" and is_norm and leaf in _STATISTICS:
            continue  # of old files; never used
        if norm == "batch" and leaf == "bias" and ".last." not in name and not is_norm:
            biases[re.sub(r"conv(\d?)$", r"norm\1", name)] = value
            continue
        ours[f"{name}.{leaf}"] = value
    for name, bias in biases.items():
        if f"{name}.running_mean" in ours:
            ours[f"{name}.running_mean"] = ours[f"{name}.running_mean"] - bias
    return ours
