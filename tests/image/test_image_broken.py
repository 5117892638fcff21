"""Cut, damaged, enormous and mislabelled files: an error each, quickly, and never half a picture."""

from __future__ import annotations

import random
import re
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import corpus, from_pillow, jpeg_with, png_chunk, smooth
from PIL import Image as Pillow

from img2img.errors import ImageFormatError, ImageLimitError, ImageReadError
from img2img.image import Image, Limits, decode, encode
from img2img.image.ifd import Reader

FILES = corpus()


def same(a: Image, b: Image) -> bool:
    return np.array_equal(a.pixels, b.pixels) and (
        (a.alpha is None and b.alpha is None)
        or (a.alpha is not None and b.alpha is not None and np.array_equal(a.alpha, b.alpha))
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.sampled(40)
def test_a_cut_file_is_an_error_or_the_whole_picture(name: str) -> None:
    data = FILES[name]
    whole = decode(data)
    points = {0, 1, 2, 8, *range(3, len(data), max(1, len(data) // 40)), *range(len(data) - 14, len(data))}
    complete = 0
    for point in sorted(points):
        try:
            image = decode(data[:point])
        except ImageReadError:
            continue
        assert same(image, whole), f"{name}: a half picture from {point} of {len(data)} bytes"
        complete += 1
    assert complete < len(points) * 0.8  # what is cut is never simply accepted


@pytest.mark.parametrize("name", FILES)
@pytest.mark.sampled(40)
def test_damaged_bytes_are_an_error_or_a_picture(name: str) -> None:
    dice = random.Random(name)
    for _ in range(25):
        data = bytearray(FILES[name])
        for _ in range(dice.choice((1, 1, 3, 12))):
            at = dice.randrange(len(data) if dice.random() < 0.5 else min(len(data), 200))
            data[at] = dice.randrange(256) if dice.random() < 0.5 else data[at] ^ 1 << dice.randrange(8)
        try:
            image = decode(bytes(data), Limits(max_pixels=4_000_000))
        except ImageReadError:
            continue
        assert image.pixels.size > 0


@pytest.mark.parametrize("interval", [0, 3])
def test_a_cut_jpeg_with_an_end_marker_is_no_half_grey_picture(interval: int) -> None:
    """As programs leave it that close what they could not finish. OpenCV only prints it."""
    pixels = smooth(3, height=80, width=120)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, interval])[1].tobytes()
    for share in (0.4, 0.6, 0.8, 0.9):
        cut = data[: int(len(data) * share)].rstrip(b"\xff") + b"\xff\xd9"
        assert cv2.imdecode(np.frombuffer(cut, np.uint8), flags=cv2.IMREAD_UNCHANGED) is not None
        with pytest.raises(ImageReadError, match="premature end"):
            decode(cut)


def test_a_jpeg_that_was_cut_within_a_pair_of_bytes_is_no_half_grey_picture() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (80, 120, 3), np.uint8)
    data = from_pillow(noise, "JPEG", quality=95)
    middle = range(len(data) // 3, len(data) * 2 // 3)
    cuts = [at for at in middle if data[at - 1] == 0xFF]
    assert len(cuts) > 5
    for at in cuts:
        with pytest.raises(ImageReadError, match="premature end"):
            decode(data[:at] + b"\xff\xd9")


def test_a_cut_cmyk_jpeg_with_an_end_marker_is_no_half_grey_picture() -> None:
    data = from_pillow(Pillow.fromarray(smooth(3, height=80, width=120)).convert("CMYK"), "JPEG")
    decode(data)
    for share in (0.4, 0.6, 0.8):
        with pytest.raises(ImageReadError, match="premature end"):
            decode(data[: int(len(data) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_progressive_jpeg_without_its_last_scans_is_an_error(mode: str) -> None:
    """It would be a blurred picture, or one with grey rows; neither decoder reports it."""
    picture = Pillow.fromarray(smooth(3, height=80, width=120)).convert(mode)
    data = from_pillow(picture, "JPEG", progressive=True, quality=95)
    decode(data)
    scans = [match.start() for match in re.finditer(b"\xff\xda", data)]
    assert len(scans) >= 6
    for at in scans[1:]:
        for cut in (at, at - 1, at - 5):
            with pytest.raises(ImageReadError):
                decode(data[:cut] + b"\xff\xd9")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_that_ends_in_grey_is_fine(channels: int, options: dict[str, object]) -> None:
    pixels = smooth(channels, height=40, width=56)
    pixels[24:] = 128
    image = decode(from_pillow(pixels, "JPEG", quality=95, **options))
    assert (image.pixels[-1, -1] == 128).all()


def test_bytes_after_the_end_do_no_harm() -> None:
    for name in (
        ".jpg 3 channels, uint8",
        ".png 3 channels, uint8",
        "gif",
        "tiff raw",
        ".webp 3 channels, uint8",
    ):
        assert same(decode(FILES[name] + b"garbage" * 50), decode(FILES[name]))


def test_a_png_without_its_last_chunk_passes_with_a_word() -> None:
    data = FILES[".png 3 channels, uint8"]
    image = decode(data[:-12])
    assert "ends early" in image.warnings[0]


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(FILES[".png 3 channels, uint8"])
    at = data.index(b"IDAT") + 200
    data[at] ^= 4
    with pytest.raises(ImageReadError):
        decode(bytes(data))


# what is no picture


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello, world", "not an image"),
        (b"\0" * 100, "not an image"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"8BPS\0\1", "Photoshop"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"PK\x03\x04" + bytes(50), "zip"),
    ],
)
def test_other_kinds_are_named(data: bytes, words: str) -> None:
    with pytest.raises(ImageReadError, match=words) as caught:
        decode(data)
    assert isinstance(caught.value, ImageFormatError) or not data


# enormous


def _png_header(width: int, height: int) -> bytes:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")
    )


def _bombs() -> dict[str, bytes]:
    side = 40_000
    jpeg = from_pillow(smooth(3), "JPEG")
    at = jpeg.index(b"\xff\xc0")
    gif = bytearray(from_pillow(smooth(3), "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(from_pillow(smooth(3), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    tiff = bytearray(from_pillow(smooth(3), "TIFF"))
    webp = bytearray(from_pillow(smooth(4), "WEBP", exif=b"Exif\0\0II*\0"))
    webp[24:30] = (side - 1).to_bytes(3, "little") * 2
    j2k = bytearray(from_pillow(smooth(3), "JPEG2000", no_jp2=True))
    j2k[8:16] = struct.pack(">II", side, side)
    avif = from_pillow(smooth(3), "AVIF")
    ispe = avif.index(b"ispe") + 8
    for tag in (256, 257):
        field = Reader(tiff).directory(Reader(tiff).first).fields[tag]
        struct.pack_into("<HIHH", tiff, field.entry + 2, 3, 1, side, 0)
    return {
        "png": _png_header(side, side),
        "wide png": _png_header(2_000_000_000, 2),
        "jpeg": jpeg[: at + 5] + struct.pack(">HH", side, side) + jpeg[at + 9 :],
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "tiff": bytes(tiff),
        "webp": bytes(webp),
        "j2k": bytes(j2k),
        "avif": avif[:ispe] + struct.pack(">II", side, side) + avif[ispe + 8 :],
        "pgm": b"P5 40000 40000 255\n" + bytes(100),
        "pam": b"P7\nWIDTH 40000\nHEIGHT 40000\nDEPTH 4\nMAXVAL 255\nENDHDR\n",
        "pfm": b"PF 40000 40000 -1.0\n",
    }


@pytest.mark.parametrize("name", _bombs())
def test_an_enormous_header_costs_no_memory(name: str) -> None:
    data = _bombs()[name]
    tracemalloc.start()
    try:
        with pytest.raises(ImageLimitError, match="pixels; at most"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_limits_are_the_caller_s() -> None:
    for name in (".png 3 channels, uint8", ".jpg 3 channels, uint8", "gif", "tiff raw"):
        assert decode(FILES[name], Limits(max_pixels=33 * 47)).width == 47
        with pytest.raises(ImageLimitError, match="max_pixels"):
            decode(FILES[name], Limits(max_pixels=33 * 47 - 1))
        with pytest.raises(ImageLimitError, match="bytes"):
            decode(FILES[name], Limits(max_file_size=100))
    with pytest.raises(ImageLimitError, match="pictures"):
        decode(FILES["gif animated"], Limits(max_frames=3))
    many = encode(Image(smooth(6)), ".tif")
    assert decode(many, Limits(max_pixels=33 * 47 * 2)).channels == 6
    with pytest.raises(ImageLimitError, match="6 channels"):
        decode(many, Limits(max_pixels=33 * 47))
    with pytest.raises(ImageLimitError, match="channels"):
        decode(many, Limits(max_channels=5))


def test_a_header_that_promises_more_than_the_data_is_an_error() -> None:
    data = FILES["tiff tiff_lzw"]
    field = Reader(data).directory(Reader(data).first).fields[257]
    taller = bytearray(data)
    struct.pack_into("<H", taller, field.entry + 8, 40)
    with pytest.raises(ImageReadError):
        decode(bytes(taller))
    with pytest.raises(ImageReadError):
        decode(_png_header(100, 100))


def test_empty_sides_are_an_error() -> None:
    for data in (_png_header(0, 5), b"P5 0 3 255\n", b"P5 3 0 255\n"):
        with pytest.raises(ImageReadError):
            decode(data)


def test_a_chain_of_directories_that_bites_its_tail_ends() -> None:
    data = bytearray(FILES["tiff raw"])
    directory = Reader(data).directory(Reader(data).first)
    struct.pack_into("<I", data, directory.next_at, directory.start)
    assert decode(bytes(data)).width == 47


def test_errors_carry_the_name(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError) as caught:
        decode(b"", name=tmp_path / "x.png")
    assert str(caught.value) == f"{tmp_path / 'x.png'}: the file is empty"


def test_a_segment_in_front_of_the_picture_does_no_harm() -> None:
    data = from_pillow(smooth(3), "JPEG")
    assert same(decode(jpeg_with(data, (0xFE, b"comment \xff\xd9\xff\xda"))), decode(data))


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 50_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\2" * 10_000_000,
        _png_header(5, 5)[:33] + png_chunk(b"tEXt", b"") * 3_000_000,
        b"GIF89a\5\0\5\0\0\0\0" + b"\x2c\0\0\0\0\5\0\5\0\0\2" + b"\1x" * 20_000_000,
        b"GIF89a\5\0\5\0\0\0\0" + b"\x21\xfe\0" * 10_000_000,
        b"RIFF" + struct.pack("<I", 40_000_004) + b"WEBP" + b"abcd\0\0\0\0" * 5_000_000,
        b"\0\0\0\x1cftypavif\0\0\0\0avif\0\0\0\0" + b"\0\0\0\x08abcd" * 5_000_000,
        b"II*\0\x08\0\0\0" + b"\0\0" * 20_000_000,
    ],
    ids=[
        "JPEG fill",
        "JPEG segments",
        "PNG chunks",
        "GIF data",
        "GIF comments",
        "WebP chunks",
        "AVIF boxes",
        "TIFF",
    ],
)
def test_a_file_of_nothing_but_parts_is_soon_refused(data: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(ImageReadError):
        decode(data)
    assert time.perf_counter() - start < 10


def test_entries_that_share_their_bytes_do_not_add_up() -> None:
    """4000 tags of 5 megabytes each, all of them the same 5 megabytes."""
    size, count = 5_000_000, 4000
    lines = b"".join(struct.pack("<HHII", 40_000 + i, 1, size, 0) for i in range(count))
    data = struct.pack("<2sHIH", b"II", 42, 8, count) + lines + bytes(4) + bytes(size)
    tracemalloc.start()
    try:
        with pytest.raises(ImageReadError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * size
    finally:
        tracemalloc.stop()


def test_many_threads_see_the_same_pictures() -> None:
    expected = {name: decode(data) for name, data in FILES.items()}
    with ThreadPoolExecutor(3) as pool:
        for name, image in zip(FILES, pool.map(decode, FILES.values()), strict=True):
            assert same(image, expected[name])
            assert image.warnings == expected[name].warnings
        jpegs = pool.map(lambda i: encode(Image(smooth(3, height=20 + i, width=30)), ".jpg"), range(64))
        for i, data in enumerate(jpegs):
            assert data == encode(Image(smooth(3, height=20 + i, width=30)), ".jpg")
