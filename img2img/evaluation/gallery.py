"""The worst predictions beside their targets, whole and where they differ most."""

from __future__ import annotations

import numpy as np

from img2img.evaluation.result import Score
from img2img.image.image import Pixels
from img2img.image.sheet import SheetRow

DETAIL = 120  # pixels: side of the part that is shown enlarged


class Worst:
    """Keeps the pictures of the lowest scores.

    Args:
        column: The number that decides.
        higher_is_better: Which way is up.
        count: How many are kept.
    """

    def __init__(self, column: str, higher_is_better: bool, count: int = 6) -> None:
        self.column, self.higher_is_better, self.count = column, higher_is_better, count
        self._kept: list[Score] = []

    def add(self, score: Score) -> None:
        """Keeps `score` if it is among the worst so far."""
        self._kept.append(score)
        self._kept.sort(key=lambda kept: kept.values[self.column], reverse=not self.higher_is_better)
        del self._kept[self.count :]

    def rows(self) -> list[SheetRow]:
        """Returns what `img2img.image.sheet.sheet` takes, the worst first."""
        return [self._row(score) for score in self._kept]

    def _row(self, score: Score) -> SheetRow:
        prediction, truth = score.pictures
        part = _largest_error(prediction.pixels, truth.pixels)
        detail = [image.replace(pixels=image.pixels[part]) for image in (prediction, truth)]
        return [
            (prediction, f"{score.name}: {self.column} {score.values[self.column]:.4g}"),
            (truth, "target"),
            (detail[0], "where they differ most"),
            (detail[1], "target"),
        ]


def _largest_error(a: Pixels, b: Pixels) -> tuple[slice, slice]:
    """Returns the square of a grid of half its side that holds most of the squared difference."""
    half = DETAIL // 2
    height, width = a.shape[:2]
    error = np.zeros((-(-height // half) * half, -(-width // half) * half))
    error[:height, :width] = np.square(_unit(a) - _unit(b)).mean(axis=2)
    cells = error.reshape(error.shape[0] // half, half, -1, half).sum(axis=(1, 3))
    padded = np.pad(cells, ((0, 1), (0, 1)))
    squares = padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]
    row, column = np.unravel_index(squares.argmax(), squares.shape)
    top, left = (max(0, min(int(at) * half, side - DETAIL)) for at, side in ((row, height), (column, width)))
    return slice(top, top + DETAIL), slice(left, left + DETAIL)


def _unit(pixels: Pixels) -> Pixels:
    return pixels / np.float32(1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max)
