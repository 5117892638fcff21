"""GIF files that are damaged, odd or hostile."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import from_pillow, profile, smooth
from PIL import Image as Pillow

from img2img.errors import ImageReadError
from img2img.image import decode, read_image


def gif(colours: int = 64, **options: object) -> bytes:
    return from_pillow(Pillow.fromarray(smooth(3)).quantize(colours), "GIF", **options)


def parts(data: bytes) -> tuple[bytes, int, bytes]:
    """Returns what is before the first picture's data, the bits of its codes, and the data without blocks."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    at += 10 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
    head, bits, stream = data[:at], data[at], b""
    at += 1
    while data[at]:
        stream += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return head, bits, stream


def together(head: bytes, bits: int, stream: bytes, after: bytes = b"\0;") -> bytes:
    pieces = (stream[i : i + 255] for i in range(0, len(stream), 255))
    return head + bytes((bits,)) + b"".join(bytes((len(piece),)) + piece for piece in pieces) + after


def codes(values: np.ndarray, bits: int, end: bool = True) -> bytes:
    """Returns pixels as codes that never grow: a clear code before each few of them."""
    clear = 1 << bits
    words: list[int] = []
    for i, value in enumerate(values.reshape(-1)):
        words += [*([clear] if i % 2 == 0 else []), int(value)]
    words += [clear + 1] if end else []
    text = "".join(f"{word:0{bits + 1}b}"[::-1] for word in words)
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


def plain(pixels: np.ndarray, stream: bytes, bits: int) -> bytes:
    """Returns a GIF file without palette: indices are levels of grey."""
    height, width = pixels.shape
    head = struct.pack("<6sHHBBB", b"GIF89a", width, height, 0, 0, 0)
    return together(head + struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0), bits, stream)


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_the_number_of_pixels_is_exact(bits: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << bits, (7, 11))
    for end in (True, False):  # some writers leave the end code out
        image = decode(plain(pixels, codes(pixels, bits, end), bits))
        assert (image.pixels[:, :, 0] == pixels).all()
    flat = pixels.reshape(-1)
    for fewer in (1, 2, 11, 60, 76):
        with pytest.raises(ImageReadError):
            decode(plain(pixels, codes(flat[:-fewer], bits), bits))
    for more in (3, 8, 11, 400):
        with pytest.raises(ImageReadError, match="more picture data"):
            decode(plain(pixels, codes(np.append(flat, np.zeros(more)), bits), bits))


@pytest.mark.parametrize("options", [{"interlace": 0}, {"interlace": 1}])
@pytest.mark.parametrize("colours", [2, 16, 256])
def test_a_stream_that_is_cut_or_zeroed_anywhere_is_an_error_or_unchanged(
    colours: int, options: dict[str, object]
) -> None:
    data = gif(colours, **options)
    intact = decode(data).pixels
    head, bits, stream = parts(data)
    assert together(head, bits, stream) == data
    for tenth in range(10):
        at = len(stream) * tenth // 10
        with pytest.raises(ImageReadError):
            decode(together(head, bits, stream[:at]))
        for start, stop in ((at, len(stream)), (at, at + 40)):
            zeroed = stream[:start] + bytes(len(stream[start:stop])) + stream[stop:]
            try:
                image = decode(together(head, bits, zeroed))
            except ImageReadError:
                continue
            assert (image.pixels == intact).all(), (tenth, start, stop)


