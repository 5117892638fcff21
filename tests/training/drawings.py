"""Pictures made on the spot, for trainings that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from img2img.image import Image, write_image


def draw_pairs(folder: Path, count: int, side: int = 40) -> None:
    """Writes side-by-side pictures: coloured squares on the left, their negatives on the right."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_image(Image(_pair(number, side)), folder / f"p{number:02}.png")


def draw_photos(folder: Path, count: int, side: int = 96) -> None:
    """Writes pictures of smooth gradients with squares."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_image(Image(_squares(number, side)), folder / f"f{number:02}.png")


def _squares(number: int, side: int) -> np.ndarray:
    random = np.random.default_rng(number)
    picture = np.linspace(0, 200, side)[:, None, None] + random.integers(0, 50, (1, 1, 3))
    picture = np.broadcast_to(picture, (side, side, 3)).astype(np.uint8).copy()
    for _ in range(4):
        top, left = random.integers(0, side - 8, 2)
        picture[top : top + 8, left : left + 8] = random.integers(0, 256, 3)
    return picture


def _pair(number: int, side: int) -> np.ndarray:
    picture = _squares(number, side)
    return np.concatenate([picture, 255 - picture], 1)
