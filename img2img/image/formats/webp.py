"""WebP; of an animation the first picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2

from img2img.errors import ImageReadError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
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
    while at + 8 <= stop:
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


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
    params = [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS if options.lossless else options.quality]
    return encode_array(".webp", merge_bgra(image.pixels, image.alpha), params, image.icc, image.exif)


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
