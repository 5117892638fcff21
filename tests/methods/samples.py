"""Samples of any fields, as batches and as files; each kind of field has its lines here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from img2img.fields import Fields, Ids, Labels, Mask, Picture, Vector, placed, scale_of
from img2img.image import Image, write_image
from img2img.methods import Method, MethodConfig, methods
from img2img.training import read_experiment
from img2img.training.experiment import Experiment
from img2img.types import Batch

SIDE = 32
NUMBERS = 5
NAMES = ("smile", "hat", "age", "light", "tilt")


def configured(name: str, **more: Any) -> MethodConfig:
    """Returns the tiny configuration of a method."""
    return (
        methods[name].Config.model_validate({"name": name, **methods[name].tiny, **more}).fitted((SIDE,) * 2)
    )


def made(name: str, **more: Any) -> Method:
    """Returns a method with tiny networks."""
    config = configured(name, **more)
    return methods[name](config, channels(methods[name].fields_of(config)))


def channels(fields: Fields) -> dict[str, int]:
    size = {"picture": 3, "labels": 3, "mask": 1, "ids": 1, "vector": NUMBERS}
    return {name: size[field.kind] for name, field in fields.items()}


def batch(method: Method, fields: Fields, count: int = 2, seed: int = 0) -> Batch:
    """Returns samples that `method` can take, one called "0", the next "1", and so on."""
    noise = torch.Generator().manual_seed(seed)
    scale = scale_of(fields) or 1

    def drawn(name: str) -> Tensor:
        field = fields[name]
        side = SIDE if isinstance(field, Picture) and field.scale else SIDE // scale
        if isinstance(field, Picture):
            low, high = method.value_range(name)
            return low + (high - low) * torch.rand(count, 3, side, side, generator=noise)
        if isinstance(field, Mask):
            return (torch.rand(count, 1, side, side, generator=noise) > 0.7).float()
        if isinstance(field, Ids):
            return torch.randint(0, 70_000, (count, 1, side, side), generator=noise, dtype=torch.int32)
        assert isinstance(field, Vector), f"{field.kind}: a kind that has no lines here"
        return torch.rand(count, field.size or NUMBERS, generator=noise)

    return Batch({name: drawn(name) for name in fields}, tuple(map(str, range(count))))


def part(batch: Batch, rows: slice) -> Batch:
    """Returns some samples of a batch."""
    return Batch({name: tensor[rows] for name, tensor in batch.fields.items()}, batch.keys[rows])


def write(folder: Path, fields: Fields, count: int = 5) -> dict[str, Path]:
    """Writes `count` samples and returns the place of each field: a folder, or a table of numbers."""
    rng, scale, places = np.random.default_rng(0), scale_of(fields) or 1, {}
    folder.mkdir()
    for name, field in placed(fields).items():
        if isinstance(field, Vector):
            places[name] = folder / f"{name}.csv"
            head = ["file", *NAMES[: field.size or NUMBERS]]
            rows = [[f"{i}.png", *map(str, rng.random(len(head) - 1).round(3))] for i in range(count)]
            places[name].write_text("\n".join(map(",".join, [head, *rows])) + "\n")
            continue
        places[name] = folder / name
        places[name].mkdir()
        side = SIDE + 8 if isinstance(field, Picture) and field.scale else (SIDE + 8) // scale
        for number in range(count):
            write_image(Image(_plane(field, side, rng)), folder / name / f"{number}.png")
    return places


def _plane(field: Any, side: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(field, Labels):
        return np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], np.uint8)[rng.integers(0, 3, (side, side))]
    if isinstance(field, Picture):
        return rng.integers(0, 256, (side, side, 3), np.uint8)
    if isinstance(field, Mask):
        return np.uint8(255) * (rng.random((side, side, 1)) > 0.7)
    return rng.integers(0, 60_000, (side // 4, side // 4, 1), np.uint16).repeat(4, 0).repeat(4, 1)


def experiment(name: str, places: Mapping[str, Path], *sets: str) -> Experiment:
    """Returns a run of some steps of the tiny networks on files."""
    training = {
        "steps": 4,
        "batch_size": 2,
        "ema": 0.9,
        "precision": "fp32",
        "threads": 1,
        "device": "cpu",
        "log_every": 1,
        "sample_every": 4,
        "validate_every": 2,
        "save_every": 2,
        "grid_samples": 2,
    }
    data = {"crop_size": SIDE, "validation_fraction": 0.4, "workers": 0}
    if scale_of(methods[name].fields_of(configured(name))) is None:
        data["load_size"] = SIDE + 4
    return read_experiment(
        None,
        sets,
        source={"fields": {name: str(place) for name, place in places.items()}},
        defaults={"method": {"name": name, **methods[name].tiny}, "data": data, "training": training},
    )


def companions(fields: Fields, height: int, width: int) -> dict[str, Any]:
    """Returns conditions of a picture for the translator."""
    rng = np.random.default_rng(1)
    return {
        name: rng.random(field.size or NUMBERS)
        if isinstance(field, Vector)
        else rng.integers(0, 256, (height, width, 3), np.uint8)
        if isinstance(field, Picture)
        else rng.random((height, width)) > 0.7
        if isinstance(field, Mask)
        else rng.integers(0, 9, (height, width))
        for name, field in fields.items()
    }
