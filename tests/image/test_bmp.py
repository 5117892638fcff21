"""Bitmaps that are damaged, odd or hostile: run lengths, headers, resolution and profiles."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from pictures import from_pillow, picture, profile, smooth
from PIL import Image as Pillow

from img2img.errors import ImageReadError
from img2img.image import decode, encode
from img2img.image.image import Metadata

WIDTH, HEIGHT = 21, 9
COLOURS = np.random.default_rng(1).bytes(4 * 256)
RGB = np.frombuffer(COLOURS, np.uint8).reshape(-1, 4)[:, 2::-1]


def bitmap(
    bits: int,
    compression: int,
    body: bytes,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    size: int = 40,
    colours: int | None = None,
    more: bytes = b"",
) -> bytes:
    """Returns a bitmap with a palette of `colours` (by default all) in a header of `size` bytes."""
    count = (1 << bits if bits <= 8 else 0) if colours is None else colours
    palette = COLOURS[: 4 * min(count, 1 << bits)] if bits <= 8 else b""
    info = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, 0, 0, 0, count, 0)
    head = info + more.ljust(size - 40, b"\0") + palette
    return struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body


def indices(bits: int) -> np.ndarray:
    """Returns (HEIGHT, WIDTH) with runs in it."""
    values = np.random.default_rng(2).integers(0, 1 << bits, (HEIGHT, WIDTH))
    values[:, 3:9] = values[:, 3:4]
    values[2] = 1
    return values


def packed(values: np.ndarray, half: bool) -> bytes:
    """Returns (H, W) as run lengths, the last row first: runs, and between them pixels as they are."""
    result = b""
    for row in values[::-1]:
        at = 0
        while at < len(row):
            same = next((i for i in range(at, len(row)) if row[i] != row[at]), len(row)) - at
            if same >= 3 or len(row) - at < 3:
                result += bytes((same, row[at] * 17 if half else row[at]))
                at += same
                continue
            part = row[at : at + min(7, len(row) - at)]
            at += len(part)
            data = bytes(int(value) for value in part)
            if half:
                data = bytes(a << 4 | b for a, b in zip(data[::2], (data + b"\0")[1::2], strict=False))
            result += bytes((0, len(part))) + data + bytes(len(data) % 2)
        result += b"\0\0"
    return result[:-2] + b"\0\1"


@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (4, 2)])
def test_run_lengths(bits: int, compression: int) -> None:
    body = packed(indices(bits), bits == 4)
    for end in (b"", b"\0\0\0\1"):  # with the end of the last row, and without
        data = bitmap(bits, compression, body[:-2] + end if end else body)
        image = decode(data)
        assert (image.pixels == RGB[indices(bits)]).all()
        assert image.warnings == ()
        turned = bytearray(data)
        struct.pack_into("<i", turned, 22, -HEIGHT)  # the top row first
        assert (decode(bytes(turned)).pixels == image.pixels[::-1]).all()


@pytest.mark.parametrize("damage", ["cut", "zeroed to the end", "zeroed", "ones", "removed", "cut and ended"])
@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (4, 2)])
def test_damaged_run_lengths_are_an_error_or_change_no_pixel(
    bits: int, compression: int, damage: str
) -> None:
    values = np.repeat(np.repeat(indices(bits), 3, 0), 3, 1)
    body = packed(values, bits == 4)
    size = {"width": 3 * WIDTH, "height": 3 * HEIGHT}
    intact = decode(bitmap(bits, compression, body, **size)).pixels
    for tenth in range(10):
        at = len(body) * tenth // 10 & ~1
        broken = {
            "cut": body[:at],
            "zeroed to the end": body[:at] + bytes(len(body) - at),
            "zeroed": body[:at] + bytes(40) + body[at + 40 :],
            "ones": body[:at] + b"\xff" * 40 + body[at + 40 :],
            "removed": body[:at] + body[at + 32 :],
            "cut and ended": body[:at] + b"\0\1",
        }[damage]
        try:
            image = decode(bitmap(bits, compression, broken, **size))
        except ImageReadError:
            continue
        assert (image.pixels == intact).all(), tenth


def test_pixels_that_are_skipped_get_the_first_colour_and_a_warning() -> None:
    row = bytes((WIDTH, 5)) + b"\0\0"
    body = row * (HEIGHT - 3) + b"\0\2\x04\x01" + bytes((WIDTH - 4, 6)) + b"\0\0" + row[:-2] + b"\0\1"
    image = decode(bitmap(8, 1, body))
    expected = np.full((HEIGHT, WIDTH), 5)
    expected[1] = [0] * 4 + [6] * (WIDTH - 4)  # a step of one row and four pixels, from the second row
    expected[2] = 0
    assert (image.pixels == RGB[expected]).all()
    assert "leaves out" in image.warnings[0]


@pytest.mark.parametrize(
    "data",
    [
        bitmap(8, 1, b"\0\1"),
        bitmap(8, 1, b"\0\2\0\xff\0\1"),
        bitmap(8, 1, b"\0\0" * 5000),
        bitmap(8, 1, bytes((WIDTH + 1, 5)) * 50),
        bitmap(8, 1, b"\0\xff\1\2"),
        bitmap(8, 1, b"", width=14000, height=14000),
        bitmap(8, 0, b"", width=-5),
        bitmap(8, 0, b"", height=0),
        bitmap(8, 0, b"", height=-(2**31)),
        bitmap(8, 0, bytes(10)),
        bitmap(24, 3, bytes(5000)),
        bitmap(32, 3, bytes(5000), size=56, more=struct.pack("<IIII", 0xF0F, 0xF0, 0, 0)),
        bitmap(8, 0, bytes(5000))[:10] + b"\x20\0" + bitmap(8, 0, bytes(5000))[12:],
        bitmap(1, 3, bytes(5000)),
    ],
)
def test_what_fills_no_picture_is_an_error(data: bytes) -> None:
    with pytest.raises(ImageReadError):
        decode(data)


@pytest.mark.parametrize("colours", [0, 1, 200, 2**31, 2**32 - 1])
def test_a_palette_of_any_number_of_colours_costs_no_memory(colours: int) -> None:
    data = bitmap(8, 0, bytes(24 * HEIGHT), colours=256)
    data = data[:46] + struct.pack("<I", colours) + data[50:]
    assert decode(data).pixels.shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("alpha", [False, True])
def test_resolution_is_kept(alpha: bool) -> None:
    image = picture(alpha=alpha).replace(metadata=Metadata(resolution=(300, 150)))
    data = encode(image, ".bmp")
    back = decode(data)
    assert (back.pixels == image.pixels).all()
    assert back.metadata.resolution == pytest.approx((300, 150), abs=0.02)
    assert decode(encode(picture(alpha=alpha), ".bmp")).metadata.resolution is None
    if not alpha:  # Pillow reads no bit fields of alpha with a header of this size
        assert Pillow.open(io.BytesIO(data)).info["dpi"] == pytest.approx((300, 150), abs=0.02)
    assert decode(from_pillow(smooth(3), "BMP", dpi=(72, 72))).metadata.resolution == pytest.approx(
        (72, 72), abs=0.02
    )


def test_a_profile_is_read_and_other_descriptions_of_colour_are_named() -> None:
    body = bytes(64 * HEIGHT)

    def described(kind: bytes, at: int, size: int, gamma: int = 0) -> bytes:
        more = bytes(16) + kind[::-1] + bytes(36) + struct.pack("<III", gamma, gamma, gamma)
        more += struct.pack("<IIII", 4, at, size, 0)
        return bitmap(24, 0, body + profile(), size=124, more=more)

    image = decode(described(b"MBED", 124 + len(body), len(profile())))
    assert image.icc == profile()
    assert image.warnings == ()
    for data in (described(b"MBED", 124 + len(body), 50), described(b"MBED", 2**32 - 1, 2**32 - 1)):
        assert decode(data).icc is None
    assert "colours" in decode(described(b"LINK", 0, 0)).warnings[0]
    assert "colours" in decode(described(bytes(4), 0, 0, 2 << 16)).warnings[0]
    assert decode(described(b"sRGB", 0, 0)).warnings == ()
