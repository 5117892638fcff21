"""HEIC files, made with pillow-heif (libheif and x265) and read with pi-heif in a process of its own."""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from boxes import grid
from pictures import exif_block, profile, smooth
from PIL import Image as Pillow

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image import read_image
from img2img.image.codec import decode
from img2img.image.colour import ColourSpace
from img2img.image.formats import heic

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>made by a test</x:xmpmeta>"


def heif(array: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    """Returns `array` as HEIC, without loss unless `options` say so."""
    mode = mode or {1: "L", 3: "RGB", 4: "RGBA"}[array.shape[2]] + (";16" if array.dtype == np.uint16 else "")
    file = pillow_heif.from_bytes(mode, array.shape[1::-1], np.ascontiguousarray(array).tobytes())
    return saved(file, **options)


def saved(file: pillow_heif.HeifFile, **options: object) -> bytes:
    buffer = io.BytesIO()
    file.save(buffer, **{"quality": -1, "chroma": 444, "matrix_coefficients": 0, **options})
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_eight_bits(channels: int) -> None:
    array = smooth(channels)
    image = decode(heif(array))
    colours = array[:, :, :3]
    if channels == 4:
        np.testing.assert_array_equal(image.alpha, array[:, :, 3])
    np.testing.assert_array_equal(image.pixels, colours)
    assert image.warnings == () and image.space is None and image.icc is None


@pytest.mark.parametrize("bits", [10, 12])
def test_more_bits_reach_white(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 and 12 bits are spread over all of 16: black stays 0 and white becomes 65535."""
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    array = smooth(3, "uint16")
    array[0, 0], array[0, 1] = 0, 65535
    image = decode(heif(array))
    assert image.pixels.dtype == np.uint16
    assert image.pixels.min() == 0 and image.pixels.max() == 65535
    assert np.abs(image.pixels.astype(int) - array).max() <= 65536 >> bits


def test_premultiplied_alpha_is_undone() -> None:
    array = smooth(4)
    array[:, :, 3] = np.maximum(array[:, :, 3], 128)
    weighted = array.copy()
    weighted[:, :, :3] = np.rint(array[:, :, :3] * (array[:, :, 3:] / 255.0))
    image = decode(heif(weighted, "RGBa"))
    assert np.abs(image.pixels.astype(int) - array[:, :, :3]).max() <= 1


def test_metadata_and_profile() -> None:
    exif = exif_block()
    data = heif(smooth(3), icc_profile=profile(), exif=exif, xmp=XMP)
    image = decode(data)
    assert image.icc == profile()
    assert image.metadata.xmp == XMP
    assert image.exif is not None
    tags = Pillow.Exif()
    tags.load(image.exif)
    assert tags[0x010F] == "Maker of cameras"


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (9, 18)])
def test_colours_told_by_numbers(primaries: int, transfer: int) -> None:
    codes = {"color_primaries": primaries, "transfer_characteristics": transfer}
    assert decode(heif(smooth(3), **codes)).space == ColourSpace(primaries, transfer)
    assert decode(heif(smooth(3), **codes, icc_profile=profile())).space is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_once(orientation: int) -> None:
    """As phones write it: the container orders the turn and EXIF repeats it."""
    array = smooth(3)
    data = heif(array, exif=exif_block(orientation))
    image = decode(data)
    reference = np.asarray(pillow_heif.open_heif(io.BytesIO(data)).to_pillow())
    np.testing.assert_array_equal(image.pixels, reference)
    assert image.pixels.shape[:2] == (array.shape[:2] if orientation < 5 else array.shape[1::-1])
    tags = Pillow.Exif()
    tags.load(image.exif)
    assert tags[0x0112] == 1


def test_turn_in_exif_alone_is_no_turn() -> None:
    """The standard calls the EXIF orientation informative; every HEIC viewer ignores it."""
    array = smooth(3)
    data = heif(array, exif=exif_block(1)).replace(exif_block(1), exif_block(6))
    np.testing.assert_array_equal(decode(data).pixels, array)


def test_grid_of_tiles() -> None:
    """The tiles of a phone: cut at the right and at the bottom, colours told on grid and tiles."""
    whole = smooth(3, height=128, width=192)
    codes = {"color_primaries": 12, "transfer_characteristics": 13}
    tiles = [heif(whole[y : y + 64, x : x + 64], **codes) for y in (0, 64) for x in (0, 64, 128)]
    data = grid(tiles, 64, 2, 3, 180, 120)
    image = decode(data)
    np.testing.assert_array_equal(image.pixels, whole[:120, :180])
    assert image.space == ColourSpace(12, 13)
    assert image.warnings == ()
    damaged = bytearray(data)
    damaged[-400:-300] = bytes(100)
    with pytest.raises(ImageReadError):
        decode(bytes(damaged))


def test_of_several_pictures_the_primary_one() -> None:
    arrays = [smooth(3), 255 - smooth(3), smooth(3)[::-1]]
    file = pillow_heif.from_bytes("RGB", arrays[0].shape[1::-1], arrays[0].tobytes())
    for array in arrays[1:]:
        file.add_frombytes("RGB", array.shape[1::-1], np.ascontiguousarray(array).tobytes())
    image = decode(saved(file, primary_index=1))
    np.testing.assert_array_equal(image.pixels, arrays[1])
    assert "3 pictures" in image.warnings[0]


def test_thumbnail_is_no_picture() -> None:
    array = smooth(3, height=128, width=128)
    file = pillow_heif.from_bytes("RGB", (128, 128), array.tobytes())
    file[0].info["thumbnails"] = [64]
    image = decode(saved(file))
    assert image.pixels.shape == array.shape
    assert image.warnings == ()


@cache
def noisy() -> bytes:
    noise = np.random.default_rng(0).integers(0, 60, (96, 96, 3), np.uint8)
    return heif(smooth(3, height=96, width=96) // 2 + noise, quality=60, matrix_coefficients=6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_zeroed_or_cut_is_refused(share: float) -> None:
    """libde265 conceals both; zeros are no HEVC, and a box must end within the file."""
    data = noisy()
    at = int(len(data) * share)
    with pytest.raises(ImageReadError):
        decode(data[:at])
    zeroed = bytearray(data)
    zeroed[at : at + 64] = bytes(len(zeroed[at : at + 64]))
    with pytest.raises(ImageReadError, match="broken"):
        decode(bytes(zeroed))


def test_parts_that_do_not_add_up_are_refused() -> None:
    data = bytearray(noisy())
    start, _ = heic.probe(bytes(data)).details.spans[0][0]
    data[start : start + 4] = (2**31).to_bytes(4, "big")
    with pytest.raises(ImageReadError, match="add up"):
        decode(bytes(data))


def test_magic_bytes_decide(tmp_path: Path) -> None:
    path = tmp_path / "really_heic.jpg"
    path.write_bytes(heif(smooth(3)))
    np.testing.assert_array_equal(read_image(path).pixels, smooth(3))


def test_other_packings_are_named() -> None:
    data = heif(smooth(3)).replace(b"hvc1", b"vvc1")
    with pytest.raises(ImageFormatError, match="vvc1"):
        decode(data)
    film = b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc" + b"\0\0\0\x08moov"
    with pytest.raises((ImageFormatError, ImageReadError)):
        decode(film)


def test_a_size_that_lies_is_refused() -> None:
    data = heif(smooth(3))
    at = data.index(b"ispe") + 8
    for width, height in ((40, 30), (4000, 3000)):
        broken = data[:at] + struct.pack(">II", width, height) + data[at + 8 :]
        with pytest.raises(ImageReadError):
            decode(broken)
