from __future__ import annotations

import cv2
import numpy as np
import pytest

from img2img.image.image import Image
from img2img.processors import parse_operations
from img2img.processors.tone import quantiles


def run(image: Image, *texts: str) -> Image:
    return parse_operations(texts).apply(image)


@pytest.mark.parametrize("clip", [1, 2, 4])
def test_clahe_agrees_with_opencv(picture, clip):
    """On 8-bit gray that divides evenly, OpenCV's differs by its rounding and by half a pixel of position.

    The regions are large because it gives what is left of a division by 256 to the dark bins alone.
    """
    gray = cv2.resize(picture[:, :, 0], (1024, 768), interpolation=cv2.INTER_LINEAR)
    clahe = cv2.createCLAHE(clip, (2, 2))
    turned = clahe.apply(np.ascontiguousarray(gray[::-1, ::-1]))[::-1, ::-1]
    expected = (clahe.apply(gray).astype(float) + turned) / 2  # so that the half pixel goes both ways
    result = run(Image(gray[:, :, None]), f"clahe={clip},grid:2").pixels[:, :, 0]
    difference = np.abs(result - expected)
    assert difference.mean() < 1 and np.percentile(difference, 99.9) <= 3
    assert np.abs(expected - gray).mean() > 5  # there was something to agree on


def test_clahe_knows_no_direction(picture):
    both = run(Image(picture), "flip=both", "clahe=3", "flip=both").pixels.astype(int)
    assert np.abs(both - run(Image(picture), "clahe=3").pixels).max() <= 1


def test_clahe_keeps_hue_and_smooth_gradients():
    ramp = np.linspace(20000, 24000, 4000, dtype=np.uint16).reshape(1, -1, 1).repeat(64, 0)
    result = run(Image(ramp), "clahe=clip:3,grid:2").pixels[32, :, 0].astype(int)
    assert len(np.unique(result)) > 3000  # 8 bits inside would leave 17 steps
    assert np.abs(np.diff(result)).max() < 20
    colour = np.random.default_rng(0).integers(60, 130, (64, 64, 3)).astype(np.float32) / 255
    before, after = (
        cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[:, :, 0] for p in (colour, run(Image(colour), "clahe").pixels)
    )
    assert np.abs((after - before + 180) % 360 - 180).max() < 0.5


def test_what_cannot_be_seen_has_no_influence(picture):
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[20:70, 20:90] = 255
    loud = picture.copy()
    loud[alpha == 0] = 255
    quiet = picture.copy()
    quiet[alpha == 0] = 0
    for text in (
        "clahe=3",
        "auto-levels=1%",
        "white-balance",
        "white-balance=gray-world",
        "white-balance=percentile",
    ):
        one, other = (run(Image(p, alpha), text).pixels[alpha > 0] for p in (loud, quiet))
        np.testing.assert_array_equal(one, other, err_msg=text)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_quantiles_equal_numpy(dtype):
    values = (np.random.default_rng(0).random(1001) * 200).astype(dtype)
    for fraction in (0, 0.01, 0.5, 0.999, 1):
        assert quantiles(values, fraction)[0] == np.quantile(values, fraction, method="inverted_cdf")


def test_auto_levels_reach_black_and_white():
    ramp = np.linspace(60, 180, 10000).round().astype(np.uint8).reshape(100, 100, 1)
    result = run(Image(ramp), "auto-levels=0").pixels
    expected = np.clip((ramp.astype(float) - 60) / 120 * 255, 0, 255)
    assert np.abs(result - expected).max() <= 0.5
    cut = run(Image(ramp), "auto-levels=10%").pixels
    assert (cut == 0).mean() == pytest.approx(0.1, abs=0.02) and (cut == 255).mean() == pytest.approx(
        0.1, abs=0.02
    )
    flat = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(run(Image(flat), "auto-levels").pixels, flat)


def test_auto_levels_keep_colours_unless_told_otherwise():
    rng = np.random.default_rng(0)
    pixels = np.stack(
        [rng.uniform(0.2, 0.5, (50, 50)), rng.uniform(0.3, 0.7, (50, 50)), rng.uniform(0.4, 0.6, (50, 50))], 2
    )
    image = Image(pixels.astype(np.float32))
    together = run(image, "auto-levels=0").pixels
    gain = (together[:, :, 0].max() - together[:, :, 0].min()) / np.ptp(image.pixels[:, :, 0])
    for c in range(3):
        np.testing.assert_allclose(np.ptp(together[:, :, c]), gain * np.ptp(image.pixels[:, :, c]), rtol=1e-4)
    assert together.min() == pytest.approx(0, abs=1e-5) and together.max() == pytest.approx(1, abs=1e-5)
    apart = run(image, "auto-levels=0,per_channel").pixels
    np.testing.assert_allclose(apart.min(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(apart.max(axis=(0, 1)), 1, atol=1e-5)


def test_white_balance_by_the_mean():
    cast = np.random.default_rng(0).uniform(0.1, 0.5, (60, 60, 3)) * np.array([1.3, 1.0, 0.6])
    image = Image(cast.astype(np.float32))
    result = run(image, "white-balance=gray-world,strength:1").pixels
    means = result.mean(axis=(0, 1))
    np.testing.assert_allclose(means, means.mean(), rtol=1e-4)
    weights = np.array([0.299, 0.587, 0.114])  # as bright as before
    assert weights @ means == pytest.approx(float(weights @ cast.mean(axis=(0, 1))), rel=1e-4)
    half = run(image, "white-balance=gray-world,strength:0.5").pixels.mean(axis=(0, 1))
    assert means[0] / means[2] < half[0] / half[2] < 1.3 / 0.6


def test_white_balance_finds_the_gray_things(picture):
    """Gray things beside a large colourful area: the area must not decide."""
    scene = np.full((100, 100, 3), [0.1, 0.6, 0.15], np.float32)
    scene[:30] = np.linspace(0.2, 0.9, 100, dtype=np.float32)[None, :, None]
    cast = np.array([1.0, 0.85, 0.7], np.float32)
    balanced = run(Image(scene * cast), "white-balance=strength:1").pixels
    gray = balanced[:30].mean(axis=(0, 1))
    assert gray.max() / gray.min() < 1.08  # it was 1.43
    untouched = run(Image(scene), "white-balance").pixels
    assert np.abs(untouched - scene).max() < 0.02
    by_mean = run(Image(scene), "white-balance=gray-world").pixels
    assert np.abs(by_mean - scene).max() > 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_gamma_formula(dtype):
    white = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    values = (np.random.default_rng(0).random((20, 30, 3)) * white).astype(dtype)
    expected = (values / white) ** (1 / 2.2) * white
    result = run(Image(values), "gamma=2.2").pixels
    assert np.abs(result - expected).max() <= (1e-6 if dtype == np.float32 else 0.5001)


def test_gamma_of_values_beyond_the_range():
    values = np.array([-0.25, 0.0, 4.0], np.float32).reshape(1, 3, 1)
    np.testing.assert_allclose(run(Image(values), "gamma=2").pixels.ravel(), [-0.5, 0, 2])
