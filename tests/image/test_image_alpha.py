"""What cannot be seen does not count: it is white where alpha goes, its surroundings where it stays."""

from __future__ import annotations

import numpy as np
import pytest

from img2img.image import Image
from img2img.image.alpha import bleed, over_white, visible


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (13, 21), (64, 64)])
@pytest.mark.sampled(6)
def test_visible_pixels_stay_and_hidden_ones_lie_between_them(dtype, size):
    rng = np.random.default_rng(0)
    pixels = (rng.random((*size, 3)) * 200 + 50).astype(dtype)
    alpha = (rng.random(size) < 0.1).astype(dtype)
    before = pixels.copy()
    filled = bleed(Image(pixels, alpha)).pixels
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
    filled = bleed(Image(pixels, alpha)).pixels
    assert tuple(filled[8, 1]) == (200, 0, 0) and tuple(filled[8, -2]) == (0, 0, 200)


def test_nothing_to_fill_and_nothing_to_fill_it_with():
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(bleed(Image(pixels, np.full((3, 3), 255, np.uint8))).pixels, pixels)
    assert (bleed(Image(pixels, np.zeros((3, 3), np.uint8))).pixels == 255).all()


def test_what_is_hardly_visible_hardly_counts():
    pixels = np.zeros((8, 8, 3), np.uint8)
    alpha = np.zeros((8, 8), np.uint8)
    pixels[4, 4], alpha[4, 4] = (255, 0, 255), 1
    pixels[4, 5], alpha[4, 5] = (0, 100, 0), 255
    assert np.abs(bleed(Image(pixels, alpha)).pixels[0, 0].astype(int) - (1, 100, 1)).max() <= 1


def test_hidden_values_that_are_no_numbers_are_filled_too():
    pixels = np.full((6, 6, 3), 0.25, np.float32)
    alpha = np.ones((6, 6), np.float32)
    pixels[2:4, 2:4], alpha[2:4, 2:4] = np.nan, 0
    pixels[5, 5], alpha[5, 5] = np.inf, 0
    assert (bleed(Image(pixels, alpha)).pixels == 0.25).all()
    np.testing.assert_array_equal(over_white(Image(pixels, alpha)).pixels[..., 0], np.where(alpha, 0.25, 1))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_over_white_is_the_weighted_mean_with_white(dtype, channels):
    rng = np.random.default_rng(1)
    white = 1 if dtype == np.float32 else int(np.iinfo(dtype).max)
    pixels = (rng.random((600, 7, channels)) * white).astype(dtype)
    alpha = (rng.random((600, 7)) * white).astype(dtype)
    alpha[:, 0], alpha[:, 1] = 0, white
    before = pixels.copy()
    laid = over_white(Image(pixels, alpha, icc=b"rgb", exif=b"II*\0"))
    share = (alpha / white).astype(np.float64)[..., None]
    assert (laid.alpha, laid.icc, laid.exif, laid.pixels.dtype) == (None, b"rgb", b"II*\0", dtype)
    np.testing.assert_allclose(
        laid.pixels, pixels * share + white * (1 - share), atol=1e-6 if dtype == np.float32 else 0.51
    )
    np.testing.assert_array_equal(laid.pixels[:, 1], pixels[:, 1])
    assert (laid.pixels[:, 0] == white).all()
    np.testing.assert_array_equal(pixels, before)


def test_over_white_without_alpha_changes_nothing():
    image = Image(np.full((2, 2, 3), 9, np.uint8))
    assert over_white(image) is image
    opaque = image.replace(alpha=np.full((2, 2), 255, np.uint8))
    assert over_white(opaque).pixels is image.pixels and over_white(opaque).alpha is None


def test_visible_is_none_where_there_is_nothing_to_choose():
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert visible(Image(pixels)) is None
    assert visible(Image(pixels, np.zeros((2, 2), np.uint8))) is None
    np.testing.assert_array_equal(
        visible(Image(pixels, np.array([[0, 1], [255, 0]], np.uint8))), [[False, True], [True, False]]
    )
