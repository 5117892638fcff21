"""The part of `benchmark.py train loading`: pairs from files against pairs from the cache."""

from __future__ import annotations

import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from img2img.data import Data, DataConfig, batches, open_data
from img2img.fields import PAIRED
from img2img.image import EncodeOptions, Image, write_image
from img2img.types import SYMMETRIC

_PAIRS = 64  # so many are made where none are given, and so many of a folder are read at most


def loading(aligned: Path | None, size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Returns samples a second from files and from the cache, as a training gets them in its own process.

    Both give the same pixels: decoded, resized to 286 for 256, cropped, mirrored and scaled. The cache is
    filled before it is measured, as it is after the first epoch.

    Args:
        aligned: A folder of side-by-side files; None makes JPEGs.
        size: Side of the crops.
        batch: Samples together.
        rounds: How often each is read, in turns.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = aligned or _make_pairs(Path(name), _PAIRS)
        opened = {kind: _open(folder, size, kind, Path(name)) for kind in ("none", "memory")}
        rounded = min(len(opened["none"].train), _PAIRS) // batch
        count = max(1, rounded) * batch
        seconds: dict[str, list[float]] = {"none": [], "memory": []}
        used: dict[str, list[float]] = {"none": [], "memory": []}
        expected = _read(opened["none"], batch, count)[2]
        filled = _read(opened["memory"], batch, count)[0]
        for turn in range(rounds):
            for place in range(2):
                kind = ("none", "memory")[(turn + place) % 2]
                took, cpu, total = _read(opened[kind], batch, count)
                if total != expected:
                    raise RuntimeError(f"the cache {kind!r} gave other pixels")
                seconds[kind].append(took)
                used[kind].append(cpu)
    cpu_seconds = {kind: statistics.median(values) for kind, values in used.items()}
    best = {kind: statistics.median(values) for kind, values in seconds.items()}
    names = {"none": "files", "memory": "cache"}
    return {
        "workload": "loading",
        "samples": count,
        "data": "side-by-side files given" if aligned else "JPEGs of 512x256 made for this",
        "size": size,
        "batch": batch,
        "fill_seconds": round(filled, 2),
        "runs": [
            {
                "name": names[kind],
                "samples_per_second": round(count / value, 1),
                "ratio": round(best["none"] / value, 2),
                "ratio_of_rounds": _range(seconds["none"], seconds[kind]),
                "cpu_ratio": round(cpu_seconds["none"] / cpu_seconds[kind], 2),
            }
            for kind, value in best.items()
        ],
    }


def _range(baseline: list[float], own: list[float]) -> list[float]:
    ratios = [theirs / ours for theirs, ours in zip(baseline, own, strict=True)]
    return [round(min(ratios), 2), round(max(ratios), 2)]


def _open(folder: Path, size: int, cache: str, place: Path) -> Data:
    config = DataConfig.model_validate(
        {
            "aligned": folder,
            "load_size": round(size * 286 / 256),
            "crop_size": size,
            "validation_fraction": 0,
            "cache": cache,
            "cache_folder": place / "cache",
            "workers": 0,
        }
    )
    return open_data(config, fields=PAIRED, seed=1)


def _read(data: Data, batch: int, count: int) -> tuple[float, float, float]:
    """Returns the seconds for the first `count` samples, those of the CPU, and the sum of some pixels."""
    stream = batches(data.train, batch_size=batch, seed=1, ranges={"source": SYMMETRIC, "target": SYMMETRIC})
    total = 0.0
    started, used = time.perf_counter(), time.process_time()
    for found in islice(stream, count // batch):
        total += float(found.target[:, :, 0, 0].double().sum())
    return time.perf_counter() - started, time.process_time() - used, total


def _make_pairs(folder: Path, count: int) -> Path:
    """Fills a folder with side-by-side JPEGs that decode about as slowly as photographs."""
    place = folder / "pairs"
    place.mkdir()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        y, x, c = np.ogrid[0:256, 0:512, 0:3]
        waves = np.sin(x / rng.uniform(5, 40) + c) + np.cos(y / rng.uniform(5, 40) - c)
        pixels = (128 + 50 * waves + rng.normal(0, 8, (256, 512, 3))).clip(0, 255).astype(np.uint8)
        write_image(Image(pixels), place / f"{seed}.jpg", EncodeOptions(quality=90))
    return place
