"""Transparent pixels take the colour of what is visible around them; visible ones are not touched."""

from __future__ import annotations

import numpy as np
import pytest

from img2img.inference.alpha import bleed


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (13, 21), (64, 64)])
def test_visible_pixels_stay_and_hidden_ones_lie_between_them(dtype, size):
    rng = np.random.default_rng(0)
    pixels = (rng.random((*size, 3)) * 200 + 50).astype(dtype)
    alpha = (rng.random(size) < 0.1).astype(dtype)
    before = pixels.copy()
    filled = bleed(pixels, alpha)
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    assert filled.dtype == dtype and filled.shape == pixels.shape
    if (alpha > 0).any():
        seen = pixels[alpha > 0]
        assert (filled >= seen.min(0) - 1e-3).all() and (filled <= seen.max(0) + 1e-3).all()


def test_the_nearest_colour_wins():
    pixels = np.zeros((16, 64, 3), np.uint8)
    alpha = np.zeros((16, 64), np.uint8)
    pixels[:, 0], pixels[:, -1] = (200, 0, 0), (0, 0, 200)
    alpha[:, 0] = alpha[:, -1] = 1
    filled = bleed(pixels, alpha)
    assert tuple(filled[8, 1]) == (200, 0, 0) and tuple(filled[8, -2]) == (0, 0, 200)


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_fill_and_nothing_to_fill_it_with(value):
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(bleed(pixels, np.full((3, 3), value, np.uint8)), pixels)


def test_what_is_hardly_visible_hardly_counts():
    pixels = np.zeros((8, 8, 3), np.uint8)
    alpha = np.zeros((8, 8), np.uint8)
    pixels[4, 4], alpha[4, 4] = (255, 0, 255), 1
    pixels[4, 5], alpha[4, 5] = (0, 100, 0), 255
    assert np.abs(bleed(pixels, alpha)[0, 0].astype(int) - (1, 100, 1)).max() <= 1
