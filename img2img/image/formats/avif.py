"""AVIF; of a sequence the first picture.

OpenCV's libaom decodes: it refuses a picture with damaged data, where dav1d, which Pillow has, conceals it.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from img2img.errors import ImageWriteError
from img2img.image.colour import ColourSpace
from img2img.image.formats import heif
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image
from img2img.image.levels import spread
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra

_BRANDS = frozenset((b"avif", b"avis"))
_SPEED = 8
_DELIMITER = b"\x12\0"  # of pictures in an AV1 stream
_SRGB_AS_RGB = 1 << 16 | 13 << 8


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as an AVIF file does, by any of its brands."""
    return not _BRANDS.isdisjoint(heif.brands(data))


def probe(data: bytes) -> Header:
    """Reads what the boxes say; the turns in them win over those of EXIF."""
    header = heif.probe(data, "AVIF")
    heif.refuse_other(header, b"av01", "AVIF", "AV1 ('av01')")
    header.orientation = header.details.orientation
    return header


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture, cut to its clean aperture; 10 and 12 bits become 16."""
    array = decode_array(_without_metadata(data, *header.details.entries))
    if header.details.crop is not None and array.shape[:2] == (header.height, header.width):
        left, top, right, bottom = header.details.crop
        array = array[top:bottom, left:right]
        header.width, header.height = right - left, bottom - top
    if array.dtype == np.uint16:
        array = spread(array, header.details.bits)
    return Raster(*split_bgra(array))


def _without_metadata(data: bytes, start: int, stop: int) -> bytes:
    """Returns a file whose items of metadata have no meaning any more.

    OpenCV decides whether a file is AVIF by reading the first 500 bytes as if they were all, and takes a file
    for a broken one whose list of items ends in there while its metadata does not.
    """
    entries = data[start:stop].replace(b"Exif", b"skip").replace(b"mime", b"skip")
    return data[:start] + entries + data[stop:]


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be an AVIF file: its 10 and 12 bits do not hold all of 16."""
    return misfit(image, "AVIF", alpha=True, max_side=65535)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    quality = 100 if options.lossless else options.quality
    params = [cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_SPEED, _SPEED]
    array = merge_bgra(image.pixels, image.alpha)
    blocks = (image.icc, image.exif, image.metadata.xmp)
    try:
        data = encode_array(".avif", array, params, *blocks)
    except ImageWriteError:
        if array.shape[2] != 1:
            raise
        data = encode_array(".avif", cv2.merge([array] * 3), params, *blocks)  # OpenCV 4.12
    space = image.space
    if space is None or not space.by_code_points:
        return data
    return _with_space(data, space)


def _with_space(data: bytes, space: ColourSpace) -> bytes:
    """Returns a file of OpenCV's encoder, which knows sRGB alone, with another colour space in it.

    Both places that name one change, the colr box and the sequence header of the AV1 stream, where the former
    has the last word.
    """
    new = struct.pack(">HH", space.primaries, space.transfer)
    box = data.index(b"colrnclx") + 8
    result = bytearray(data)
    result[box : box + 4] = new
    primary = heif.probe(data, "AVIF").details.spans[0][0][0]
    at = _description(data[primary : primary + 64])
    if at is not None:
        _put_bits(result, 8 * primary + at, space.primaries << 8 | space.transfer, 16)
    return bytes(result)


def _description(stream: bytes) -> int | None:
    """Returns at which bit a still picture's AV1 stream names its colours; None when it does not.

    References:
        AV1 Bitstream & Decoding Process Specification, 5.5 (sequence header OBU).
    """
    bits = int.from_bytes(stream, "big")
    total = 8 * len(stream)

    def read(at: int, count: int) -> int:
        return bits >> (total - at - count) & ((1 << count) - 1)

    at = 16 if stream.startswith(_DELIMITER) else 0
    if read(at + 1, 4) != 1 or not read(at + 6, 1):  # no sequence header with a size
        return None
    at += 16 if read(at + 8, 1) == 0 else 24
    profile, reduced = read(at, 3), read(at + 4, 1)
    if not reduced:
        return None
    at += 10
    width, height = read(at, 4) + 1, read(at + 4, 4) + 1
    at += 8 + width + height + 6  # three switches of coding, three of filters
    at += 1 + (profile == 2 and read(at, 1)) + (profile != 1)
    if not read(at, 1) or read(at + 1, 24) == _SRGB_AS_RGB:  # the latter has other fields behind it
        return None
    return at + 1


def _put_bits(data: bytearray, at: int, value: int, count: int) -> None:
    first, last = at // 8, (at + count + 7) // 8
    shift = 8 * last - at - count
    old = int.from_bytes(data[first:last], "big")
    mask = ((1 << count) - 1) << shift
    data[first:last] = (old & ~mask | value << shift).to_bytes(last - first, "big")


FORMAT = Format(
    name="AVIF",
    extensions=(".avif", ".avifs"),
    writes=(".avif",),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    isolated=lambda header: True,
    max_exif=2**31 - 1,
    max_icc=2**31 - 1,
    max_xmp=2**31 - 1,
    holds=frozenset(("cicp",)),
)
