"""Pairs of single pictures: one size, one depth, and originals as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from worlds import noise, write

from img2img.data.pairs import SideBySide, place_original
from img2img.errors import ProcessingError
from img2img.image import Image
from img2img.processors import parse_operations


def side_by_side(*operations: str) -> SideBySide:
    return SideBySide(parse_operations(operations))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_result_is_left_and_the_picture_right(dtype: str) -> None:
    picture = Image(noise(1, 12, 10, dtype=dtype))
    (pair,) = side_by_side("grayscale")([picture])
    assert (pair.height, pair.width, pair.channels, pair.pixels.dtype) == (12, 20, 3, np.dtype(dtype))
    assert np.array_equal(pair.pixels[:, 10:], picture.pixels)
    left = pair.pixels[:, :10]
    assert np.array_equal(left[..., 0], left[..., 1])
    assert not np.array_equal(left, picture.pixels)


def test_grey_pictures_and_edges_share_one_channel() -> None:
    (pair,) = side_by_side("edges")([Image(noise(1, 12, 10, channels=1))])
    assert pair.pixels.shape == (12, 20, 1)


def test_transparent_pictures_are_laid_over_white() -> None:
    alpha = np.zeros((12, 10), np.uint8)
    (pair,) = side_by_side("flip")([Image(noise(1, 12, 10), alpha)])
    assert pair.alpha is None
    assert (pair.pixels == 255).all()


def test_another_size_is_no_pair() -> None:
    with pytest.raises(ProcessingError, match="need one size"):
        side_by_side("resize=50%")([Image(noise(1))])


def test_settings_tell_operations_apart() -> None:
    assert side_by_side("grayscale").settings() != side_by_side("edges").settings()


def test_an_original_is_copied_byte_for_byte_and_never_replaced(tmp_path: Path) -> None:
    source = write(tmp_path / "in", "a.jpg", noise(1))
    target = tmp_path / "out" / "B" / "a.jpg"
    assert place_original(source, target) is True
    assert target.read_bytes() == source.read_bytes()
    assert place_original(source, target) is False
    assert place_original(source, source) is False
    target.write_bytes(b"edited")
    with pytest.raises(ProcessingError, match="not replaced"):
        place_original(source, target)
    assert target.read_bytes() == b"edited"
    assert [p.name for p in target.parent.iterdir()] == ["a.jpg"]
