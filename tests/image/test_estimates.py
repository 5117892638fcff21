"""Noise and compression told from a picture alone, against what was done to it."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from img2img.image import Image, decode
from img2img.image.estimates import estimates, noise
from img2img.image.resize import resize

DTYPES = [np.uint8, np.uint16, np.float32]


def scene(height: int = 256, width: int = 320, channels: int = 3) -> np.ndarray:
    """Slopes, and in a quarter of it detail at all frequencies; 0 to 1."""
    rng = np.random.default_rng(0)
    values = resize(rng.random((5, 6, channels), np.float32) * 0.5 + 0.25, height, width)
    values[: height // 2, : width // 2] += rng.normal(0, 0.1, (height // 2, width // 2, channels))
    return np.clip(values, 0.05, 0.95)


def noisy(sigma: float, dtype=np.uint8, **size: int) -> Image:
    values = scene(**size) * 255
    values = values + np.random.default_rng(1).normal(0, sigma, values.shape)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    scaled = np.clip(values / 255, 0, 1) * white
    return Image((scaled if dtype == np.float32 else np.rint(scaled)).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigma", [2, 5, 10, 25, 40])
def test_the_deviation_of_noise_is_found_beside_detail(sigma, dtype):
    assert noise(noisy(sigma, dtype)) == pytest.approx(sigma, rel=0.12, abs=0.3)


def test_a_clean_picture_has_little_of_it_and_a_drawing_tells_nothing():
    assert noise(noisy(0)) < 0.6
    assert (
        noise(Image(np.kron(np.eye(8, dtype=np.uint8)[..., None] * 200, np.ones((32, 32, 1), np.uint8))))
        is None
    )
    assert noise(Image(np.zeros((9, 400, 3), np.uint8))) is None


@pytest.mark.parametrize("height", [16, 37, 64])
def test_grey_pictures_strips_and_large_ones(height):
    assert noise(noisy(10, height=height, width=2000, channels=1)) == pytest.approx(10, rel=0.25)
    tall = Image(np.tile(noisy(10).pixels, (10, 10, 1)))
    assert tall.pixels[..., 0].size > 2**22
    assert noise(tall) == pytest.approx(10, rel=0.12)


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("by", ["opencv", "pillow", "pillow, grey"])
def test_the_quality_is_that_of_the_encoder(quality, by):
    pixels = np.rint(scene() * 255).astype(np.uint8)
    if by == "opencv":
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    else:
        buffer = io.BytesIO()
        picture = PillowImage.fromarray(pixels if by == "pillow" else pixels[..., 0])
        picture.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
    image = decode(data)
    assert image.jpeg_quality == quality
    assert estimates(image)["jpeg_quality"] == quality


def test_tables_of_other_encoders_get_the_nearest_quality():
    buffer = io.BytesIO()
    table = [max(1, round(step * 0.41)) for step in range(8, 72)]
    PillowImage.fromarray(np.rint(scene() * 255).astype(np.uint8)).save(
        buffer, "JPEG", qtables=[table, table]
    )
    assert 70 <= decode(buffer.getvalue()).jpeg_quality <= 90


def test_other_formats_have_none():
    buffer = io.BytesIO()
    PillowImage.fromarray(np.rint(scene() * 255).astype(np.uint8)).save(buffer, "PNG")
    image = decode(buffer.getvalue())
    assert image.jpeg_quality is None and estimates(image)["jpeg_quality"] is None
