"""A folder of small pictures and processors that do what a test needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np

from img2img.batch import Result, plan, run
from img2img.image import Image, write_image


class Fake:
    """A processor that records its calls; `work` is applied to each image."""

    def __init__(self, work: Callable[[Image], Image] = lambda image: image) -> None:
        self.work = work
        self.calls: list[list[tuple[int, ...]]] = []
        self.threads: set[int] = set()

    def group_key(self, image: Image) -> Hashable:
        return image.pixels.shape

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        self.calls.append([image.pixels.shape for image in images])
        self.threads.add(threading.get_ident())
        return [self.work(image) for image in images]


def picture(height: int = 6, width: int = 8, seed: int = 0, channels: int = 3, alpha: bool = False) -> Image:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    return Image(pixels, rng.integers(0, 256, (height, width), np.uint8) if alpha else None)


def fill(folder: Path, names: Sequence[str], height: int = 6, width: int = 8) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(picture(height, width, i), folder / name)
    return folder


def convert(source: Path, output: Path, process: Fake | None = None, **options: object) -> dict[str, Result]:
    """Runs a folder; returns the results by the names of their sources."""
    results = list(run(plan([source], output), process or Fake(), **options))  # type: ignore[arg-type]
    by_name = {result.source.name: result for result in results}
    assert len(by_name) == len(results), "one result a file"
    return by_name


def statuses(results: dict[str, Result]) -> dict[str, str]:
    return {name: result.status for name, result in sorted(results.items())}
