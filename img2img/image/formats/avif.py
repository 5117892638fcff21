"""AVIF; of a sequence the first picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image
from img2img.image.levels import spread
from img2img.image.opencv import decode_with_metadata, encode_array, merge_bgra, split_bgra

# (quarter turns counter-clockwise, mirror axis or None) as the EXIF orientation that does the same
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 7, (2, 0): 2, (3, 0): 5,
    (0, 1): 2, (1, 1): 5, (2, 1): 4, (3, 1): 7,
}  # fmt: skip
_MAX_BOXES = 10_000


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as an AVIF file does, by any of its brands."""
    if data[4:8] != b"ftyp":
        return False
    stop = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[at : at + 4] for at in range(8, stop, 4) if at != 12]
    return b"avif" in brands or b"avis" in brands


def boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each box between `start` and `stop`, and where its content starts and stops.

    Raises:
        ImageReadError: A box is longer than what is left of the file.
    """
    for _ in range(_MAX_BOXES):
        if start + 8 > stop:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        end = stop if size == 0 else start + size
        if end > stop or end < body:
            raise ImageReadError("the file is truncated or its boxes are broken")
        yield kind, body, end
        start = end
    raise ImageReadError(f"the file has more than {_MAX_BOXES} boxes")


def probe(data: bytes) -> Header:
    """Finds the properties of the primary picture, and the length of a sequence."""
    primary, owned = 0, {}
    properties: list[tuple[bytes, bytes]] = []
    frames = 1
    for kind, start, stop in boxes(data, 0, len(data)):
        if kind == b"meta":
            for inner, a, b in boxes(data, start + 4, stop):
                if inner == b"pitm":
                    wide = data[a] != 0
                    primary = int.from_bytes(data[a + 4 : a + (8 if wide else 6)], "big")
                elif inner == b"iprp":
                    for part, c, d in boxes(data, a, b):
                        if part == b"ipco":
                            properties = [(name, data[e:f]) for name, e, f in boxes(data, c, d)]
                        elif part == b"ipma":
                            owned.update(_associations(data[c:d]))
        elif kind == b"moov":
            frames = _sequence_length(data, start, stop)
    header = Header(0, 0, frames=frames)
    turns, mirror = 0, None
    for number in owned.get(primary, []):
        if not 1 <= number <= len(properties):
            continue
        name, body = properties[number - 1]
        if name == b"ispe":
            header.width, header.height = struct.unpack_from(">II", body, 4)
        elif name == b"av1C":
            header.details = 12 if body[2] & 0x20 else 10 if body[2] & 0x40 else 8
        elif name == b"irot":
            turns = body[0] & 3
        elif name == b"imir":
            mirror = body[0] & 1
    if header.width == 0:
        raise ImageReadError("the AVIF file names no size for its picture")
    if turns or mirror is not None:
        header.orientation = _ORIENTATIONS[turns, mirror]
    return header


def _associations(body: bytes) -> dict[int, list[int]]:
    """Returns the numbers of the properties of each picture, in their order."""
    version, wide = body[0], body[3] & 1
    (count,) = struct.unpack_from(">I", body, 4)
    at, owned = 8, {}
    for _ in range(min(count, _MAX_BOXES)):
        width = 4 if version else 2
        item = int.from_bytes(body[at : at + width], "big")
        at += width
        n = body[at]
        at += 1
        step, mask = (2, 0x7FFF) if wide else (1, 0x7F)
        owned[item] = [
            int.from_bytes(body[at + i * step : at + (i + 1) * step], "big") & mask for i in range(n)
        ]
        at += n * step
    return owned


def _sequence_length(data: bytes, start: int, stop: int) -> int:
    """Returns the number of samples in the longest track of a movie box."""
    longest = 1
    path = {b"trak", b"mdia", b"minf", b"stbl"}
    stack = [(start, stop)]
    while stack:
        for kind, a, b in boxes(data, *stack.pop()):
            if kind in path:
                stack.append((a, b))
            elif kind == b"stsz":
                longest = max(longest, struct.unpack_from(">I", data, a + 8)[0])
    return longest


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture and takes its metadata; 10 and 12 bits become 16."""
    array, metadata = decode_with_metadata(data)
    header.icc = metadata.get(cv2.IMAGE_METADATA_ICCP) or None
    header.exif = metadata.get(cv2.IMAGE_METADATA_EXIF) or None
    header.xmp = metadata.get(cv2.IMAGE_METADATA_XMP) or None
    if array.dtype == np.uint16:
        array = spread(array, header.details or 10)
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
    return encode_array(".avif", merge_bgra(image.pixels, image.alpha), params, image.icc, image.exif)


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
