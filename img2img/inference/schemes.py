"""Pictures too large for a network at once, exactly: the fastest of the network's own ways that fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from img2img.errors import ProcessingError
from img2img.models import Generator
from img2img.models.dropout import Dropout
from img2img.models.norm import BatchNorm, InstanceNorm
from img2img.models.strips import Kept, StripCost


@dataclass(frozen=True)
class Scheme:
    """One way through a network. All are exact; each needs less memory than the one before, and more time.

    Attributes:
        kept: What is whole in memory.
        rows: Rows of the input that one strip stands for.
        peak: Estimated bytes at most, the input included, the finished output not.
    """

    kept: Kept
    rows: int
    peak: int


def choose_scheme(
    generator: Generator, height: int, width: int, budget: int, element_size: int = 4
) -> Scheme | None:
    """Returns the fastest scheme that fits into `budget` bytes; None if none does or none is known.

    Args:
        generator: Any.
        height, width: Of the input, multiples of `multiple_of`.
        budget: Bytes.
        element_size: Bytes of one activation: 4 in fp32, 2 in bf16 and fp16.
    """
    unit = generator.multiple_of
    costs = generator.strip_costs(height, width, element_size)
    for thrifty in (False, True):  # strips thinner than what they read around them only if nothing else fits
        for cost in costs:
            most = int((budget - cost.fixed) / cost.each_row) - cost.beyond
            rows = min(most, max(64, 4 * cost.beyond), height) // unit * unit
            if rows >= (unit if thrifty else min(height, max(unit, cost.beyond))):
                return _scheme(cost, rows)
    return None


def schemes(generator: Generator, height: int, width: int, rows: int, element_size: int = 4) -> list[Scheme]:
    """Returns every scheme for `generator`, fastest first, with strips of `rows` rows; few have any."""
    return [_scheme(cost, min(rows, height)) for cost in generator.strip_costs(height, width, element_size)]


def _scheme(cost: StripCost, rows: int) -> Scheme:
    return Scheme(cost.kept, rows, int(cost.fixed + cost.each_row * (rows + cost.beyond)))


def no_tiles(generator: Generator) -> str | None:
    """Returns the sentence why `generator` can only take a picture whole, or None if it can be divided."""
    if generator.tiling != "none":
        return None
    return (
        f"in {generator.spec.name} every pixel of the result sees the whole picture, so no part of it can "
        "be translated by itself without seams. Take the `size` that the model was trained at (the result is "
        "brought back to the picture's size), or more memory for the `size` native."
    )


@torch.no_grad()
def in_strips(generator: Generator, x: Tensor, scheme: Scheme) -> Iterator[tuple[int, Tensor]]:
    """Runs `generator` on one large picture and hands out finished rows from top to bottom.

    While it runs, the normalisation layers hold the statistics of this picture: one picture at a time.

    Args:
        generator: One that has schemes, in evaluation mode.
        x: (1, in_channels, H, W) in `input_range`, H and W multiples of `multiple_of`.
        scheme: From `choose_scheme` or `schemes`.

    Yields:
        The first row of a strip in the output, and the strip (1, out_channels, h, W*scale), not clamped.

    Raises:
        ProcessingError: Dropout is on, whose mask belongs to a whole picture.
        TypeError: There is no scheme for this kind of network.
    """
    if generator.training:
        raise ValueError("strips are for evaluation: call generator.eval() first")
    if any(isinstance(layer, Dropout) and layer.seed is not None for layer in generator.modules()):
        raise ProcessingError(
            "dropout is on, and its mask belongs to the picture as a whole: a picture too large for memory "
            "cannot have it. Turn dropout off, or take a smaller `size`."
        )
    try:
        yield from generator.in_strips(x, scheme.kept, scheme.rows)
    finally:
        for layer in generator.modules():
            if isinstance(layer, InstanceNorm | BatchNorm):
                layer.statistics = None