def test_a_short_picture_is_not_filled_up_from_the_next_one() -> None:
    frames = [Pillow.fromarray(smooth(3)[::step]).quantize(64) for step in (1, -1)]
    data = from_pillow(frames[0], "GIF", save_all=True, append_images=frames[1:])
    head, bits, stream = parts(data)
    after = data[len(together(head, bits, stream, b"\0")) :]
    assert "holds 2 pictures" in decode(together(head, bits, stream, b"\0" + after)).warnings[0]
    with pytest.raises(ImageReadError):
        decode(together(head, bits, stream[: len(stream) // 2], b"\0" + after))


@pytest.mark.parametrize("after", [b"", b"\xff", b"\x40short", b"\0", b"\0\x2c\0\0", b"\0!\xfe", b"\0?;"])
def test_what_is_damaged_behind_the_first_picture_is_a_warning(after: bytes) -> None:
    data = gif()
    head, bits, stream = parts(data)
    image = decode(together(head, bits, stream, after))
    assert (image.pixels == decode(data).pixels).all()
    assert image.warnings == ("the GIF file is cut or damaged behind its first picture",)


def test_a_chain_of_blocks_that_is_damaged_behind_its_stream(test_data: Path) -> None:
    path = test_data / "cases" / "A13_lost_files" / "ee6d1133f9264dc6467990e53d0bf104.gif"
    image = read_image(path)
    expected = np.asarray(Pillow.open(io.BytesIO(path.read_bytes())).convert("RGBA"))
    assert image.alpha is not None
    assert (image.alpha == expected[:, :, 3]).all()
    assert (image.pixels[image.alpha > 0] == expected[:, :, :3][image.alpha > 0]).all()
    assert len(image.warnings) == 1


@pytest.mark.parametrize("transparent", [None, 3])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("box", [(0, 0, 47, 33), (5, 9, 60, 50), (60, 40, 47, 33)])
@pytest.mark.sampled(6)
def test_canvas_interlace_and_transparency_are_as_in_pillow(
    transparent: int | None, interlace: int, box: tuple[int, int, int, int]
) -> None:
    options = {} if transparent is None else {"transparency": transparent}
    data = bytearray(gif(64, interlace=interlace, **options))
    head, _, _ = parts(bytes(data))
    struct.pack_into("<HH", data, 6, *box[2:])
    struct.pack_into("<HH", data, len(head) - 9, *box[:2])
    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGBA"))
    image = decode(bytes(data))
    assert (image.alpha is None) == (transparent is None)
    seen = expected[:, :, 3] > 0
    assert (image.pixels[seen] == expected[seen][:, :3]).all()
    assert image.alpha is None or (image.alpha == expected[:, :, 3]).all()


def extension(label: int, body: bytes) -> bytes:
    pieces = (body[i : i + 255] for i in range(0, len(body), 255))
    return bytes((0x21, label)) + b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"


def test_comments_xmp_and_profile_are_read() -> None:
    data = gif()
    trailer = bytes((1, *range(255, -1, -1), 0))
    xmp = b"<x:xmpmeta>" + b"\xc3\xa9" * 400 + b"</x:xmpmeta>"
    icc = extension(0xFF, b"")[:2] + b"\x0bICCRGBG1012" + extension(0, profile())[2:]
    for at in (13 + (3 << (data[10] & 7) + 1), len(data) - 1):  # before the picture, and behind it
        more = extension(0xFE, b"caf\xc3\xa9") + extension(0xFE, b"caf\xe9" * 200) + icc
        more += b"\x21\xff\x0bXMP DataXMP" + xmp + trailer
        image = decode(data[:at] + more + data[at:])
        assert image.metadata.text == (("Comment", "caf\xe9"), ("Comment", "caf\xe9" * 200))
        assert image.metadata.xmp == xmp
        assert image.icc == profile()
        assert image.warnings == ()


def test_a_large_canvas_around_nothing_is_refused_before_it_is_made() -> None:
    head = struct.pack("<6sHHBBB", b"GIF89a", 14000, 14000, 0, 0, 0)
    data = head + struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\2\2\x44\1\0;"
    with pytest.raises(ImageReadError, match="unpack to"):
        decode(data)


def test_empty_blocks_and_pictures_without_number_end() -> None:
    one = plain(np.zeros((1, 1), int), codes(np.zeros(1), 2), 2)
    for data in (one[:13] + b"!\xfe\0" * 200_000 + one[13:], one[:-1] + one[13:-1] * 20_000 + b";"):
        assert decode(data).pixels.shape == (1, 1, 1)
