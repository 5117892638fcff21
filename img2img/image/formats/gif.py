"""GIF, read only, and only the first picture.

Pillow undoes the compression. GIF has no checksum, but what damage changes is nearly always how many pixels
there are. So the first picture's data are handed over by themselves, for Pillow would go on into what follows
when they end early; and then once more for a picture with a few more pixels, which they must not fill.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats.base import MAX_PARTS, Format, Header, Raster
from img2img.image.image import Pixels
from img2img.image.levels import channels_of, looked_up, opacity
from img2img.image.pillow import decode_with

_PICTURE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_XMP, _ICC = b"XMP DataXMP", b"ICCRGBG1012"
_XMP_STOP = (
    b"\1\xff\xfe"  # XMP lies there as it is; the bytes behind it lead every reader of blocks to their end
)
_MAX_COMMENTS = 1000


@dataclass
class _GifLayout:
    box: tuple[int, int, int, int]  # x, y, width, height on the canvas
    interlaced: bool
    palette: Pixels  # (N, 3)
    transparent: int | None
    data: slice  # of the first picture


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a GIF file does."""
    return data[:6] in (b"GIF87a", b"GIF89a")


def probe(data: bytes) -> Header:
    """Walks the blocks and counts the pictures."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    shared, at = _palette(data, 13, flags)
    header = Header(width, height, frames=0)
    transparent: int | None = None
    for _ in range(MAX_PARTS):
        if at + 10 > len(data) or data[at] not in (_PICTURE, _EXTENSION):
            break
        if data[at] == _EXTENSION:
            label, start = data[at + 1], at + 2
            at = _after_blocks(data, start)
            if label == _CONTROL and data[start] >= 4 and header.frames == 0:
                transparent = data[start + 4] if data[start + 1] & 1 else None
            elif label in (_COMMENT, _APPLICATION) and at <= len(data):
                _read_extension(label, data[start:at], header)
            continue
        x, y, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
        own, at = _palette(data, at + 10, flags)
        part = slice(at, _after_blocks(data, at + 1))
        if header.frames == 0:  # a picture larger than its canvas makes the canvas larger
            header.width, header.height = max(width, x + w), max(height, y + h)
            layout = _GifLayout((x, y, w, h), bool(flags & 0x40), _colours(own or shared), transparent, part)
            header.channels = channels_of(layout.palette) + (transparent is not None)
            header.details = layout
        header.frames += 1
        at = part.stop
    if header.frames == 0:
        raise ImageReadError("the GIF file holds no picture, or is truncated before it")
    if at >= len(data) or data[at] != _END:
        header.warnings.append("the GIF file is cut or damaged behind its first picture")
    return header


def _palette(data: bytes, at: int, flags: int) -> tuple[bytes | None, int]:
    """Returns the palette at `at`, if the flags say that there is one, and where it ends."""
    stop = at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    return data[at:stop] or None, stop


def _colours(palette: bytes | None) -> Pixels:
    """Returns the colours (N, 3) of a palette; without one, indices are levels of grey."""
    if palette is None:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    return np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)


def _blocks(data: bytes, at: int) -> Iterator[bytes]:
    """Yields the blocks of a chain that is complete."""
    while at < len(data) and data[at]:
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def _after_blocks(data: bytes, at: int) -> int:
    """Returns where the chain of data blocks at `at` ends; beyond the file when it is cut."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _read_extension(label: int, chain: bytes, header: Header) -> None:
    """Takes a comment, XMP or a colour profile."""
    if label == _COMMENT:
        text = b"".join(_blocks(chain, 0))
        if text and len(header.text) < _MAX_COMMENTS:
            try:
                header.text.append(("Comment", text.decode("utf-8")))
            except UnicodeDecodeError:
                header.text.append(("Comment", text.decode("latin-1")))
    elif chain[1:12] == _XMP:
        header.xmp = header.xmp or chain[12:].partition(_XMP_STOP)[0]
    elif chain[1:12] == _ICC:
        header.icc = header.icc or b"".join(_blocks(chain, 12))


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the first picture on its canvas; a palette of greys makes one channel."""
    layout: _GifLayout = header.details
    x, y, width, height = layout.box
    indices = _indices(data, layout)
    if layout.interlaced:
        order = [
            row for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for row in range(first, height, step)
        ]
        straight = np.empty_like(indices)
        straight[order] = indices
        indices = straight
    if indices.shape != (header.height, header.width):
        canvas = np.full((header.height, header.width), layout.transparent or 0, np.uint8)
        canvas[y : y + height, x : x + width] = indices
        indices = canvas
    counts = cv2.calcHist([indices], [0], None, [256], [0, 256]).reshape(-1, 1)
    used = counts[: len(layout.palette)] > 0  # other colours make no grey picture a coloured one
    pixels = looked_up(indices, layout.palette * used)
    if layout.transparent is None:
        return Raster(pixels)
    return Raster(pixels, opacity(indices, np.array([255] * layout.transparent + [0], np.uint8)))


def _indices(data: bytes, layout: _GifLayout) -> Pixels:
    """Returns the palette indices (H, W) in the order in which they are stored.

    Raises:
        ImageReadError: There are fewer than the picture has, or more.
    """
    _, _, width, height = layout.box
    stream = data[layout.data]
    indices = _unpacked(stream, width, height)
    more = width * height + 3  # bits that fill up the last byte may look like two
    least = more // 0xFFFF + 1
    columns = min(range(least, least + 256), key=lambda side: -more % side)
    try:
        _unpacked(stream, columns, -(-more // columns))
    except ImageReadError:
        return indices
    raise ImageReadError("the GIF file is broken: it has more picture data than its picture has room for")


def _unpacked(stream: bytes, width: int, height: int) -> Pixels:
    """Returns indices (height, width) from a chain of blocks, which does not know how they are arranged."""
    from PIL import GifImagePlugin

    head = struct.pack("<6sHHBBB", b"GIF89a", width, height, 0, 0, 0)
    place = struct.pack("<BHHHHB", _PICTURE, 0, 0, width, height, 0)
    return decode_with(GifImagePlugin.GifImageFile, b"".join((head, place, stream))).pixels[:, :, 0]


FORMAT = Format(name="GIF", extensions=(".gif",), matches=matches, probe=probe, decode=decode)
