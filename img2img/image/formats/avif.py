"""AVIF; of a sequence the first picture."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from img2img.errors import ImageReadError, ImageWriteError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.isobmff import Items, boxes, read_items
from img2img.image.image import Image
from img2img.image.levels import spread
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra

# (quarter turns counter-clockwise, mirror axis or None) as the EXIF orientation that does the same
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip
_MAX_TRACKS = 100


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as an AVIF file does, by any of its brands."""
    if data[4:8] != b"ftyp":
        return False
    stop = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[at : at + 4] for at in range(8, stop, 4) if at != 12]
    return b"avif" in brands or b"avis" in brands


def probe(data: bytes) -> Header:
    """Reads the properties of the primary picture, its metadata, and the length of a sequence."""
    items = Items()
    header = Header(0, 0, details=8)
    for kind, start, stop in boxes(data, 0, len(data)):
        if kind == b"meta":
            items = read_items(data, start + 4, stop)
        elif kind == b"moov":
            header.frames = _sequence_length(data, start, stop)
    turns, mirror = 0, None
    for name, body in items.properties_of(items.primary):
        if name == b"ispe":
            header.width, header.height = struct.unpack_from(">II", body, 4)
        elif name == b"av1C":
            header.details = 12 if body[2] & 0x20 else 10 if body[2] & 0x40 else 8
        elif name == b"irot":
            turns = body[0] & 3
        elif name == b"imir":
            mirror = body[0] & 1
        elif name == b"colr" and body[:4] in (b"prof", b"rICC"):
            header.icc = body[4:] or None
    if header.width == 0:
        raise ImageReadError("the AVIF file names no size for its picture")
    if turns or mirror is not None:
        header.orientation = _ORIENTATIONS[turns, mirror]
    for block in items.content(data, b"Exif"):
        (skip,) = struct.unpack_from(">I", block)
        header.exif = block[4 + skip :] or None
    for block in items.content(data, b"mime"):
        if b"xmpmeta" in block:
            header.xmp = block
    return header


def _sequence_length(data: bytes, start: int, stop: int) -> int:
    """Returns the number of samples in the longest track of a movie box."""
    longest = 1
    path = {b"trak", b"mdia", b"minf", b"stbl"}
    stack = [(start, stop)]
    for _ in range(_MAX_TRACKS):
        if not stack:
            break
        for kind, a, b in boxes(data, *stack.pop()):
            if kind in path:
                stack.append((a, b))
            elif kind == b"stsz":
                longest = max(longest, struct.unpack_from(">I", data, a + 8)[0])
    return longest


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; 10 and 12 bits become 16."""
    array = decode_array(data)
    if array.dtype == np.uint16:
        array = spread(array, header.details)
    return Raster(*split_bgra(array))


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be an AVIF file: its 10 and 12 bits do not hold all of 16."""
    return misfit(image, "AVIF", alpha=True, max_side=65535)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    params = [
        cv2.IMWRITE_AVIF_QUALITY,
        100 if options.lossless else options.quality,
        cv2.IMWRITE_AVIF_SPEED,
        8,
    ]
    array = merge_bgra(image.pixels, image.alpha)
    try:
        return encode_array(".avif", array, params, image.icc, image.exif)
    except ImageWriteError:
        if array.shape[2] != 1:
            raise
        return encode_array(".avif", cv2.merge([array] * 3), params, image.icc, image.exif)  # OpenCV 4.12


FORMAT = Format(
    name="AVIF",
    extensions=(".avif",),
    writes=(".avif",),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    max_exif=2**31 - 1,
    max_icc=2**31 - 1,
)
