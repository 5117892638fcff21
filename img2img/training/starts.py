"""What a run takes for which no configuration file was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from img2img.config import parse_yaml
from img2img.data import DataConfig
from img2img.data.config import SPLIT_OFF
from img2img.data.pictures import read
from img2img.data.records import find_records
from img2img.errors import Img2ImgError

_TRANSLATION: dict[str, Any] = {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}}
# A network of 0.7 M parameters that a laptop trains in some hours; it beats bicubic long before.
_UPSCALING: dict[str, Any] = {
    "steps": 20_000,
    "batch_size": 16,
    "optimizer": "muon",
    "learning_rate": 1e-3,
    "betas": [0.9, 0.99],
    "schedule": {"kind": "cosine", "warmup": 100},
    "ema": 0.999,
    "grid_samples": 3,
}
_PIX2PIX: dict[str, Any] = {"method": {"name": "pix2pix"}, "training": _TRANSLATION}

STARTS: dict[str, dict[str, Any]] = {
    "paired": _PIX2PIX,
    "aligned": _PIX2PIX,
    "list": _PIX2PIX,
    "unpaired": {"method": {"name": "cyclegan"}, "training": _TRANSLATION},
    "images": {
        "method": {
            "name": "super_resolution",
            "generator": {"name": "edsr", "features": 64, "blocks": 8, "symmetric": True},
        },
        "data": {"crop_size": 96, "patches_per_image": 64},  # every scale divides 96
        "training": _UPSCALING,
    },
}
"""Sections of a configuration by the key of `data` that names the pictures; the papers' where there are."""

_OFTEN: dict[str, Any] = {"log_every": 50, "sample_every": 100, "validate_every": 400, "save_every": 400}
# What two cores learn in half an hour. Instance norm is the same in training and in use; a weaker adversary,
# because it soon knows few pictures by heart; averaged weights, because they are calmer.
_SMALL_PIX2PIX: dict[str, Any] = {
    "method": {
        "name": "pix2pix",
        "generator": {"name": "unet", "features": 32, "downs": 7, "norm": "instance"},
        "discriminator": {"name": "patchgan", "features": 32, "norm": "instance"},
        "gan_weight": 0.2,
    },
    "data": {"crop_size": 128, "workers": 1},
    "training": {"batch_size": 1, "schedule": {"kind": "linear"}, "ema": 0.995, **_OFTEN},
}
_SMALL_CYCLEGAN: dict[str, Any] = {
    "method": {
        "name": "cyclegan",
        "generator": {"name": "resnet", "features": 24, "blocks": 6},
        "discriminator": {"name": "patchgan", "features": 32},
    },
    "data": {"crop_size": 128, "workers": 1},
    "training": {**_SMALL_PIX2PIX["training"], "sample_every": 50, "grid_samples": 2},
}
_SMALL = {"pix2pix": _SMALL_PIX2PIX, "cyclegan": _SMALL_CYCLEGAN}
_STEPS = (12_000, 60_000)  # of a run on a CPU: for up to 400 samples, and for any number
_EPOCHS = 30  # between the two
_ROWS = 6  # of the grid of pictures, at least
_SMALLEST = 96  # pixels; smaller pictures are trained at 64
_LEVELS = {"pix2pix": 8}  # of the paper's U-Net, at 256 pixels

PLACES: dict[str, dict[str, Any]] = {
    "pix2pix": {"paired": ["sources", "targets"]},
    "cyclegan": {"unpaired": ["a", "b"]},
    "super_resolution": {"images": "photos"},
}
"""For each method where its pictures might be, in a configuration that somebody is going to fill in."""

_FINE = 5  # weights that are good already are lost at the rate that finds them
_RATE = 2e-4  # where a start says nothing, see TrainingSettings


