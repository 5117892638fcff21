from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFilter

from img2img.image.image import Image
from img2img.processors import parse_operations


def run(image: Image, *texts: str) -> Image:
    return parse_operations(texts).apply(image)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize("channels", [1, 3])
def test_denoise_removes_noise_and_keeps_edges(picture, channels):
    clean = run(Image(picture), "blur=median,radius:2").pixels[:, :, :channels]
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).round().astype(np.uint8)
    result = run(Image(noisy), "denoise=0.4").pixels
    assert psnr(result, clean) > psnr(noisy, clean) + 5
    step = np.zeros((20, 40, channels), np.uint8) + 40
    step[:, 20:] = 200
    assert np.abs(run(Image(step), "denoise=0.4").pixels.astype(int) - step).max() <= 1


def test_gaussian_formula(picture):
    offsets = np.arange(-20, 21)
    kernel = np.exp(-(offsets**2) / (2 * 2.5**2))
    kernel /= kernel.sum()
    plane = picture[:, :, 0].astype(float)
    rows = np.apply_along_axis(np.convolve, 0, plane, kernel, mode="same")
    expected = np.apply_along_axis(np.convolve, 1, rows, kernel, mode="same")
    for dtype, scale in ((np.uint8, 1), (np.uint16, 257)):
        pixels = (picture[:, :, :1].astype(dtype)) * dtype(scale)
        result = run(Image(pixels), "blur=2.5").pixels[:, :, 0] / scale
        assert np.abs(result - expected)[20:-20, 20:-20].max() < 1


def test_box_and_median_equal_pillow(picture):
    inside = np.s_[4:-4, 4:-4]
    upright = Pillow.fromarray(picture)
    box = np.asarray(upright.filter(ImageFilter.BoxBlur(3))).astype(int)
    assert np.abs(run(Image(picture), "blur=3,box").pixels.astype(int) - box)[inside].max() <= 1
    median = np.asarray(upright.filter(ImageFilter.MedianFilter(5)))
    result = run(Image(picture), "blur=median,radius:2").pixels
    np.testing.assert_array_equal(result[inside], median[inside])


def test_motion_goes_where_it_is_told():
    point = np.zeros((41, 41, 1), np.float32)
    point[20, 20] = 1
    level = run(Image(point), "blur=motion,radius:5").pixels[:, :, 0]
    np.testing.assert_allclose(level[20, 15:26], 1 / 11, atol=1e-5)
    down = run(Image(point), "blur=motion,radius:5,angle:90").pixels[:, :, 0]
    np.testing.assert_allclose(down, level.T, atol=1e-2)
    slanted = run(Image(point), "blur=motion,radius:5,angle:45").pixels[:, :, 0]
    assert slanted[23, 23] > 0.05 and slanted[17, 23] < 0.01  # clockwise: to the right and down
    assert slanted.sum() == pytest.approx(1, abs=1e-3)


def test_sharpen_formula(picture):
    gray = picture[:, :, :1].astype(np.float32) / 255
    base = run(Image(gray), "blur=2").pixels
    result = run(Image(gray), "sharpen=0.7,radius:2,halo:1").pixels
    np.testing.assert_allclose(result, np.clip(gray + 0.7 * (gray - base), 0, 1), atol=1e-5)


def test_halos_are_limited():
    step = np.full((30, 60, 3), 0.3, np.float32)
    step[:, 30:] = 0.7
    soft = run(Image(step), "blur=1")
    limited = run(soft, "sharpen=3,halo:2%").pixels
    assert limited.max() <= 0.7201 and limited.min() >= 0.2799
    assert run(soft, "sharpen=3,halo:1").pixels.max() > 0.8

    def steepness(p):
        return np.abs(np.diff(p[15, :, 0])).max()

    assert steepness(limited) > 1.3 * steepness(soft.pixels)


def test_threshold_leaves_noise_alone():
    noise = (0.5 + np.random.default_rng(0).uniform(-0.01, 0.01, (40, 40, 1))).astype(np.float32)
    np.testing.assert_array_equal(run(Image(noise), "sharpen=2,threshold:3%").pixels, noise)
    assert np.abs(run(Image(noise), "sharpen=2").pixels - noise).max() > 0.005


def test_sharpening_colours_keeps_the_differences_between_channels(picture):
    values = picture.astype(np.float32) / 255
    result = run(Image(values), "sharpen=2").pixels
    np.testing.assert_allclose(
        result[:, :, 0] - result[:, :, 1], values[:, :, 0] - values[:, :, 1], atol=1e-5
    )


def test_hidden_colours_do_not_leak(picture):
    alpha = np.zeros(picture.shape[:2], np.uint8)
    alpha[30:70, 30:90] = 255
    plain = np.full_like(picture, 180)
    plain[alpha == 0] = np.random.default_rng(0).integers(0, 255, (int((alpha == 0).sum()), 3))
    for text in ("sharpen=2", "denoise=1", "blur=median,radius:2"):
        result = run(Image(plain, alpha), text)
        assert np.abs(result.pixels[alpha > 0].astype(int) - 180).max() <= 1, text
        np.testing.assert_array_equal(result.pixels[alpha == 0], plain[alpha == 0])
    assert run(Image(plain, alpha), "edges").pixels.max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("contrast", [0.1, 1.0])
def test_edges_find_a_disc_at_any_contrast(dtype, contrast):
    rows, columns = np.mgrid[0:100, 0:100]
    distance = np.hypot(rows - 50, columns - 50)
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    disc = (np.where(distance < 30, contrast, 0.0) * white).astype(dtype)[:, :, None].repeat(3, 2)
    edges = run(Image(disc), "edges").pixels
    assert edges.shape == (100, 100, 1) and set(np.unique(edges)) == {0, white}
    found = edges[:, :, 0] > 0
    assert np.abs(distance[found] - 30).max() < 2
    angles = np.arctan2(rows - 50, columns - 50)[found]
    assert np.diff(np.sort(angles)).max() < 0.1  # closed
    assert run(Image(np.full((20, 20, 1), 9, dtype)), "edges").pixels.max() == 0


def test_sobel_of_a_step_is_white():
    step = np.zeros((20, 20, 1), np.uint8)
    step[:, 10:] = 255
    edges = run(Image(step), "edges=sobel,smooth:0").pixels[:, :, 0]
    assert (edges[:, 9:11] == 255).all() and edges[:, :8].max() == 0


def test_given_thresholds_of_canny(picture):
    """With thresholds in fractions of a step, ours is OpenCV's Canny on the same smoothed picture."""
    gray = run(Image(picture), "grayscale", "blur=1.4").pixels[:, :, 0]
    expected = cv2.Canny(gray, 0.05 * 255 * 4, 0.15 * 255 * 4, L2gradient=True)
    ours = run(Image(gray[:, :, None]), "edges=low:0.05,high:0.15,smooth:0").pixels[:, :, 0]
    assert (ours != expected).mean() < 0.01 and (expected > 0).mean() > 0.01
