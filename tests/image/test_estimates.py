"""Noise and compression told from a picture alone, against what was done to it."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from img2img.image import Image, decode
from img2img.image.estimates import blocks, damages, estimates, noise
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
@pytest.mark.sampled(6)
def test_the_deviation_of_noise_is_found_beside_detail(sigma, dtype):
    assert noise(noisy(sigma, dtype)) == pytest.approx(sigma, rel=0.12, abs=0.3)


def test_a_clean_picture_has_little_of_it_and_a_drawing_tells_nothing():
    assert noise(noisy(0)) < 0.6
    assert (
        noise(Image(np.kron(np.eye(8, dtype=np.uint8)[..., None] * 200, np.ones((32, 32, 1), np.uint8))))
        is None
    )
    assert noise(Image(np.zeros((9, 400, 3), np.uint8))) is None


@pytest.mark.parametrize(
    ("height", "width", "seen"), [(60, 90, {"noise"}), (52, 600, {"noise"}), (48, 48, set())]
)
def test_small_pictures_are_judged_and_icons_are_not(height, width, seen):
    assert damages(estimates(noisy(20, height=height, width=width))) == seen
    assert not damages(estimates(noisy(0, height=height, width=width)))


@pytest.mark.parametrize("height", [16, 37, 64])
def test_grey_pictures_strips_and_large_ones(height):
    assert noise(noisy(10, height=height, width=2000, channels=1)) == pytest.approx(10, rel=0.25)


def test_of_large_pictures_a_part_tells_the_noise():
    tall = Image(np.tile(noisy(10).pixels, (10, 10, 1)))
    assert tall.pixels[..., 0].size > 2**22
    assert noise(tall) == pytest.approx(10, rel=0.12)


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("by", ["opencv", "pillow", "pillow, grey"])
@pytest.mark.sampled(8)
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


def renumbered(data: bytes, places: dict[int, int]) -> bytes:
    """The same JPEG with other numbers for its quantization tables."""
    out, at = bytearray(data), 2
    while out[at + 1] != 0xDA:
        length = int.from_bytes(out[at + 2 : at + 4], "big")
        if out[at + 1] == 0xDB:
            for place in range(at + 4, at + 2 + length, 65):
                out[place] = places[out[place]]
        elif out[at + 1] == 0xC0:
            for place in range(at + 12, at + 2 + length, 3):
                out[place] = places[out[place]]
        at += 2 + length
    return bytes(out)


@pytest.mark.parametrize("places", [{0: 1, 1: 0}, {0: 2, 1: 3}, {0: 3, 1: 0}])
@pytest.mark.parametrize("quality", [35, 85])
def test_the_table_that_luma_uses_tells_the_quality(quality, places):
    pixels = np.rint(scene() * 255).astype(np.uint8)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    other = renumbered(data, places)
    assert other != data and np.array_equal(decode(other).pixels, decode(data).pixels)
    assert decode(other).jpeg_quality == quality


def test_other_formats_have_none():
    buffer = io.BytesIO()
    PillowImage.fromarray(np.rint(scene() * 255).astype(np.uint8)).save(buffer, "PNG")
    image = decode(buffer.getvalue())
    assert image.jpeg_quality is None and estimates(image)["jpeg_quality"] is None


def compressed(quality: int, top: int = 0, left: int = 0, dtype=np.uint8, channels: int = 3) -> Image:
    """A scene after JPEG, without so many rows and columns of it, as a picture of another format."""
    pixels = np.rint(scene(channels=channels) * 255).astype(np.uint8)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(pixels.shape)[top:, left:]
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return Image((pixels / 255 * white).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("top", "left", "channels"), [(0, 0, 3), (3, 5, 3), (7, 0, 1)])
@pytest.mark.sampled(4)
def test_the_borders_of_blocks_are_found_wherever_the_grid_begins(dtype, top, left, channels):
    found = [blocks(compressed(quality, top, left, dtype, channels)) for quality in (10, 30, 60)]
    assert found[0] > 1 and found[0] > found[1] > found[2]
    assert damages(estimates(compressed(30, top, left, dtype, channels))) == {"compression"}


def test_without_a_grid_of_eight_pixels_there_is_no_compression():
    clean = noisy(0)
    enlarged = resize(compressed(10).pixels, 300, 400)
    lines = np.zeros((128, 128, 3), np.uint8)
    lines[::8] = lines[:, ::8] = 200  # edges are no borders of blocks
    for pixels in (clean.pixels, noisy(25).pixels, enlarged, lines, np.zeros((99, 99, 1), np.uint8)):
        image = Image(pixels)
        assert blocks(image) < 0.2 and "compression" not in damages(estimates(image))
    assert blocks(Image(np.zeros((48, 200, 3), np.uint8))) is None


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        ({"jpeg_quality": None, "blocks": None, "noise": None}, set()),
        ({"jpeg_quality": 90, "blocks": 0.1, "noise": 2.0}, set()),
        ({"jpeg_quality": 30, "blocks": None, "noise": None}, {"compression"}),
        ({"jpeg_quality": 95, "blocks": 0.8, "noise": 0.3}, {"compression"}),  # saved twice
        ({"jpeg_quality": 30, "blocks": 0.8, "noise": 9.0}, {"compression", "noise"}),
        ({"jpeg_quality": None, "blocks": None, "noise": 14.0}, set()),  # an icon
        ({}, set()),
    ],
)
def test_what_counts_as_visible(found, seen):
    assert damages(found) == seen


def test_a_picture_is_looked_at_once(monkeypatch):
    image = noisy(10)
    first = estimates(image)
    monkeypatch.setattr(cv2, "filter2D", None)
    assert estimates(image) == first


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_values_that_are_no_levels_do_no_harm(value):
    pixels = scene().astype(np.float32)
    pixels[40:90, 50:200] = value
    found = estimates(Image(pixels))
    assert all(each is None or np.isfinite(each) for each in found.values())
    damages(found)
