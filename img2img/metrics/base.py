"""What a metric is, the list of them, and the checks that they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from img2img.registry import Registry
from img2img.types import ValueRange


class Measure(Protocol):
    """Compares two batches (N, C, H, W) image by image."""

    def __call__(self, a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
        """Returns (N,) float64."""


@dataclass(frozen=True)
class Metric:
    """One entry of the list.

    Attributes:
        measure: The function.
        higher_is_better: Which way is up.
        decimals: How many are worth printing.
        title: What people call it.
    """

    measure: Measure
    higher_is_better: bool
    decimals: int
    title: str


metrics: Registry[Metric] = Registry("metric")


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread of the CPU; also a decorator, `@one_thread()`.

    Metrics are many short steps. On a machine that has other work, too, threads that wait for each other at
    the end of each step make them tens of times slower, and at best little is gained.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def unit(a: Tensor, b: Tensor, value_range: ValueRange, border: int) -> tuple[Tensor, Tensor]:
    """Returns the part of both batches that counts, in float64, black as 0 and white as 1.

    Raises:
        ValueError: The shapes differ, or the border leaves nothing.
    """
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(
            f"a comparison needs two batches (N, C, H, W) of one shape, "
            f"not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    height, width = a.shape[-2:]
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} pixels leaves nothing of {width}x{height} pixels")
    low, high = value_range
    inner = (..., slice(border, height - border), slice(border, width - border))
    return (a[inner].double() - low) / (high - low), (b[inner].double() - low) / (high - low)
