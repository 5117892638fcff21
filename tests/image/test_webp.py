"""WebP: lossless stays lossless, XMP and EXIF travel, sizes agree, and damage has a name."""

from __future__ import annotations

import contextlib
import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import exif_block, from_pillow, picture, profile, smooth
from PIL import Image as Pillow

from img2img.cli.main import cli
from img2img.errors import ImageLimitError, ImageReadError
from img2img.image import EncodeOptions, Image, decode, encode

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(body)) + body + b"\0" * (len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides)


def picture_chunk(data: bytes) -> bytes:
    return data[12:]


@pytest.mark.parametrize("alpha", [False, True])
def test_what_comes_without_loss_is_stored_without_loss(alpha: bool) -> None:
    """Also the colours under transparency, which encoders like to make black."""
    image = picture(alpha=alpha)
    if image.alpha is not None:
        image.alpha[:20] = 0
    source = decode(encode(image, ".webp", EncodeOptions(lossless=True)))
    assert source.lossless
    back = decode(encode(source, ".webp"))
    assert back.lossless
    np.testing.assert_array_equal(back.pixels, image.pixels)
    if image.alpha is not None:
        np.testing.assert_array_equal(back.alpha, image.alpha)
    for options in (EncodeOptions(lossless=False), EncodeOptions(lossless=False, quality=100)):
        assert not decode(encode(source, ".webp", options)).lossless
    assert not decode(encode(image, ".webp")).lossless
    assert not decode(encode(image, ".png")).lossless


def test_a_folder_of_lossless_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = smooth(3)
    (tmp_path / "in" / "a.webp").write_bytes(from_pillow(pixels, "WEBP", lossless=True))
    (tmp_path / "in" / "b.webp").write_bytes(from_pillow(pixels, "WEBP", quality=90))
    for name, more, kept in (
        ("auto", [], True),
        ("chosen", ["--quality", "95"], False),
        ("all", ["--lossless"], True),
    ):
        out = tmp_path / name
        done = CliRunner().invoke(
            cli, ["process", str(tmp_path / "in"), "-o", str(out), "--op", "flip", *more]
        )
        assert done.exit_code == 0, done.output
        assert decode((out / "a.webp").read_bytes()).lossless == kept
        assert decode((out / "b.webp").read_bytes()).lossless == (name == "all")
    np.testing.assert_array_equal(decode((tmp_path / "auto" / "a.webp").read_bytes()).pixels, pixels[:, ::-1])


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_metadata_is_where_others_find_it(alpha: bool, lossless: bool) -> None:
    image = picture(alpha=alpha).replace(icc=profile(), exif=exif_block())
    image = image.replace(metadata=image.metadata.replace(xmp=XMP))
    data = encode(image, ".webp", EncodeOptions(lossless=lossless))
    back, other = decode(data), Pillow.open(io.BytesIO(data))
    assert back.metadata.xmp == other.info["xmp"] == XMP
    assert back.icc == other.info["icc_profile"] == profile()
    assert other.mode == ("RGBA" if alpha else "RGB") and other.getexif()[0x010F] == "Maker of cameras"
    assert data[20] == 0x20 | 0x08 | 0x04 | 0x10 * alpha


LOSSY = picture_chunk(from_pillow(smooth(3), "WEBP"))
EXACT = picture_chunk(from_pillow(smooth(3), "WEBP", lossless=True))


def frame(width: int, height: int, body: bytes, left: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"ANMF", (left // 2).to_bytes(3, "little") + bytes(3) + sides + bytes(4) + body)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (webp(canvas(8, 8), LOSSY), "differ in size"),
        (webp(canvas(3000, 3000), EXACT), "differ in size"),
        (webp(canvas(47, 33), b"\0" * 40, LOSSY), "something else"),
        (webp(canvas(47, 33), LOSSY, b"EXIF\xff\xff\0\0abcd"), "truncated"),
        (webp(canvas(47, 33, 2), frame(47, 33, LOSSY, left=20)), "outside"),
        (webp(canvas(47, 33, 2), frame(20, 20, LOSSY)), "no picture of its size"),
        (webp(canvas(47, 33)), "no picture"),
        (webp(chunk(b"VP8 ", LOSSY[8 : len(LOSSY) // 2])), "truncated or broken"),
        (webp(chunk(b"VP8L", EXACT[8 : len(EXACT) // 2])), "truncated or broken"),
    ],
)
def test_contradictions_and_damage_are_named(data: bytes, words: str) -> None:
    with pytest.raises(ImageReadError, match=words):
        decode(data)


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": b"Exif\0\0" + exif_block(), "icc_profile": profile()}]
)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.sampled(4)
def test_damage_as_pillow_judges_it(options: dict[str, object], channels: int) -> None:
    """There are no checksums: a flipped bit mostly gives another picture, in every decoder."""
    data = from_pillow(smooth(channels, height=80, width=120), "WEBP", **options)
    for step in range(10):
        at = 20 + (len(data) - 20) * step // 10
        resized = data[:4] + struct.pack("<I", at - 8) + data[8:at]
        for damaged in (
            data[:at],
            resized,
            data[:at] + bytes(len(data) - at),
            data[:at] + bytes(40) + data[at + 40 :],
        ):
            try:
                with Pillow.open(io.BytesIO(damaged)) as other:
                    other.load()
            except Exception:  # noqa: BLE001
                with pytest.raises(ImageReadError):
                    decode(damaged)


@pytest.mark.parametrize(
    "data",
    [
        webp(canvas(47, 33, 2), *[frame(47, 33, LOSSY)] * (2**20 // len(LOSSY))),
        webp(canvas(47, 33, 2), *[frame(47, 33, b"")] * 30_000),
        webp(canvas(47, 33), LOSSY, *[chunk(b"abcd", b"")] * 130_000),
        webp(canvas(47, 33), LOSSY, *[chunk(b"XMP ", b"<a/>")] * 80_000),
        webp(canvas(47, 33), LOSSY, chunk(b"ICCP", bytes(2**20))),
    ],
    ids=["frames", "empty frames", "chunks", "XMP", "ICC"],
)
@pytest.mark.sampled(3)
def test_many_parts_take_little_time(data: bytes) -> None:
    start = time.process_time()
    with contextlib.suppress(ImageReadError):
        assert decode(data).width == 47
    assert time.process_time() - start < 2


def test_a_blank_picture_does_not_fill_the_memory() -> None:
    blank = bytearray(picture_chunk(from_pillow(Pillow.new("RGB", (8, 8)), "WEBP", lossless=True, method=0)))
    size = blank.index(b"\x2f") + 1  # all else is the same for every size
    blank[size : size + 4] = (7999 | 7999 << 14).to_bytes(4, "little")
    assert Pillow.open(io.BytesIO(webp(blank))).size == (8000, 8000)
    with pytest.raises(ImageLimitError, match="fill the memory"):
        decode(webp(blank, chunk(b"abcd", bytes(2**19))))


def test_lossless_is_told_of_its_frames() -> None:
    frames = [Pillow.new("RGB", (47, 33), (i, 0, 0)) for i in range(3)]
    moving = decode(from_pillow(smooth(3), "WEBP", save_all=True, append_images=frames, lossless=True))
    assert moving.lossless and any("4 pictures" in warning for warning in moving.warnings)
    np.testing.assert_array_equal(moving.pixels, smooth(3))
    assert not Image(smooth(3)).lossless
