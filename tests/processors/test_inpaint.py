"""Holes are filled, everything else stays bit by bit: for every depth, with and without alpha."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from img2img.errors import ConfigError, ProcessingError
from img2img.image.image import Image, white_of
from img2img.processors.inpaint import Classic, Colour, Inpainter

DTYPES = (np.uint8, np.uint16, np.float32)
METHODS = ("telea", "navier_stokes")


def in_depth(values: np.ndarray, dtype) -> np.ndarray:
    """Returns 0 to 1 as pixels of `dtype`."""
    return (
        values.astype(np.float32)
        if dtype == np.float32
        else np.rint(values * white_of(np.dtype(dtype))).astype(dtype)
    )


def mask_of(hole: np.ndarray, dtype=np.uint8) -> Image:
    return Image(in_depth(hole[..., None].astype(float), dtype))


@pytest.fixture
def hole() -> np.ndarray:
    hole = np.zeros((96, 128), bool)
    hole[20:34, 15:60], hole[90:, 100:], hole[50:53] = True, True, True
    return hole


@pytest.mark.parametrize("method", METHODS)
def test_any_picture_keeps_what_is_known(method):
    inpainter = Inpainter(Classic(method))
    random = np.random.default_rng(0)
    sizes = [(1, 9), (9, 1), (2, 2), (23, 31)]
    for dtype, channels, alpha, size in itertools.product(DTYPES, (1, 2, 3, 5), (False, True), sizes):
        pixels = in_depth(random.random((*size, channels)), dtype)
        opacity = in_depth(random.random(size) * (random.random(size) > 0.3), dtype) if alpha else None
        image = Image(pixels, opacity, icc=b"icc", exif=b"II*\0")
        hole = random.random(size) > 0.6
        hole.flat[0], hole.flat[-1] = True, False
        before = pixels.copy()
        (result,) = inpainter([image], mask=[mask_of(hole)])
        np.testing.assert_array_equal(image.pixels, before)
        np.testing.assert_array_equal(result.pixels[~hole], pixels[~hole])
        assert result.pixels.dtype == dtype and np.isfinite(result.pixels).all()
        assert (result.icc, result.exif) == (image.icc, image.exif)
        if opacity is None:
            assert result.alpha is None
        else:
            np.testing.assert_array_equal(result.alpha[~hole], opacity[~hole])


@pytest.mark.parametrize("method", METHODS)
def test_depths_agree_and_a_ramp_is_continued(method, hole):
    ramp = np.linspace(0.2, 0.8, 128)[None, :, None] * np.ones((96, 1, 3)) * [1, 0.7, 0.4]
    made = [
        Inpainter(Classic(method))([Image(in_depth(ramp, dtype))], mask=[mask_of(hole)])[0]
        for dtype in DTYPES
    ]
    values = [image.pixels / image.white for image in made]
    assert np.abs(values[2] - ramp).max() < 0.06
    assert np.abs(values[0] - values[2]).max() < 1.5 / 255
    assert np.abs(values[1] - values[2]).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_method_of_opencv(method, hole, picture):
    theirs = cv2.inpaint(picture, hole.astype(np.uint8), 3, {"telea": 1, "navier_stokes": 0}[method])
    (ours,) = Inpainter(Classic(method))([Image(picture)], mask=[mask_of(hole)])
    difference = np.abs(theirs.astype(int) - ours.pixels)  # theirs rounds at every pixel
    assert difference.mean() < 0.3 and difference.max() < 25


def test_what_a_hole_holds_does_not_matter(hole, picture):
    other = picture.copy()
    other[hole] = np.random.default_rng(3).integers(0, 256, (hole.sum(), 3))
    results = [Inpainter(Classic())([Image(pixels)], mask=[mask_of(hole)])[0] for pixels in (picture, other)]
    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    wild = other.astype(np.float32) / 255
    wild[hole] = np.nan
    (result,) = Inpainter(Classic())([Image(wild)], mask=[mask_of(hole)])
    assert np.isfinite(result.pixels).all()


def test_colours_that_cannot_be_seen_reach_no_hole(hole, picture):
    alpha = np.full(hole.shape, 255, np.uint8)
    alpha[:18] = 0
    results = []
    for colour in (0, 255):
        pixels = picture.copy()
        pixels[:18] = colour
        results.append(Inpainter(Classic())([Image(pixels, alpha)], mask=[mask_of(hole)])[0])
    np.testing.assert_array_equal(results[0].pixels[hole], results[1].pixels[hole])
    assert (results[1].pixels[:18] == 255).all()  # known, even so


def test_white_is_hole_and_inverting_turns_it_round(hole, picture):
    image = Image(picture)
    (plain,) = Inpainter(Classic())([image], mask=[mask_of(hole)])
    (inverted,) = Inpainter(Classic(), invert=True)([image], mask=[mask_of(~hole)])
    np.testing.assert_array_equal(plain.pixels, inverted.pixels)
    assert (plain.pixels[hole] != picture[hole]).mean() > 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_of_any_depth_and_layout(dtype, hole, picture):
    expected = Inpainter(Classic())([Image(picture)], mask=[mask_of(hole)])[0].pixels
    one = mask_of(hole, dtype)
    white = np.ones_like(one.pixels[..., 0]) * white_of(np.dtype(dtype))
    masks = [
        one,
        Image(np.repeat(one.pixels, 3, 2)),
        Image(white[..., None].astype(dtype), one.pixels[..., 0]),  # white paint on a transparent layer
        Image(one.pixels, white.astype(dtype)),
    ]
    for mask in masks:
        (result,) = Inpainter(Classic())([Image(picture)], mask=[mask])
        np.testing.assert_array_equal(result.pixels, expected)
        assert not result.warnings


def test_greys_are_holes_above_one_half_and_that_is_said(hole, picture):
    greys = np.where(hole, 128, 127).astype(np.uint8)[..., None]
    (result,) = Inpainter(Classic())([Image(picture)], mask=[Image(greys)])
    (expected,) = Inpainter(Classic())([Image(picture)], mask=[mask_of(hole)])
    np.testing.assert_array_equal(result.pixels, expected.pixels)
    assert len(result.warnings) == 1 and "grey in 100%" in result.warnings[0] and not expected.warnings


def test_a_mask_of_zeros_and_ones_marks_nothing_and_that_is_said(hole, picture):
    (result,) = Inpainter(Classic())([Image(picture)], mask=[Image(hole[..., None].astype(np.uint8))])
    assert result.pixels is picture and "brightest level is 1 of 255" in result.warnings[0]


def test_a_mask_stored_as_jpeg_is_as_good(hole, picture):
    encoded = cv2.imencode(".jpg", hole.astype(np.uint8) * 255, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    mask = Image(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)[..., None])
    (result,) = Inpainter(Classic())([Image(picture)], mask=[mask])
    np.testing.assert_array_equal(result.pixels[~hole], picture[~hole])
    assert not result.warnings


def test_without_holes_the_picture_comes_back(picture):
    for image, mask in (
        (Image(picture), np.zeros(picture.shape[:2])),
        (Image(picture, picture[..., 0]), picture[..., 0] > 300),
    ):
        (result,) = Inpainter(Classic())([image], mask=[mask_of(mask)])
        assert result is image or (result.pixels is image.pixels and result.alpha is image.alpha)
    (result,) = Inpainter(Classic(), "alpha")([Image(picture)])
    assert result.pixels is picture


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_transparent_is_filled_and_opaque(dtype, hole, picture):
    pixels = in_depth(picture / 255, dtype)
    alpha = in_depth(np.where(hole, 0.0, 1.0), dtype)
    junk = pixels.copy()
    junk[hole] = np.nan if dtype == np.float32 else 7
    (result,) = Inpainter(Classic(), "alpha")([Image(junk, alpha)])
    (expected,) = Inpainter(Classic())([Image(pixels)], mask=[mask_of(hole)])
    np.testing.assert_array_equal(result.pixels, expected.pixels)
    assert (result.alpha == result.white).all()


def test_what_is_half_transparent_lies_over_what_was_filled_in():
    pixels = np.full((9, 30, 1), 100, np.uint8)
    alpha = np.full((9, 30), 255, np.uint8)
    pixels[:, 10:20], alpha[:, 10:20] = 200, 51  # a fifth of 200 over a continued 100
    (result,) = Inpainter(Classic(), "alpha")([Image(pixels, alpha)])
    assert (result.pixels[:, 10:20] == 120).all() and (result.alpha == 255).all()
    (soft,) = Inpainter(Classic(), "alpha")([Image(pixels, np.where(alpha == 255, 250, 0).astype(np.uint8))])
    assert (soft.pixels == 100).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_colour_marks_holes(dtype, hole, picture):
    pixels = in_depth(picture / 255, dtype)
    marked = pixels.copy()
    marked[hole] = in_depth(np.array([1.0, 0.0, 1.0]), dtype)
    (result,) = Inpainter(Classic(), Colour((255, 0, 255)))([Image(marked)])
    (expected,) = Inpainter(Classic())([Image(pixels)], mask=[mask_of(hole)])
    np.testing.assert_array_equal(result.pixels, expected.pixels)


def test_a_colour_of_a_lossy_file_has_a_tolerance(hole, picture):
    marked = picture.copy()
    marked[hole] = (250, 5, 255)
    (exact,) = Inpainter(Classic(), Colour((255, 0, 255)))([Image(marked)])
    np.testing.assert_array_equal(exact.pixels, marked)
    (near,) = Inpainter(Classic(), Colour((255, 0, 255), 5))([Image(marked)])
    assert not (near.pixels[hole] == (250, 5, 255)).all(1).any()


def test_grey_pictures_have_grey_colours():
    pixels = np.full((5, 6, 1), 90, np.uint8)
    pixels[2, 3] = 255
    (result,) = Inpainter(Classic(), Colour((255, 255, 255)))([Image(pixels)])
    assert (result.pixels == 90).all()
    (other,) = Inpainter(Classic(), Colour((255, 0, 255)))([Image(pixels)])
    assert other.pixels is pixels


def test_what_cannot_be_is_a_sentence(picture):
    image, inpainter = Image(picture), Inpainter(Classic())
    with pytest.raises(ProcessingError, match=r"its mask has 10 x 20 pixels, the picture has 128 x 96"):
        inpainter([image], mask=[mask_of(np.zeros((20, 10)))])
    with pytest.raises(ProcessingError, match="whole picture is hole"):
        inpainter([image], mask=[mask_of(np.ones((96, 128)))])
    with pytest.raises(ProcessingError, match="without a mask"):
        inpainter([image])
    bad = picture.astype(np.float32)
    bad[0, 0] = np.inf
    with pytest.raises(ProcessingError, match="not finite"):
        inpainter([Image(bad)], mask=[mask_of(np.eye(96, 128) * (np.arange(128) > 5))])
    with pytest.raises(ProcessingError, match="2 channels has no colour"):
        Inpainter(Classic(), Colour((0, 0, 0)))([Image(picture[..., :2])])
    with pytest.raises(ConfigError, match="did you mean 'telea'"):
        Classic("tela")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leave invert out"):
        Inpainter(Classic(), "alpha", invert=True)
