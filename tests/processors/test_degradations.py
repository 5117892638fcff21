"""The parts of degradations against formulas, OpenCV and Pillow; what degradations promise together."""

from __future__ import annotations

import io
import math
from decimal import Decimal, localcontext

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from img2img.errors import ConfigError, ProcessingError
from img2img.image import Image
from img2img.processors import parse_operations
from img2img.processors.degradations import DEGRADATIONS, named_stream, sharpened
from img2img.processors.degradations.codec import jpeg, jpeg_values
from img2img.processors.degradations.film import faded, grained, scratched
from img2img.processors.degradations.kernels import (
    blurred,
    disc,
    gaussian,
    generalised,
    motion,
    plateau,
    sinc,
)
from img2img.processors.degradations.noise import gaussian_noise, poisson_noise, sensor_noise
from img2img.processors.degradations.second_order import drawn_kernel, resized
from img2img.processors.detail import luma


def stream(seed: int = 0) -> np.random.Generator:
    return named_stream("test", seed)


def values_of(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / 255


# --- kernels


def by_formula(size: int, sigmas: tuple[float, float], angle: float, shape: float, kind: str) -> np.ndarray:
    """Real-ESRGAN's kernels, weight by weight with the inverse of the covariance matrix."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag(np.square(sigmas)) @ turn.T)
    weights = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            at = np.array([column, row]) - (size - 1) / 2
            q = float(at @ inverse @ at) ** shape
            weights[row, column] = math.exp(-q / 2) if kind == "generalised" else 1 / (1 + q)
    return weights / weights.sum()


@pytest.mark.parametrize(("make", "kind"), [(generalised, "generalised"), (plateau, "plateau")])
@pytest.mark.parametrize("shape", [0.5, 1.0, 2.3])
def test_anisotropic_kernels_are_their_formulas(make, kind, shape):
    for size, sigmas, angle in ((7, (0.4, 2.5), 0.7), (21, (3.0, 1.2), -2.0)):
        expected = by_formula(size, sigmas, angle, shape, kind)
        np.testing.assert_allclose(make(size, sigmas, angle, shape), expected, atol=1e-7)


def test_the_isotropic_gaussian_is_opencv_s_and_separable():
    kernel = gaussian(13, 1.7)
    np.testing.assert_allclose(kernel, cv2.getGaussianKernel(13, 1.7)[:, 0], atol=1e-7)
    np.testing.assert_allclose(np.outer(kernel, kernel), generalised(13, (1.7, 1.7), 0.3), atol=1e-7)


def bessel_j1(x: float) -> float:
    """The power series with as many digits as its cancellation costs."""
    with localcontext() as context:
        context.prec = 80
        half, term, total = Decimal(x) / 2, Decimal(x) / 2, Decimal(0)
        for k in range(150):
            total += term
            term *= -half * half / ((k + 1) * (k + 2))
        return float(total)


@pytest.mark.parametrize(("size", "cutoff"), [(7, math.pi / 3), (21, math.pi), (13, 2.0)])
def test_the_sinc_filter_is_its_formula(size, cutoff):
    middle = (size - 1) / 2
    expected = np.full((size, size), cutoff**2 / (4 * math.pi))
    for row in range(size):
        for column in range(size):
            if r := math.hypot(row - middle, column - middle):
                expected[row, column] = cutoff * bessel_j1(cutoff * r) / (2 * math.pi * r)
    np.testing.assert_allclose(sinc(size, cutoff), expected / expected.sum(), atol=1e-7)


@pytest.mark.parametrize("length", [0, 0.5, 4, 9.3, 15])
def test_a_straight_motion_spreads_as_a_line_does(length):
    for angle in (0.0, 0.6, math.pi / 2):
        kernel = motion(length, angle).astype(float)
        assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0
        y, x = np.mgrid[: len(kernel), : len(kernel)] - (len(kernel) - 1) / 2
        along = x * math.cos(angle) - y * math.sin(angle)
        assert abs((kernel * x).sum()) < 1e-4 and abs((kernel * y).sum()) < 1e-4, "the picture stays in place"
        assert (kernel * along**2).sum() == pytest.approx(length**2 / 12, abs=0.26), (
            "plus the size of a pixel"
        )
    straight = motion(length, 0.0)
    assert straight[np.arange(len(straight)) != len(straight) // 2].max() < 1e-6


def test_a_bent_motion_turns():
    kernel = motion(16, 0.0, math.pi)  # half a circle
    y, x = np.nonzero(kernel > 1e-4)
    assert np.ptp(x) == pytest.approx(2 * 16 / math.pi, abs=2) and np.ptp(y) == pytest.approx(
        16 / math.pi, abs=2
    )
    assert kernel.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.3, 4.0, 7.5])
def test_a_disc_is_even_and_round(radius):
    kernel = disc(radius)
    fine = np.mgrid[-10:10:800j, -10:10:800j]
    inside = fine[0] ** 2 + fine[1] ** 2 <= max(radius, 0.5) ** 2
    counts = np.histogram2d(*(part[inside] for part in fine), bins=np.arange(-10.5, 11))[0]
    expected = counts / counts.sum()
    reach = len(kernel) // 2
    np.testing.assert_allclose(
        kernel, expected[10 - reach : 11 + reach, 10 - reach : 11 + reach], atol=0.03 / max(1, radius)
    )


def test_blurring_is_correlation_with_a_mirrored_border(picture):
    values = values_of(picture)[:20, :24]
    for kernel in (
        generalised(9, (0.8, 2.0), 0.5),
        sinc(21, 2.0),
        motion(6, 0.4, 1.0),
        gaussian(7, 1.1),
        generalised(21, (0.4, 0.5), 1.0),
    ):
        full = np.outer(kernel, kernel) if kernel.ndim == 1 else kernel
        reach = len(full) // 2
        wide = np.pad(values.astype(float), ((reach, reach), (reach, reach), (0, 0)), "symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(wide, full.shape, (0, 1))
        np.testing.assert_allclose(blurred(values, kernel), (windows * full).sum((3, 4)), atol=3e-4)


def test_the_kernels_of_the_chain_are_drawn_as_published():
    source = stream()
    made = [drawn_kernel((0.2, 3.0), 0.1, source) for _ in range(2000)]
    assert {len(kernel) for kernel in made} == set(range(7, 22, 2))
    for kernel in made:
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
    rings = np.mean([kernel.ndim == 2 and kernel.min() < -1e-6 for kernel in made])
    assert 0.07 < rings <= 0.12
    assert np.mean([kernel.ndim == 1 for kernel in made]) == pytest.approx(0.9 * 0.45, abs=0.04)


# --- resizing


def test_resizes_are_those_of_opencv_and_torch():
    values = np.random.default_rng(0).random((12, 20, 3), np.float32)
    area = resized(values, 6, 5, cv2.INTER_AREA)
    np.testing.assert_allclose(area, values.reshape(6, 2, 5, 4, 3).mean((1, 3)), atol=1e-6)
    row = values[:1, :, :1]
    for interpolation, kernel in ((cv2.INTER_LINEAR, tent), (cv2.INTER_CUBIC, cubic)):
        got = resized(row, 1, 8, interpolation)[0, :, 0]
        for column, value in enumerate(got):
            at = (column + 0.5) * 20 / 8 - 0.5
            taps = np.arange(math.floor(at) - 1, math.floor(at) + 3)
            expected = sum(kernel(tap - at) * float(row[0, np.clip(tap, 0, 19), 0]) for tap in taps)
            assert value == pytest.approx(expected, abs=2e-5), "without antialiasing, as in the paper's code"


def tent(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float, a: float = -0.75) -> float:
    x = abs(x)
    return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a


# --- noise


def test_gaussian_noise_has_its_sigma_and_is_grey_or_not():
    flat = np.full((150, 200, 3), 0.5, np.float32)
    colour, grey = (gaussian_noise(flat, 25 / 255, equal, stream()) - flat for equal in (False, True))
    for noise in (colour, grey):
        assert noise.std() * 255 == pytest.approx(25, rel=0.01)
        assert noise.mean() * 255 == pytest.approx(0, abs=0.3)
    assert np.array_equal(grey[..., 0], grey[..., 1]) and np.array_equal(grey[..., 0], grey[..., 2])
    assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.03
    across = np.corrcoef(colour[:, :-1, 0].ravel(), colour[:, 1:, 0].ravel())[0, 1]
    assert abs(across) < 0.03, "white"


@pytest.mark.parametrize("expected", [0.0, 0.4, 3.0, 7.9, 8.1, 20.0, 130.0, 255.0])
def test_poisson_noise_is_poisson_s(expected):
    flat = np.full((300, 300, 1), expected / 255, np.float32)
    events = poisson_noise(flat, 1.0, False, stream()).astype(float) * 255
    assert np.abs(events - np.rint(events)).max() < 1e-3, "whole numbers"
    true = np.random.default_rng(1).poisson(expected, (300, 300)).astype(float)
    assert events.mean() == pytest.approx(expected, abs=0.02 + 0.003 * expected)
    assert events.var() == pytest.approx(expected, rel=0.03)
    for level in range(int(expected) - 6, int(expected) + 7):
        assert (np.rint(events) <= level).mean() == pytest.approx((true <= level).mean(), abs=0.012)


def test_poisson_noise_grows_with_its_strength_and_may_be_grey():
    flat = np.tile(np.float32([0.8, 0.4, 0.2]), (200, 200, 1))
    noise = poisson_noise(flat, 2.5, False, stream()) - flat
    np.testing.assert_allclose(noise.std((0, 1)), 2.5 * np.sqrt(flat[0, 0] / 255), rtol=0.03)
    grey = poisson_noise(flat, 2.5, True, stream()) - flat
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-6)
    assert grey[..., 0].std() == pytest.approx(2.5 * math.sqrt(luma(flat)[0, 0] / 255), rel=0.03)


def test_sensor_noise_grows_with_brightness():
    flat = np.tile(np.float32([0.0, 0.5, 1.0]), (200, 200, 1))
    noise = sensor_noise(flat, 0.1, 0.2, False, stream()) - flat
    expected = 0.1 * np.sqrt([0.2, 1.0, 0.2 + 0.8 * 2])
    np.testing.assert_allclose(noise.std((0, 1)), expected, rtol=0.02)
    grey = sensor_noise(flat, 0.1, 0.2, True, stream()) - flat
    np.testing.assert_allclose(grey[..., 0], grey[..., 2], atol=1e-6)


# --- JPEG

LUMA = np.array(  # the table of the standard, ITU-T T.81, K.1
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def table(quality: int) -> np.ndarray:
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip((LUMA * scale + 50) // 100, 1, 255)


def remainders(blocks: np.ndarray, quality: int) -> float:
    """How far the coefficients of grey levels (H, W) are from whole steps of the quality's table."""
    steps = [
        cv2.dct(blocks[y : y + 8, x : x + 8].astype(np.float64) - 128) / table(quality)
        for y in range(0, blocks.shape[0] - 7, 8)
        for x in range(0, blocks.shape[1] - 7, 8)
    ]
    return float(np.abs(np.array(steps) - np.rint(steps)).mean())


def textured(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(2).integers(60, 196, (height, width, 1)).astype(np.uint8)


@pytest.mark.parametrize("quality", [10, 30, 60])
def test_quality_and_grid_of_jpeg_are_in_the_coefficients(quality):
    grey = values_of(textured())
    plain = np.rint(jpeg_values(grey, quality, "4:2:0") * 255)[..., 0]
    assert remainders(plain, quality) < 0.01
    assert remainders(plain, quality + 8) > 0.02 and remainders(plain[3:, 5:], quality) > 0.1
    moved = np.rint(jpeg_values(grey, quality, "4:2:0", (5, 11)) * 255)[..., 0]
    assert moved.shape == plain.shape
    assert remainders(moved[3:, 5:], quality) < 0.01, "blocks begin 5 rows above and 11 columns before it"


@pytest.mark.parametrize(("sampling", "code"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_jpeg_equals_pillow_s(picture, sampling, code):
    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "JPEG", quality=25, subsampling=code)
    expected = np.asarray(Pillow.open(buffer)).astype(int)
    assert np.abs(jpeg(picture, 25, sampling) - expected).mean() < 0.5


def test_jpeg_takes_any_size_and_number_of_channels():
    for size in ((1, 1), (1, 40), (3, 5)):
        for channels in (1, 2, 3, 5):
            values = np.full((*size, channels), 0.4, np.float32)
            assert np.abs(jpeg_values(values, 50, "4:2:0", (15, 15)) - 0.4).max() < 0.02


# --- film, and targets


def test_fading_loses_contrast_and_colour(picture):
    values = values_of(picture)
    np.testing.assert_allclose(faded(values, 0.0, stream()), values, atol=1e-6)
    old = faded(values, 1.0, stream(3))
    assert old.min() >= 0 and old.max() <= 1
    assert np.ptp(luma(old)) < np.ptp(luma(values))
    assert np.ptp(old, axis=2).mean() < np.ptp(values, axis=2).mean()
    assert faded(values[..., :1], 1.0, stream()).shape == (96, 128, 1)


def test_grain_has_its_strength_and_is_grey():
    flat = np.full((200, 200, 3), 0.5, np.float32)
    grain = grained(flat, 10 / 255, 0.9, stream()) - flat
    assert grain.std() * 255 == pytest.approx(10, rel=0.03)
    assert np.array_equal(grain[..., 0], grain[..., 1])
    assert np.corrcoef(grain[:, :-1, 0].ravel(), grain[:, 1:, 0].ravel())[0, 1] > 0.5, "wider than a pixel"
    dark = grained(np.zeros_like(flat), 10 / 255, 0.9, stream())
    assert dark.std() < 0.4 * grain.std()


def test_scratches_and_dust_cover_a_little():
    flat = np.full((128, 128, 3), 0.5, np.float32)
    assert np.array_equal(scratched(flat, 0, 0, 0, stream()), flat)
    for counts in ((6, 0, 0), (0, 40, 0), (0, 0, 6)):
        marked = scratched(flat, *counts, stream())
        assert 0.002 < (marked != flat).any(2).mean() < 0.2
        assert marked.min() < 0.4 and marked.max() > 0.6, "dark ones and light ones"
        assert marked.min() >= 0 and marked.max() <= 1


def test_sharpened_targets_are_those_of_real_esrgan():
    rng = np.random.default_rng(0)
    values = cv2.GaussianBlur(rng.random((190, 190, 3)).astype(np.float32), (0, 0), 3) * 2 - 0.5
    values = np.clip(values, 0, 1)
    blur = cv2.GaussianBlur(values, (51, 51), 0)
    soft = cv2.GaussianBlur((np.abs(values - blur) * 255 > 10).astype(np.float32), (51, 51), 0)
    expected = soft * np.clip(values + 0.5 * (values - blur), 0, 1) + (1 - soft) * values
    inside = np.s_[52:-52, 52:-52]  # beyond, OpenCV mirrors around another place
    np.testing.assert_allclose(sharpened(values, 0.5)[inside], expected[inside], atol=1e-5)
    assert np.array_equal(sharpened(values, 0.0), values)


# --- whole degradations


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.sampled(7)
def test_equal_streams_give_equal_pictures_and_others_other_ones(name, picture):
    degradation = DEGRADATIONS[name]()
    before = picture.copy()
    for scale in (1, 2, 4, 16, 3):
        picture = picture[:, : 128 - 128 % scale]
        one, same, other = (degradation(picture, named_stream(n), scale) for n in ("a", "a", "b/a"))
        assert one.shape == (96 // scale, 128 // scale, 3) and one.dtype == np.uint8
        assert one.flags.c_contiguous
        assert np.array_equal(one, same)
        several = [degradation(picture, stream(seed), scale) for seed in range(4)]
        assert any(not np.array_equal(one, each) for each in (other, *several))
    assert np.array_equal(picture, before[:, :126])


@pytest.mark.parametrize("name", ["denoise", "deblur", "mixed", "old"])
def test_depths_get_the_same_noise(name, picture):
    degradation = DEGRADATIONS[name]()
    byte, deep, real = (
        degradation(pixels, stream(1)).astype(float) / white
        for pixels, white in (
            (picture, 255),
            (picture.astype(np.uint16) * 257, 65535),
            (picture.astype(np.float32) / 255, 1),
        )
    )
    assert np.abs(byte - deep).max() < 1.6 / 255 and np.abs(deep - real).max() < 1.6 / 255


def test_fixed_parameters_are_kept(picture):
    flat = np.full((128, 128, 3), 128, np.uint8)
    denoise = DEGRADATIONS["denoise"](sigma=25, grey=0, signal=0)
    noise = denoise(flat, stream()).astype(float) - 128
    assert noise.std() == pytest.approx(25, rel=0.02)
    dejpeg = DEGRADATIONS["dejpeg"](quality=10, sampling="4:2:0", shifted=0, twice=0)
    assert np.array_equal(dejpeg(picture, stream()), jpeg(picture, 10, "4:2:0"))


def test_the_shares_of_dejpeg():
    def aligned(**shares: float) -> float:
        task = DEGRADATIONS["dejpeg"](quality=30, **shares)
        made = [task(textured(), stream(seed))[..., 0] for seed in range(60)]
        return float(np.mean([remainders(each, 30) < 0.05 for each in made]))

    assert aligned(shifted=0.0, twice=1.0) == 1 and aligned(shifted=1.0, twice=0.0) < 0.1
    assert aligned(shifted=0.5, twice=0.0) == pytest.approx(0.5, abs=0.2)
    once, twice = (DEGRADATIONS["dejpeg"](quality=(20, 60), twice=share) for share in (0, 1))
    assert not np.array_equal(once(textured(), stream()), twice(textured(), stream()))


def test_the_chain_without_its_random_steps_is_its_fixed_ones(picture):
    still = {"blur": 0, "blur2": 0, "directions": (0, 0), "directions2": (0, 0), "final_ringing": 0}
    quiet = {"gaussian": 1, "noise": 0, "noise2": 0, "quality": 40, "sampling": "4:4:4"}
    chain = DEGRADATIONS["second_order"](**still, **quiet)
    first = jpeg(picture, 40, "4:4:4").astype(np.float32) * np.float32(1 / 255)  # halves are rounded alike
    expected = [
        jpeg_values(np.clip(cv2.resize(first, (32, 24), interpolation=how), 0, 1), 40, "4:4:4")
        for how in (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    ]
    seen = set()
    for seed in range(20):
        made = values_of(chain(picture, stream(seed), 4))
        (which,) = (k for k, each in enumerate(expected) if np.abs(made - each).max() < 1e-3)
        seen.add(which)
    assert seen == {0, 1, 2}


def test_some_pictures_of_mixed_stay_as_they_are(picture):
    mixed = DEGRADATIONS["mixed"]()
    same = [np.array_equal(mixed(picture[:24, :24], stream(seed)), picture[:24, :24]) for seed in range(150)]
    assert np.mean(same) == pytest.approx(0.7 * 0.4 * 0.3, abs=0.06)


@pytest.mark.parametrize("kind", ["denoise", "dejpeg", "deblur", "mixed", "old", "second_order", "real"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.sampled(9)
def test_what_is_no_light_fails_its_picture(kind, value):
    pixels = np.full((24, 24, 3), 0.5, np.float32)
    pixels[3, 4, 1] = value
    (operation,) = parse_operations([f"degrade={kind}"]).operations
    with pytest.raises(ProcessingError, match=r"not finite|no data"):
        operation(Image(pixels))


@pytest.mark.parametrize("text", ["sigma:nan", "sigma:10..20", "sigma:10-20-30", "sigma:inf", "sigma:much"])
def test_a_range_that_is_none_says_what_one_is(text):
    with pytest.raises(ConfigError, match="one number, or a range such as 10-30"):
        parse_operations([f"degrade=denoise,{text}"])


def test_shares_are_two_that_add_up_to_one_at_most():
    text = "degrade=second_order,directions:0.7-0.2,directions2:0-1"
    (operation,) = parse_operations([text]).operations
    assert operation.damage.directions == (0.7, 0.2) and operation.damage.directions2 == (0.0, 1.0)
    for wrong, said in (
        ("directions:0.8-0.7", "add up to 1 at most"),
        ("directions:0.8", "0.8"),
        ("directions:1.2-0", "less than or equal to 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_operations([f"degrade=second_order,{wrong}"])


@pytest.mark.parametrize("text", ["sigma:-5", "sigma:1e30"])
def test_a_range_beyond_its_limits_says_them(text):
    with pytest.raises(ConfigError, match="between 0 and 255"):
        parse_operations([f"degrade=denoise,{text}"])
