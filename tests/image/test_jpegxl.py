"""JPEG XL files, made with imagecodecs (libjxl) and read with it in a process of its own."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
import time
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from boxes import box
from imagecodecs import jpegxl_encode
from pictures import exif_block, from_pillow, profile, smooth
from PIL import Image as Pillow
from PIL import ImageOps

from img2img.errors import ImageError, ImageFormatError, ImageLimitError, ImageReadError
from img2img.image import read_image
from img2img.image.codec import decode
from img2img.image.colour import ColourSpace
from img2img.image.formats import jpegxl
from img2img.image.formats.jpegxl_header import read_header

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>made by a test</x:xmpmeta>"
PREFIX = b"Exif\0\0"
START = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")


def jxl(array: np.ndarray, **options: object) -> bytes:
    """Returns `array` as JPEG XL, without loss unless `options` say so."""
    return jpegxl_encode(array.squeeze(), **{"lossless": True, **options})


class Bits:
    """Writes bits, the lowest of each byte first."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, *pairs: tuple[int, int]) -> Bits:
        for value, count in pairs:
            self.text += f"{value:0{count}b}"[::-1] if count else ""
        return self

    def stream(self) -> bytes:
        padded = self.text + "0" * (-len(self.text) % 8)
        return (
            b"\xff\x0a" + bytes(int(padded[i : i + 8][::-1], 2) for i in range(0, len(padded), 8)) + bytes(8)
        )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.sampled(6)
def test_every_depth_comes_back(channels: int, dtype: str) -> None:
    array = smooth(channels, dtype)
    image = decode(jxl(array))
    colours = channels - (channels + 1) % 2
    np.testing.assert_array_equal(image.pixels, array[:, :, :colours])
    if channels % 2 == 0:
        np.testing.assert_array_equal(image.alpha, array[:, :, -1])
    assert image.warnings == ()


@pytest.mark.parametrize("bits", [4, 10, 12])
def test_few_bits_reach_white(bits: int) -> None:
    wide = np.dtype(np.uint8 if bits < 8 else np.uint16)
    levels = smooth(3, wide.name) >> (8 * wide.itemsize - bits)
    levels[0, 0], levels[0, 1] = 0, 2**bits - 1
    image = decode(jxl(levels, bitspersample=bits))
    white = np.iinfo(wide).max
    assert image.pixels.min() == 0 and image.pixels.max() == white
    assert np.abs(image.pixels - levels * (white / (2**bits - 1))).max() <= 1


def test_lossy() -> None:
    image = decode(jxl(smooth(3), lossless=False, distance=1.0))
    assert np.abs(image.pixels.astype(int) - smooth(3)).mean() < 3


def test_linear_light_is_told() -> None:
    """libjxl's own choice for 16 bits and more."""
    assert decode(jxl(smooth(3, "uint16"))).space == ColourSpace(1, 8)
    assert decode(jxl(smooth(3))).space is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_packed_anew(orientation: int) -> None:
    """Turned once; profile and EXIF are those of the JPEG."""
    original = from_pillow(
        smooth(3), "JPEG", quality=95, icc_profile=profile(), exif=PREFIX + exif_block(orientation)
    )
    image = decode(imagecodecs.jpegxl_encode_jpeg(original))
    with Pillow.open(io.BytesIO(original)) as picture:
        reference = np.asarray(ImageOps.exif_transpose(picture))
    assert np.abs(image.pixels.astype(int) - reference).mean() < 1.5
    assert image.icc == profile()
    assert image.exif is not None
    tags = Pillow.Exif()
    tags.load(image.exif)
    assert tags[0x0112] == 1 and tags[0x010F] == "Maker of cameras"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("offset", [b"\0\0\0\0", b""])
def test_metadata(packed: bool, offset: bytes) -> None:
    """Brotli packs it as cjxl does; some writers forget the offset before EXIF."""

    def block(kind: bytes, body: bytes) -> bytes:
        return box(b"brob", kind, imagecodecs.brotli_encode(body)) if packed else box(kind, body)

    exif = exif_block()
    data = START + block(b"Exif", offset + exif) + block(b"xml ", XMP) + box(b"jxlc", jxl(smooth(3)))
    image = decode(data)
    assert image.metadata.xmp == XMP
    tags = Pillow.Exif()
    tags.load(image.exif)
    assert tags[0x010F] == "Maker of cameras"


def test_stream_in_parts() -> None:
    stream = jxl(smooth(3))
    parts = [stream[:1], stream[1:9], stream[9:]]
    numbers = [0, 1, 2 | 1 << 31]
    pieces = zip(numbers, parts, strict=True)
    data = START + b"".join(box(b"jxlp", struct.pack(">I", number), part) for number, part in pieces)
    np.testing.assert_array_equal(decode(data).pixels, smooth(3))


