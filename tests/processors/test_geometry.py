from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from img2img.errors import ProcessingError
from img2img.image.image import Image
from img2img.image.resize import resize as imresize
from img2img.processors import parse_operations
from img2img.processors.resample import resample


def run(image: Image, *texts: str) -> Image:
    return parse_operations(texts).apply(image)


@pytest.mark.parametrize("size", [(40, 30), (31, 200), (96, 17), (150, 170), (1, 1)])
@pytest.mark.parametrize(
    ("kernel", "method"),
    [
        ("linear", Pillow.Resampling.BILINEAR),
        ("lanczos", Pillow.Resampling.LANCZOS),
    ],
)
def test_kernels_equal_pillow(picture, kernel, method, size):
    plane = picture[:, :, 0].astype(np.float32) / 255
    expected = np.asarray(Pillow.fromarray(plane).resize(size, method))
    result = resample(plane[:, :, None], size[1], size[0], kernel)[:, :, 0]
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 30), (17, 96), (1, 1)])
def test_area_equals_opencv(picture, size):
    plane = picture[:, :, 0].astype(np.float32) / 255
    expected = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    result = resample(plane[:, :, None], size[1], size[0], "area")[:, :, 0]
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 30), (150, 170), (1, 1)])
def test_nearest_takes_the_pixel_that_holds_the_centre(picture, size):
    width, height = size
    result = resample(picture, height, width, "nearest")
    expected = np.asarray(Pillow.fromarray(picture).resize(size, Pillow.Resampling.NEAREST))
    rows, columns = ((2 * np.arange(n) + 1) * old % (2 * n) != 0 for n, old in ((height, 96), (width, 128)))
    clear = np.ix_(rows, columns)  # a centre on the border of two pixels may go either way
    np.testing.assert_array_equal(result[clear], expected[clear])
    assert rows.any() or size == (1, 1)


def test_a_huge_rotation_is_refused_before_it_takes_the_memory():
    with pytest.raises(ProcessingError, match="would have 28285 x 28285 pixels"):
        run(Image(np.zeros((1, 40000, 1), np.uint8)), "rotate=45")


def test_bicubic_is_matlabs(picture):
    result = run(Image(picture), "resize=64x48").pixels
    np.testing.assert_array_equal(result, imresize(picture, 48, 64))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("resize=long:64", (64, 48)),
        ("resize=short:48", (64, 48)),
        ("resize=width:32", (32, 24)),
        ("resize=height:12", (16, 12)),
        ("resize=50%", (64, 48)),
        ("resize=0.25", (32, 24)),
        ("resize=60x60", (60, 45)),
        ("resize=60x60,cover", (60, 60)),
        ("resize=60x60,stretch", (60, 60)),
        ("resize=60x60,pad", (60, 60)),
        ("resize=width:60,height:60", (60, 45)),
        ("resize=256x1000", (256, 192)),
        ("resize=256x1000,upscale:false", (128, 96)),
        ("resize=300x50,cover,upscale:false", (128, 50)),
        ("resize=300x50,stretch,upscale:false", (128, 50)),
        ("resize=300x200,pad,upscale:false", (300, 200)),
        ("resize=long:1000,upscale:false", (128, 96)),
        ("resize=50%x25%,stretch", (64, 24)),
    ],
)
def test_fit(picture, text, size):
    result = run(Image(picture), text)
    assert (result.width, result.height) == size


