"""Frames of animated PNG files as they are seen, in their own depth.

Each frame is decoded as the PNG file that it would be alone, and they are put together here as the PNG
specification says: which part a frame covers, whether it lies over what is there, and what it leaves behind.
Pillow shows 8 bits of 16, puts half transparent frames over others as if these were opaque, and forgets what
was there before a frame that is to leave no trace.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats import recognise
from img2img.image.formats.base import Raster
from img2img.image.formats.png_metadata import chunk_of
from img2img.image.image import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_READ = (b"IHDR", b"PLTE", b"tRNS", b"fcTL", b"IDAT", b"fdAT", b"IEND")
_NUMBERED = (b"fcTL", b"fdAT")
_NOTHING, _AS_BEFORE = 1, 2  # what a frame leaves behind; 0 is itself
_OVER = 1  # how it is put there; 0 is in place of everything


@dataclass
class _StoredFrame:
    """A frame as it is stored: its place, and its picture data."""

    width: int
    height: int
    left: int
    top: int
    milliseconds: float
    leaves: int
    blends: int
    data: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, control: bytes) -> _StoredFrame:
        width, height, left, top, delay, unit, leaves, blends = struct.unpack(">4x4I2H2B", control)
        return cls(width, height, left, top, 1000 * delay / (unit or 100), leaves, blends)

    def decoded(self, head: Mapping[bytes, bytes]) -> Raster:
        """Returns the picture; `head` has the chunks before it, header, palette and transparent colours."""
        size = struct.pack(">II", self.width, self.height)
        chunks = {**head, b"IHDR": size + head[b"IHDR"][8:], b"IDAT": b"".join(self.data), b"IEND": b""}
        alone = _SIGNATURE + b"".join(chunk_of(kind, body) for kind, body in chunks.items())
        png = recognise(alone)
        return png.decode(alone, png.probe(alone))


def seen(data: bytes) -> Iterator[tuple[Pixels, Pixels | None, float]]:
    """Yields what is seen of a PNG file: (H, W, C) of uint8 or uint16, alpha, and for how many milliseconds.

    A still picture that is no frame is left out.

    Raises:
        ImageReadError: The file is broken behind what was yielded.
    """
    canvas: Pixels | None = None  # with alpha as its last channel where there is one
    for head, part in _parts(data):
        width, height = struct.unpack_from(">II", head[b"IHDR"])
        rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
        if rows.stop > height or columns.stop > width:
            raise ImageReadError("a frame lies beside the picture")
        raster = part.decoded(head)
        has_alpha = raster.alpha is not None
        frame = raster.pixels if raster.alpha is None else np.dstack((raster.pixels, raster.alpha))
        first = canvas is None
        if canvas is None:
            canvas = np.zeros((height, width, frame.shape[2]), frame.dtype)
        there = canvas[rows, columns]
        before = there.copy()
        there[:] = _over(frame, there) if part.blends == _OVER and has_alpha else frame
        pixels, alpha = (canvas[..., :-1], canvas[..., -1].copy()) if has_alpha else (canvas, None)
        yield pixels.copy(), alpha, part.milliseconds
        if part.leaves == _AS_BEFORE and not first:
            there[:] = before
        elif part.leaves in (_NOTHING, _AS_BEFORE):
            there[:] = 0


def _parts(data: bytes) -> Iterator[tuple[Mapping[bytes, bytes], _StoredFrame]]:
    """Yields the chunks before the picture data, in order, and a frame."""
    head: dict[bytes, bytes] = {}
    part: _StoredFrame | None = None
    for kind, body in _chunks(data):
        if kind in (b"IHDR", b"PLTE", b"tRNS"):
            head.setdefault(kind, body)
        elif kind == b"fcTL":
            if part is not None:
                yield head, part
            part = _StoredFrame.of(body)
        elif part is not None and kind != b"IEND":  # else the still picture is none of the frames
            part.data.append(body if kind == b"IDAT" else body[4:])
    if part is not None:
        yield head, part


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and body of the chunks that count here, as far as the file goes.

    Raises:
        ImageReadError: A checksum is wrong, or something is missing between two parts of the animation.
    """
    at, number = len(_SIGNATURE), 0
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + size
        if stop > len(data):
            raise ImageReadError("it ends within a picture")
        body = data[at + 8 : stop - 4]
        at = stop
        if kind not in _READ:
            continue
        if int.from_bytes(data[stop - 4 : stop], "big") != zlib.crc32(body, zlib.crc32(kind)):
            raise ImageReadError("a checksum is wrong")
        if kind in _NUMBERED:
            if body[:4] != struct.pack(">I", number):
                raise ImageReadError("a part of it is missing")
            number += 1
        yield kind, body
        if kind == b"IEND":
            return


def _over(frame: Pixels, there: Pixels) -> Pixels:
    """Returns `frame` over what is `there`, both (H, W, C) with alpha as the last channel, not multiplied."""
    white = np.iinfo(frame.dtype).max
    opacity = frame[..., -1:] / white
    behind = there[..., -1:] / white * (1 - opacity)
    both = opacity + behind
    colours = frame[..., :-1] * opacity + there[..., :-1] * behind
    colours /= np.where(both > 0, both, 1)
    made: Pixels = np.concatenate((colours, both * white), 2).round().astype(frame.dtype)
    return made
