"""Where tiles lie, how large they are, and how their results become one picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

BLEND_MARGIN, BLEND_RAMP = 16, 32  # input pixels: an overlap of 2 * 16 + 32 = 64
SIDES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in input pixels.

    Attributes:
        start: Where the window that the network sees begins.
        low, high: Which part of it is used. Neighbours share `ramp` pixels, over which they are blended.
    """

    start: int
    low: int
    high: int


@dataclass(frozen=True)
class TileGrid:
    """A grid of windows of one size that covers a picture.

    Attributes:
        rows, columns: The windows along each axis.
        height, width: Of every window.
        ramp: How many pixels neighbours are blended over; 0 where tiles are exact.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    height: int
    width: int
    ramp: int

    @property
    def tiles(self) -> int:
        """How many windows there are."""
        return len(self.rows) * len(self.columns)

    @property
    def cost(self) -> int:
        """Pixels that the network sees in total."""
        return self.tiles * self.height * self.width

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """Yields the windows row by row."""
        return iter(product(self.rows, self.columns))


def spans(
    length: int, window: int, margin: int, ramp: int = 0, unit: int = 1
) -> tuple[tuple[Span, ...], int]:
    """Covers `length` pixels with as few windows of at most `window` pixels as possible, all equally long.

    Args:
        length: To be covered; a multiple of `unit`.
        window: At most; more is taken where the overlap, or three blended tiles in a row, need it.
        margin: How far the used part stays from a window's edge, except at the border of the picture.
        ramp: Over how many pixels the used parts of neighbours overlap.
        unit: Windows begin at multiples of this.

    Returns:
        The spans, and the length of their windows (a multiple of `unit`).
    """
    total, overlap = length // unit, math.ceil((2 * margin + ramp) / unit)
    blend = math.ceil(ramp / unit)
    most = max(window // unit, overlap + max(1, 2 * blend))
    if most >= total:
        return (Span(0, 0, length),), length
    count = math.ceil((total - overlap) / (most - overlap))
    size = max(math.ceil((total + (count - 1) * overlap) / count), overlap + blend)
    starts = [i * (total - size) // (count - 1) * unit for i in range(count)]
    size *= unit
    lows = [0]
    for before, start in pairwise(starts):
        lows.append(start + (before + size - start - ramp) // 2)
    highs = [low + ramp for low in lows[1:]] + [length]
    return tuple(map(Span, starts, lows, highs)), size


def layout(
    height: int,
    width: int,
    pixels: int,
    *,
    radius: int | None,
    unit: int = 1,
    tile: int | None = None,
    cached: int | None = None,
) -> TileGrid:
    """Chooses the cheapest grid of windows of at most `pixels` pixels.

    Windows that keep the whole receptive radius as margin are exact. Where they would cost more than 1.3
    times as much as windows that overlap by 64 pixels and are blended, the latter are taken.

    Args:
        height: Of the picture, a multiple of `unit`.
        width: Of the picture, a multiple of `unit`.
        pixels: What fits into memory. The smallest window is taken if not even that does.
        radius: Receptive radius in input pixels; None if the picture must stay whole.
        unit: Windows begin at multiples of this and are multiples of it.
        tile: Side of a tile without its margins, instead of a choice.
        cached: From how many pixels on a window is slow because it no longer fits into a cache.
    """
    if radius is None:
        return TileGrid((Span(0, 0, height),), (Span(0, 0, width),), height, width, 0)

    def choose(margin: int, ramp: int) -> TileGrid:
        overlap = 2 * margin + ramp
        sides = [tile + overlap] if tile else [overlap + side for side in SIDES]
        down = {window: rows for rows, window in (spans(height, side, margin, ramp, unit) for side in sides)}
        across = {
            window: spans_ for spans_, window in (spans(width, side, margin, ramp, unit) for side in sides)
        }
        grids = [
            TileGrid(down[window_height], across[window_width], window_height, window_width, ramp)
            for window_height, window_width in product(down, across)
        ]
        fitting = [grid for grid in grids if grid.height * grid.width <= pixels]
        if not fitting:
            return min(grids, key=lambda grid: grid.height * grid.width)
        return min(fitting, key=price)

    def price(grid: TileGrid) -> float:
        area = grid.height * grid.width
        return grid.cost * slowdown(area, cached)

    exact = choose(radius, 0)
    if 2 * radius <= 2 * BLEND_MARGIN + BLEND_RAMP:
        return exact
    blended = choose(BLEND_MARGIN, BLEND_RAMP)
    if tile is not None and tile < 2 * radius:  # who asks for small tiles does not want them so much larger
        return blended
    fits = exact.height * exact.width <= pixels
    return exact if fits and price(exact) <= 1.3 * price(blended) else blended


def slowdown(area: int, cached: int | None) -> float:
    """Returns how much longer a pixel takes in a window of `area` pixels than in one that fits the cache."""
    if cached is None or area <= cached:
        return 1.0
    return min(1.4, 1 + 0.15 * math.log2(area / cached))


class Blender:
    """Turns the results of a layout's windows, in its order, into finished parts of the output.

    Nothing larger than the seams is kept: a strip beside a tile and a strip below a row of tiles.

    Args:
        grid: The layout.
        scale: Output pixels per input pixel.
    """

    def __init__(self, grid: TileGrid, scale: int) -> None:
        self.grid, self.scale = grid, scale
        self._beside: Tensor | None = None
        self._below: dict[int, Tensor] = {}  # by column
        steps = grid.ramp * scale
        weight = (torch.arange(steps, dtype=torch.float32) + 0.5) / max(1, steps)
        self._weight = weight * weight * (3 - 2 * weight)

    def add(self, row: Span, column: Span, result: Tensor) -> tuple[int, int, Tensor]:
        """Takes the result of one window and returns what is finished with it.

        Args:
            row: Its place from top to bottom.
            column: Its place from left to right.
            result: (N, C, H*scale, W*scale) of the window.

        Returns:
            Top and left in the output, and (N, C, h, w) that goes there.
        """
        scale, seam = self.scale, self.grid.ramp * self.scale
        part = result[
            ...,
            (row.low - row.start) * scale : (row.high - row.start) * scale,
            (column.low - column.start) * scale : (column.high - column.start) * scale,
        ]
        top, left = row.low * scale, column.low * scale
        if not seam:
            return top, left, part
        part = part.float()
        weight = self._weight.to(part.device)
        if column is not self.grid.columns[0] and self._beside is not None:
            mixed = torch.lerp(self._beside, part[..., :seam], weight)
            part = torch.cat((mixed, part[..., seam:]), -1)
        if column is not self.grid.columns[-1]:
            self._beside, part = part[..., -seam:].clone(), part[..., :-seam]
        if row is not self.grid.rows[0]:
            mixed = torch.lerp(self._below[column.start], part[..., :seam, :], weight[:, None])
            part = torch.cat((mixed, part[..., seam:, :]), -2)
        if row is not self.grid.rows[-1]:
            self._below[column.start], part = part[..., -seam:, :].clone(), part[..., :-seam, :]
        return top, left, part