def test_resizing_brings_no_dark_halo():
    """White next to transparent black stays white: the hidden black has no weight."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    alpha = np.zeros((40, 40), np.uint8)
    pixels[10:30, 10:30], alpha[10:30, 10:30] = 255, 255
    for text in ("resize=15x15", "resize=100x100", "resize=33x33,lanczos", "blur=3", "rotate=20", "blur=box"):
        result = run(Image(pixels, alpha), text)
        seen = result.alpha > 2
        assert 0 < seen.mean() < 1
        assert result.pixels[seen].min() >= 253, text


def test_a_huge_result_is_refused(picture):
    with pytest.raises(ProcessingError, match="268,435,456 are allowed"):
        run(Image(picture), "resize=width:100000")


def test_crop_positions(picture):
    image = Image(picture, picture[:, :, 0].copy())
    result = run(image, "crop=x:10,y:20,width:30,height:40")
    np.testing.assert_array_equal(result.pixels, picture[20:60, 10:40])
    np.testing.assert_array_equal(result.alpha, picture[20:60, 10:40, 0])
    np.testing.assert_array_equal(run(image, "crop=center,28x16").pixels, picture[40:56, 50:78])
    np.testing.assert_array_equal(run(image, "crop=28x16,bottom-right").pixels, picture[80:, 100:])
    np.testing.assert_array_equal(run(image, "crop=28x16,left").pixels, picture[40:56, :28])
    np.testing.assert_array_equal(run(image, "crop=1:1,top").pixels, picture[:, 16:112])
    np.testing.assert_array_equal(run(image, "crop=x:50%").pixels, picture[:, 64:])
    np.testing.assert_array_equal(run(image, "crop=50%x25%,top-left").pixels, picture[:24, :64])


def test_crop_beyond_the_picture(picture):
    result = run(Image(picture), "crop=1000x50")
    assert result.pixels.shape == (50, 128, 3)
    assert result.warnings == ("the crop of 1000 x 50 is too large here; it became 128 x 50.",)
    with pytest.raises(ProcessingError, match="outside the 128 x 96 pixels"):
        run(Image(picture), "crop=x:200,y:0")


def test_pad(picture):
    result = run(Image(picture), "pad=200x50,mode:reflect")
    np.testing.assert_array_equal(result.pixels, np.pad(picture, ((0, 0), (36, 36), (0, 0)), mode="reflect"))
    result = run(Image(picture), "pad=1:1,fill:#ff8000")
    assert result.pixels.shape == (128, 128, 3) and result.alpha is None
    assert tuple(result.pixels[0, 0]) == (255, 128, 0)
    np.testing.assert_array_equal(result.pixels[16:112], picture)
    result = run(Image(picture), "pad=multiple:50,fill:transparent,gravity:top-left")
    assert result.alpha.shape == (100, 150) and result.alpha[:96, :128].min() == 255
    assert result.alpha[96:].max() == 0 and result.alpha[:, 128:].max() == 0
    result = run(Image(picture, np.full((96, 128), 255, np.uint8)), "pad=left:10%,bottom:4")
    assert result.alpha[:, :13].max() == 0 and result.alpha[:96, 13:].min() == 255 and result.height == 100


def test_right_angles_are_exact_and_clockwise(picture):
    image = Image(picture, picture[:, :, 1].copy())
    upright = Pillow.fromarray(picture)
    np.testing.assert_array_equal(
        run(image, "rotate=90").pixels, upright.transpose(Pillow.Transpose.ROTATE_270)
    )
    np.testing.assert_array_equal(
        run(image, "rotate=-90").pixels, upright.transpose(Pillow.Transpose.ROTATE_90)
    )
    np.testing.assert_array_equal(run(image, "rotate=180").alpha, picture[::-1, ::-1, 1])
    four = run(image, *["rotate=90"] * 4)
    np.testing.assert_array_equal(four.pixels, picture)
    np.testing.assert_array_equal(four.alpha, image.alpha)


def test_other_angles_agree_with_pillow(picture):
    smooth = run(Image(picture), "blur=3").pixels
    expected = np.asarray(Pillow.fromarray(smooth).rotate(-20, Pillow.Resampling.BICUBIC)).astype(float)
    result = run(Image(smooth), "rotate=20,expand:false").pixels.astype(float)
    inside = np.s_[30:66, 45:83]
    assert np.abs(result - expected)[inside].mean() < 1.0
    assert np.abs(result - expected)[inside].max() < 8


def test_a_rotated_plain_picture_stays_plain_up_to_its_edge():
    white = Image(np.full((40, 60, 3), 255, np.uint8))
    grown = run(white, "rotate=30")
    assert grown.alpha is None
    assert (grown.height, grown.width) == (65, 72)  # 60 sin 30 + 40 cos 30, 60 cos 30 + 40 sin 30
    assert grown.pixels[0, 0].max() == 0 and grown.pixels[32, 36].min() == 255
    clear = run(white, "rotate=30,fill:transparent")
    assert clear.pixels[clear.alpha > 0].min() == 255
    assert clear.alpha.astype(float).sum() / 255 == pytest.approx(40 * 60, rel=0.01)  # no area is lost
    assert run(white, "rotate=30,fill:white").pixels.min() == 255


def test_turning_there_and_back(picture):
    smooth = run(Image(picture), "blur=2")
    back = run(smooth, "rotate=15", "rotate=-15")
    top, left = (back.height - 96) // 2, (back.width - 128) // 2
    difference = back.pixels[top : top + 96, left : left + 128].astype(float) - smooth.pixels
    assert np.abs(difference[8:-8, 8:-8]).mean() < 2


def test_flips(picture):
    image = Image(picture)
    np.testing.assert_array_equal(run(image, "flip").pixels, picture[:, ::-1])
    np.testing.assert_array_equal(run(image, "flip=vertical").pixels, picture[::-1])
    np.testing.assert_array_equal(run(image, "flip=both").pixels, run(image, "rotate=180").pixels)


@pytest.mark.parametrize(
    ("operation", "kept"),
    [("resize=50%", False), ("resize=150%,kernel:nearest", False), ("resize=100%", True), ("flip", True)],
)
def test_resized_pixels_are_not_those_that_the_tables_of_a_file_tell_of(operation, kept):
    image = Image(np.zeros((8, 8, 3), np.uint8), jpeg_quality=30)
    assert run(image, operation).jpeg_quality == (30 if kept else None)
