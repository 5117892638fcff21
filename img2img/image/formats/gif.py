"""GIF, read only, and only the first picture."""

from __future__ import annotations

import struct

import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats.base import MAX_PARTS, Format, Header, Raster
from img2img.image.pillow import decode_with


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a GIF file does."""
    return data[:6] in (b"GIF87a", b"GIF89a")


def probe(data: bytes) -> Header:
    """Walks the blocks and counts the pictures."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    header = Header(width, height, frames=0)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(MAX_PARTS):
        if at >= len(data) or data[at] == 0x3B:
            break
        if data[at] == 0x2C:
            x, y, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if header.frames == 0:  # a picture larger than its canvas makes the canvas larger
                header.width, header.height = max(width, x + w), max(height, y + h)
            at = _after_blocks(data, at + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
            if at > len(data) and header.frames == 0:
                raise ImageReadError("the GIF file is truncated: it ends within the first picture")
            header.frames += 1
        elif data[at] == 0x21:
            at = _after_blocks(data, at + 2)
        else:
            break
    if header.frames == 0:
        raise ImageReadError("the GIF file holds no picture, or is truncated before it")
    if at >= len(data):
        header.warnings.append("the GIF file ends early, after its first picture")
    return header


def _after_blocks(data: bytes, at: int) -> int:
    """Returns where the chain of data blocks at `at` ends; beyond the file when it is cut or without end."""
    for _ in range(MAX_PARTS):
        if at >= len(data) or data[at] == 0:
            return at + 1
        at += 1 + data[at]
    return len(data) + 1


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the first picture on its canvas; a palette of greys makes one channel."""
    from PIL import GifImagePlugin

    raster = decode_with(GifImagePlugin.GifImageFile, data)
    header.height, header.width = raster.pixels.shape[:2]
    pixels = raster.pixels
    if pixels.shape[2] == 3 and bool((pixels == pixels[:, :, :1]).all()):
        pixels = np.ascontiguousarray(pixels[:, :, :1])
    return Raster(pixels, raster.alpha)


FORMAT = Format(name="GIF", extensions=(".gif",), matches=matches, probe=probe, decode=decode)