def test_of_an_animation_the_first_picture() -> None:
    frames = np.stack([smooth(3), 255 - smooth(3), smooth(3)])
    image = decode(jpegxl_encode(frames, lossless=True))
    np.testing.assert_array_equal(image.pixels, smooth(3))
    assert "animation" in image.warnings[0]


@pytest.mark.parametrize(
    ("colours", "space"),
    [
        ([(1, 2), (11 - 2, 4), (0, 1), (2, 2), (13 - 2, 4)], ColourSpace(12, 13)),
        ([(1, 2), (9 - 2, 4), (0, 1), (2, 2), (16 - 2, 4)], ColourSpace(9, 16)),
        ([(1, 2), (1, 2), (0, 1), (2, 2), (13 - 2, 4)], None),
    ],
)
def test_named_colours(colours: list[tuple[int, int]], space: ColourSpace | None) -> None:
    bits = Bits().put((1, 1), (3, 5), (1, 3), (0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (0, 2), (0, 1))
    bits.put((0, 1), (0, 1), (0, 2))
    first = colours[0]
    bits.put(first)  # white
    for value, count in colours[1:]:
        if count == 4:
            bits.put((2, 2), (value, 4)) if bits.text[-2:] != "01" else bits.put((value, 4))
        else:
            bits.put((value, count))
    header = read_header(bits.stream())
    assert (header.width, header.height) == (32, 32)
    assert header.space == space


def test_adobe_rgb_by_chromaticities_and_gamma() -> None:
    bits = Bits().put((1, 1), (3, 5), (1, 3), (0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (0, 2), (0, 1))
    bits.put((0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (0, 4))
    for value in (640000, 330000, 210000, 710000, 150000, 60000):
        coded = 2 * value
        if coded < 524288:
            bits.put((0, 2), (coded, 19))
        elif coded < 1048576:
            bits.put((1, 2), (coded - 524288, 19))
        else:
            bits.put((2, 2), (coded - 1048576, 20))
    bits.put((1, 1), (4547070, 24))
    space = read_header(bits.stream()).space
    assert space is not None and space.gamma == pytest.approx(0.454707)
    assert space.chromaticities == pytest.approx((0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))


@cache
def noisy(lossless: bool, dtype: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 60, (96, 96, 3), np.uint8)
    array = (smooth(3, height=96, width=96) // 2 + noise).astype(dtype)
    return jxl(array * np.array(257 if dtype == "uint16" else 1, dtype), lossless=lossless)


@pytest.mark.parametrize(("lossless", "dtype"), [(True, "uint8"), (True, "uint16"), (False, "uint8")])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_damage_is_refused(share: float, lossless: bool, dtype: str) -> None:
    """A progressive decoder could show half a picture; that is no picture."""
    data = noisy(lossless, dtype)
    decode(data)
    at = int(len(data) * share)
    zeroed, flipped = bytearray(data), bytearray(data)
    zeroed[at : at + 40] = bytes(len(zeroed[at : at + 40]))
    flipped[at] ^= 0x10
    for broken in (data[:at], bytes(zeroed), bytes(flipped)):
        with pytest.raises(ImageReadError):
            decode(broken)


def test_a_size_made_up_is_refused() -> None:
    huge = Bits().put((0, 1), (3, 2), (2**30 - 1, 30), (1, 3), (1, 1)).stream()
    with pytest.raises(ImageLimitError):
        decode(huge)
    large = Bits().put((0, 1), (2, 2), (13_999, 18), (1, 3), (1, 1)).stream()
    with pytest.raises(ImageError):
        decode(large)


def test_header_of_anything_ends_soon() -> None:
    rng = random.Random(0)
    started = time.process_time()
    for _ in range(300):
        try:
            read_header(b"\xff\x0a" + rng.randbytes(rng.randrange(200)))
        except ImageReadError:
            continue
    assert time.process_time() - started < 2


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "imagecodecs" else find(name)
    )
    with pytest.raises(ImageFormatError, match=r"img2img\[formats\]"):
        decode(jxl(smooth(3)))


def test_magic_bytes_decide(tmp_path: Path) -> None:
    path = tmp_path / "really_jxl.png"
    path.write_bytes(jxl(smooth(3)))
    np.testing.assert_array_equal(read_image(path).pixels, smooth(3))


def test_more_channels_are_named() -> None:
    planes = np.stack([smooth(1)[:, :, 0]] * 3)
    try:
        data = jpegxl_encode(planes, lossless=True, photometric="minisblack", planar=True)
    except (imagecodecs.JpegxlError, ValueError):
        pytest.skip("this imagecodecs writes no such file")
    assert len(jpegxl.probe(data).details.extra) == 2
    with pytest.raises(ImageFormatError, match="beside colours"):
        decode(data)
