"""Grids cover every pixel once, with the margins that they promise; blending is smooth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from img2img.inference.tiling import BLEND_MARGIN, BLEND_RAMP, Blender, layout, spans

CASES = list(itertools.product((1, 7, 64, 65, 100, 333), (1, 16, 50, 90), (0, 3, 18), (0, 8), (1, 4)))


@pytest.mark.parametrize(("length", "window", "margin", "ramp", "unit"), CASES)
@pytest.mark.sampled(36)
def test_spans_cover_with_their_margins(length, window, margin, ramp, unit):
    length = -(-length // unit) * unit
    row, size = spans(length, window, margin, ramp, unit)
    assert row[0].low == 0 and row[-1].high == length
    least = -(-(2 * margin + ramp) // unit) * unit + max(unit, 2 * -(-ramp // unit) * unit)
    assert size % unit == 0 and size <= max(window, least)
    for span in row:
        assert span.start % unit == 0 and span.start >= 0 and span.start + size <= length
        assert span.low < span.high
        assert span.low == 0 or span.low - span.start >= margin
        assert span.high == length or span.start + size - span.high >= margin
    for before, after in itertools.pairwise(row):
        assert before.high - after.low == ramp
    if ramp:
        for first, _, third in zip(row, row[1:], row[2:], strict=False):
            assert first.high <= third.low, "three tiles meet in one place"


def test_windows_are_no_larger_than_needed():
    row, size = spans(1000, 300, 18)
    assert len(row) == 4 and size == 277  # 4 * 277 - 3 * 36 = 1000


@pytest.mark.parametrize("ramp", [0, 6])
def test_a_picture_cut_and_joined_is_the_same(ramp):
    picture = torch.rand(1, 3, 53, 71, dtype=torch.float64).float()
    for tile in (20, 33, 100):
        grid = layout(53, 71, 10**9, radius=5, tile=tile)
        if ramp:
            down, height = spans(53, tile, 2, ramp)
            across, width = spans(71, tile, 2, ramp)
            grid = type(grid)(down, across, height, width, ramp)
        blender, result, written = Blender(grid, 2), torch.zeros(1, 3, 106, 142), torch.zeros(106, 142)
        enlarged = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for row, column in grid:
            window = enlarged[
                ...,
                2 * row.start : 2 * (row.start + grid.height),
                2 * column.start : 2 * (column.start + grid.width),
            ]
            top, left, part = blender.add(row, column, window)
            height, width = part.shape[-2:]
            result[..., top : top + height, left : left + width] = part
            written[top : top + height, left : left + width] += 1
        assert (written == 1).all()
        torch.testing.assert_close(result, enlarged, rtol=0, atol=1e-6)


def test_blending_is_a_partition_of_unity_that_rises_smoothly_and_keeps_the_borders():
    """Tiles numbered 1, 2, 3: the result goes from one number to the next without a jump."""
    down, height = spans(10, 10, 4, 8)
    across, width = spans(90, 40, 4, 8)
    grid = type(layout(1, 1, 1, radius=None))(down, across, height, width, 8)
    blender, values = Blender(grid, 1), []
    for number, (row, column) in enumerate(grid, 1):
        _, left, part = blender.add(row, column, torch.full((1, 1, height, width), float(number)))
        assert left == len(values)
        values += part[0, 0, 0].tolist()
    steps = np.diff(values)
    assert values[0] == 1 and values[-1] == len(grid.columns) and len(values) == 90
    assert (steps >= 0).all() and steps.max() < 0.2


def test_exact_where_that_is_affordable_and_blended_where_it_is_not():
    assert layout(1000, 1000, 300**2, radius=18).ramp == 0
    assert layout(1000, 1000, 300**2, radius=349).ramp == BLEND_RAMP
    assert layout(1000, 1000, 300**2, radius=349).tiles > 1
    assert layout(1000, 1000, 10**7, radius=349).tiles == 1
    assert layout(1000, 1000, 10**7, radius=349, tile=128).ramp == BLEND_RAMP
    assert 2 * BLEND_MARGIN + BLEND_RAMP >= 64


@pytest.mark.parametrize("size", [(1, 1), (40, 3000), (3000, 40), (5000, 4000), (64, 64)])
@pytest.mark.parametrize("radius", [2, 18, 349])
@pytest.mark.sampled(6)
def test_windows_fit_into_the_memory_and_the_smallest_is_taken_where_none_does(size, radius):
    grid = layout(*size, 200_000, radius=radius, cached=20_000)
    assert grid.height * grid.width <= 200_000
    tiny = layout(*size, 10, radius=radius)
    assert tiny.height * tiny.width <= grid.height * grid.width


def test_a_picture_that_must_stay_whole():
    grid = layout(5000, 4000, 10, radius=None)
    assert (grid.height, grid.width, grid.tiles) == (5000, 4000, 1)


def test_small_windows_are_preferred_where_a_cache_decides():
    assert layout(512, 512, 10**9, radius=2, cached=128**2).tiles > 1
    assert layout(512, 512, 10**9, radius=2).tiles == 1
