"""Small folders of pictures for the tests of data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from img2img.image import Image, write_image


def noise(
    seed: int, height: int = 12, width: int = 10, channels: int = 3, dtype: str = "uint8"
) -> np.ndarray:
    white = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, white + 1, (height, width, channels), dtype)


def write(folder: Path, name: str, pixels: np.ndarray, alpha: np.ndarray | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(Image(pixels, alpha), path)
    return path


def fill(folder: Path, names: Sequence[str], start: int = 0, **kind: int | str) -> Path:
    for i, name in enumerate(names):
        write(folder, name, noise(start + i, **kind))  # type: ignore[arg-type]
    return folder


def pairs(root: Path, count: int = 6, extension: str = ".png", **kind: int | str) -> tuple[Path, Path]:
    """Two folders of noise whose partners differ: B is the inverse of A."""
    for i in range(count):
        pixels = noise(i, **kind)  # type: ignore[arg-type]
        write(root / "A", f"{i}{extension}", pixels)
        write(root / "B", f"{i}{extension}", np.iinfo(pixels.dtype).max - pixels)
    return root / "A", root / "B"
