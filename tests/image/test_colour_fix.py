"""Low frequencies of the input, high ones of the result."""

from __future__ import annotations

import numpy as np
import pytest

from img2img.image import Image
from img2img.image.colour_fix import ColourFix, with_colours_of
from img2img.image.resize import resize

WAYS: list[ColourFix] = ["lowfreq", "wavelet"]
DTYPES = [np.uint8, np.uint16, np.float32]


def picture(dtype, height: int = 96, width: int = 128, channels: int = 3) -> Image:
    """Smooth, with some noise, and away from black and white."""
    rng = np.random.default_rng(0)
    smooth = resize(rng.random((6, 8, channels), np.float32) * 0.4 + 0.3, height, width)
    values = np.clip(smooth + rng.normal(0, 0.02, smooth.shape).astype(np.float32), 0.1, 0.9)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return Image(
        (values * white).astype(dtype) if dtype == np.float32 else np.rint(values * white).astype(dtype)
    )


def error(one: Image, other: Image) -> float:
    return float(np.abs(one.pixels.astype(np.float64) - other.pixels).max() / one.white)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.sampled(6)
def test_a_shift_of_the_colours_is_taken_back(way, dtype, scale):
    source = picture(dtype)
    made = resize(source.pixels, source.height * scale, source.width * scale)
    shift = (np.array([0.06, -0.05, 0.03]) * source.white).astype(np.float32)
    shifted = made.astype(np.float32) + shift
    result = Image(shifted if dtype == np.float32 else np.rint(shifted).astype(dtype))
    fixed = with_colours_of(source, result, way)
    assert fixed.pixels.dtype == dtype
    assert error(fixed, Image(made)) < 0.012 < 0.05 < error(result, Image(made))


@pytest.mark.parametrize("way", WAYS)
def test_a_gradual_shift_is_taken_back_and_detail_stays(way):
    source = picture(np.float32, 128, 192)
    rng = np.random.default_rng(1)
    detail = rng.choice([-0.05, 0.05], source.pixels.shape).astype(np.float32)
    slope = np.linspace(-0.05, 0.05, 192, dtype=np.float32)[None, :, None]
    fixed = with_colours_of(source, Image(source.pixels + detail + slope), way).pixels - source.pixels
    inner = np.s_[32:-32, 48:-48]
    assert np.abs(resize(fixed[inner], 4, 6)).max() < 0.02
    kept = np.corrcoef(fixed[inner].ravel(), detail[inner].ravel())[0, 1]
    assert kept > 0.97


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_agrees_already_stays(way, dtype):
    source = picture(dtype)
    fixed = with_colours_of(source, source, way)
    assert error(fixed, source) <= (1e-6 if dtype == np.float32 else 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 3), (3, 200, 1), (50, 2, 4)])
def test_any_size_and_number_of_channels(way, height, width, channels):
    source = picture(np.uint8, height, width, channels)
    fixed = with_colours_of(source, Image(resize(source.pixels, 2 * height, 2 * width)), way)
    assert fixed.pixels.shape == (2 * height, 2 * width, channels)


def test_colours_under_what_is_transparent_are_those_around():
    source = picture(np.uint8)
    alpha = np.full(source.pixels.shape[:2], 255, np.uint8)
    alpha[:, 64:] = 0
    hidden = source.pixels.copy()
    hidden[:, 64:] = 255, 0, 255
    given = Image(hidden, alpha)
    fixed = with_colours_of(given, Image(source.pixels), "lowfreq").pixels[:, :64]
    assert np.abs(fixed.astype(int) - source.pixels[:, :64]).max() < 0.2 * 255
    assert with_colours_of(given, source, "off") is source