def fine_tuning(start: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Returns `start` for a run that begins with the weights of another, and its learning rate."""
    rate = start["training"].get("learning_rate", _RATE) / _FINE
    return {**start, "training": {**start["training"], "learning_rate": rate}}, rate


@dataclass(frozen=True)
class Choice:
    """What a run without a configuration takes.

    Attributes:
        sections: As in `STARTS`.
        reason: What was chosen and why, in one sentence; empty where there was no choice.
    """

    sections: dict[str, Any]
    reason: str = ""


def choose(source: Mapping[str, Any], assignments: Iterable[str] = (), paper: bool = False) -> Choice:
    """Returns what a run takes of which nothing but the pictures is known, by them and by the machine.

    On a GPU that is what the paper has; on a CPU a network with a quarter of the work for each pixel, at half
    of the size, with its first picture within two minutes.

    Args:
        source: A key of the section data with the place of the pictures.
        assignments: As of `read_experiment`; what they say of the device and of crop_size is followed.
        paper: Whether to take the paper's all the same.
    """
    key = next(iter(source))
    start = STARTS[key]
    name = start["method"]["name"]
    if name not in _SMALL:
        return Choice(start)
    crop = _assigned(assignments, "data", "crop_size")
    tuned = any(
        each.startswith("training.initial") for each in assignments
    )  # its network is that of the file
    if paper or tuned or _has_gpu(_assigned(assignments, "training", "device")):
        sections = start if tuned else _levelled(start, crop or 256)
        reason = (
            "" if paper or tuned else f"Chosen for a GPU: {_words(sections, crop or 256)}, as in the paper."
        )
        return Choice(sections, reason)
    samples, size = _look(source)
    sections = _SMALL[name]
    side = 128 if size is None or min(size) >= _SMALLEST else 64
    steps = min(max(_STEPS[0], _EPOCHS * samples), _STEPS[1]) if name == "pix2pix" else _STEPS[0]
    training = sections["training"] | {"steps": steps}
    length = f", {steps} steps"
    if any(_assigned(assignments, "training", unit) is not None for unit in ("epochs", "steps")):
        length = ""
        del training["steps"]
    data = sections["data"] | {"crop_size": side}
    if name == "pix2pix" and samples:  # of few pairs a larger share, or the grid would have one row
        data["validation_fraction"] = min(max(SPLIT_OFF, _ROWS / samples), 2 * SPLIT_OFF)
    sections = sections | {"data": data, "training": training}
    sections = _levelled(sections, crop or side)
    of_what = "pictures" if name == "cyclegan" else "pairs"
    seen = "" if size is None else f" of {size[1]} x {size[0]}"
    return Choice(
        sections,
        f"Chosen for {samples} {of_what}{seen} and a CPU: {_words(sections, crop or side)}{length}, a "
        f"picture every {training['sample_every']} steps. The paper's (64 features, 256 pixels, 200 epochs) "
        f"is for a GPU: img2img train {name} --{key} ...",
    )


def _assigned(assignments: Iterable[str], section: str, key: str) -> Any:
    """Returns the value that assignments give to a key, or None."""
    found = None
    for each in assignments:
        name, _, text = each.partition("=")
        if name.strip().replace("-", "_").removeprefix(f"{section}.") == key:
            try:
                found = parse_yaml(text, each)
            except Img2ImgError:  # it is told when it is read
                continue
    return found


def _has_gpu(device: object) -> bool:
    if device in ("cuda", "mps", "cpu"):
        return device != "cpu"
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _look(source: Mapping[str, Any]) -> tuple[int, tuple[int, int] | None]:
    """Returns the number of samples for training, and (height, width) of the first that can be read."""
    try:
        config = DataConfig.model_validate({**source, "unmatched": "skip", "validation_fraction": 0})
        records = find_records(config)
    except (Img2ImgError, ValueError):  # what is wrong is told when the data are opened
        return 0, None
    for record in records.train[:5]:
        try:
            image = read(record.source)
        except Img2ImgError:
            continue
        halves = 1 if config.aligned is None else 2
        return max(len(records.train), len(records.train_b)), (image.height, image.width // halves)
    return len(records.train), None


def _levelled(sections: dict[str, Any], crop: Any) -> dict[str, Any]:
    """Returns `sections` with a U-Net of as many levels as pictures of the size `crop` allow."""
    method = sections["method"]
    sides = crop if isinstance(crop, list | tuple) else [crop]
    if method["name"] not in _LEVELS or not all(type(side) is int and side > 0 for side in sides):
        return sections
    network = method.get("generator", {"name": "unet"})
    most = network.get("downs", _LEVELS[method["name"]])
    downs = min([most, *((side & -side).bit_length() - 1 for side in sides)])
    if downs == most or downs < 2:
        return sections
    return sections | {"method": method | {"generator": network | {"downs": downs}}}


def _words(sections: Mapping[str, Any], crop: Any) -> str:
    """Returns the network of `sections` in words."""
    method = sections["method"]
    network = method.get("generator", {})
    size = " x ".join(map(str, reversed(crop))) if isinstance(crop, list) else crop
    features = network.get("features", 64)
    if method["name"] == "cyclegan":
        return (
            f"CycleGAN, ResNets of {features} features and {network.get('blocks', 9)} blocks at {size} pixels"
        )
    return f"pix2pix, a U-Net of {features} features and {network.get('downs', 8)} levels at {size} pixels"
