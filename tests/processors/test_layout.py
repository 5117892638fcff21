from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from img2img.errors import ProcessingError
from img2img.image.image import Image
from img2img.processors import parse_operations


def test_the_original_stands_beside_the_result(picture):
    sheet = parse_operations(["gamma=2", "blur=1", "side-by-side=gap:4"]).apply(Image(picture))
    alone = parse_operations(["gamma=2", "blur=1"]).apply(Image(picture))
    assert sheet.pixels.shape == (96, 128 + 4 + 128, 3)
    np.testing.assert_array_equal(sheet.pixels[:, :128], picture)
    assert sheet.pixels[:, 128:132].min() == 255
    np.testing.assert_array_equal(sheet.pixels[:, 132:], alone.pixels)


def test_the_other_picture_is_scaled_to_the_result(picture, reference_file):
    above = parse_operations(["resize=50%", f"side-by-side=vertical,gap:0,{reference_file}"]).apply(
        Image(picture)
    )
    assert above.pixels.shape == (96, 64, 3)
    small = np.asarray(Pillow.open(reference_file).resize((64, 48), Pillow.Resampling.BICUBIC)).astype(int)
    assert np.abs(above.pixels[:48] - small).mean() < 2


def test_gray_beside_colour_and_alpha_beside_none(picture, reference_file):
    sheet = parse_operations(["edges", "side-by-side"]).apply(Image(picture))
    assert sheet.channels == 3
    np.testing.assert_array_equal(sheet.pixels[:, :128], picture)
    alpha = np.full((96, 128), 99, np.uint8)
    sheet = parse_operations([f"side-by-side=gap:0,reference:{reference_file}"]).apply(Image(picture, alpha))
    assert sheet.alpha[:, :128].min() == 255 and sheet.alpha[:, 128:].max() == 99
    with pytest.raises(ProcessingError, match="3 and 5 channels"):
        parse_operations([f"side-by-side={reference_file}"]).apply(Image(np.ones((4, 4, 5), np.uint8)))
