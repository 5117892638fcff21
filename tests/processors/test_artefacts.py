from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from img2img.errors import ProcessingError
from img2img.image.image import Image
from img2img.processors import parse_operations


@pytest.mark.parametrize(("sampling", "code"), [("4:4:4", 0), ("4:2:0", 2)])
def test_equals_a_jpeg_file(picture, sampling, code):
    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "JPEG", quality=40, subsampling=code)
    expected = np.asarray(Pillow.open(buffer)).astype(int)
    result = parse_operations([f"jpeg=40,sampling:{sampling}"]).apply(Image(picture))
    assert np.abs(result.pixels - expected).mean() < 0.5
    assert result.warnings == ()


def test_lower_quality_is_worse(picture):
    errors = [
        np.abs(parse_operations([f"jpeg={q}"]).apply(Image(picture)).pixels.astype(int) - picture).mean()
        for q in (100, 75, 30, 5)
    ]
    assert errors == sorted(errors) and errors[-1] > 3 * errors[0]


def test_deep_pictures_keep_their_depth_and_say_what_was_lost(picture):
    deep = Image(picture.astype(np.uint16) * 257)
    result = parse_operations(["jpeg"]).apply(deep)
    assert result.pixels.dtype == np.uint16 and (result.pixels % 257 == 0).all()
    assert result.warnings == ("JPEG reduced the uint16 picture to 256 levels in each channel.",)


def test_too_long_for_jpeg():
    with pytest.raises(ProcessingError, match="longest side is 65500"):
        parse_operations(["jpeg"]).apply(Image(np.zeros((1, 65501, 1), np.uint8)))
