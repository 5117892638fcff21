"""WebP; of an animation the first picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2

from img2img.errors import ImageReadError
from img2img.image.conversion import as_rgb
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra

_LOSSLESS = 101  # a quality above 100 is how OpenCV is told


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a WebP file does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = struct.unpack_from("<I", data, 4)
    stop = size + 8
    if stop > len(data):
        raise ImageReadError(f"the WebP file is truncated: it says {stop:,} bytes and has {len(data):,}")
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > stop:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise ImageReadError(f"the WebP file has more than {MAX_PARTS:,} chunks")


def probe(data: bytes) -> Header:
    """Walks the chunks."""
    header: Header | None = None
    frames = 0
    for kind, body in _chunks(data):
        if kind == b"VP8X" and header is None:
            header = Header(1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        elif kind == b"VP8 " and header is None:
            width, height = struct.unpack_from("<HH", body, 6)
            header = Header(width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and header is None:
            (bits,) = struct.unpack_from("<I", body, 1)
            header = Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        elif kind == b"ANMF":
            frames += 1
        elif header is not None and kind == b"ICCP":
            header.icc = body
        elif header is not None and kind == b"EXIF":
            header.exif = body
        elif header is not None and kind == b"XMP ":
            header.xmp = body
    if header is None:
        raise ImageReadError("the WebP file holds no picture")
    header.frames = max(1, frames)
    return header


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the first picture."""
    return Raster(*split_bgra(decode_array(data)))


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a WebP file. Grey fits, and comes back as three equal channels."""
    return misfit(image, "WebP", alpha=True, max_side=16383)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    image = as_rgb(image)  # as grey is stored here; so its profile has to be one for RGB
    params = [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS if options.lossless else options.quality]
    data = encode_array(".webp", merge_bgra(image.pixels, image.alpha), params)
    return _with_metadata(data, image) if image.icc or image.exif else data


def _with_metadata(data: bytes, image: Image) -> bytes:
    """Returns a WebP file in the extended form, with the profile before the picture and EXIF after it."""
    flags = 0x20 * bool(image.icc) | 0x10 * (image.alpha is not None) | 0x08 * bool(image.exif)
    size = (image.width - 1).to_bytes(3, "little") + (image.height - 1).to_bytes(3, "little")
    chunks = [(b"VP8X", bytes((flags, 0, 0, 0)) + size)]
    chunks += [(b"ICCP", image.icc)] if image.icc else []
    chunks += [(kind, body) for kind, body in _chunks(data) if kind in (b"ALPH", b"VP8 ", b"VP8L")]
    chunks += [(b"EXIF", image.exif)] if image.exif else []
    content = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks
    )
    return struct.pack("<4sI", b"RIFF", len(content)) + content


FORMAT = Format(
    name="WebP",
    extensions=(".webp",),
    writes=(".webp",),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    max_exif=2**31 - 1,
    max_icc=2**31 - 1,
)
