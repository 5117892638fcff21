"""The numbers in a TIFF file.

libtiff, by way of OpenCV or Pillow, only takes the compression off: it is shown the strips or tiles as a grey
picture of bytes. Depth, byte order, prediction and planes are undone here, because OpenCV knows no more than
four channels and Pillow cuts 16-bit colours to 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import Header
from img2img.image.ifd import LONG, SHORT, Directory, Tree, build, numbers
from img2img.image.image import Pixels
from img2img.image.opencv import decode_array
from img2img.image.pillow import decode_with

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT = 284, 317, 320, 322, 323
TILE_OFFSETS, TILE_SIZES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 324, 325, 332, 338, 339
XMP, ICC = 700, 34675

WHITE_IS_ZERO, GREY, RGB, PALETTE, SEPARATED, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

_NOT_IN_OPENCV = frozenset((34925, 50000))  # LZMA and ZSTD, which its wheels are built without
_ROWS = 256  # that are unpacked at once


@dataclass
class Layout:
    """What the directory says about the samples."""

    directory: Directory
    is_big: bool
    bits: int
    kind: int  # sample format
    compression: int
    photometric: int
    planes: int  # 1, or one for each channel
    tile: tuple[int, int] | None  # width, height
    rows: int  # in a strip
    extra: tuple[int, ...]


def read_samples(data: bytes, header: Header, layout: Layout) -> Pixels:
    """Returns the numbers in the file (H, W, channels), as they are stored but with prediction undone."""
    if layout.bits not in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64) or layout.kind not in (1, 2, 3):
        raise ImageFormatError(f"TIFF samples of {layout.bits} bits in format {layout.kind} are not read")
    per_plane = header.channels // layout.planes
    offsets, sizes = _segments(data, header, layout)
    n = len(offsets) // layout.planes
    planes = []
    for plane in range(layout.planes):
        own = slice(plane * n, (plane + 1) * n)
        planes.append(_plane(data, offsets[own], sizes[own], header, layout, per_plane))
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def _segments(data: bytes, header: Header, layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns where the strips or tiles are, after making sure that all of them are there."""
    directory = layout.directory
    if layout.tile is None:
        offsets, sizes = directory.numbers(STRIP_OFFSETS), directory.numbers(STRIP_SIZES)
        needed = -(-header.height // max(layout.rows, 1))
    else:
        width, height = layout.tile
        if width < 1 or height < 1 or width * height > max(2**24, 4 * header.width * header.height):
            raise ImageReadError(f"the TIFF file is broken: its tiles are {width} x {height} pixels")
        offsets, sizes = directory.numbers(TILE_OFFSETS), directory.numbers(TILE_SIZES)
        needed = -(-header.width // width) * -(-header.height // height)
    needed *= layout.planes
    if len(offsets) < needed:
        raise ImageReadError("the TIFF file is truncated or broken: parts of the picture are missing")
    offsets = offsets[:needed]
    if len(sizes) < needed:
        if needed > 1 or layout.compression != 1:
            raise ImageReadError(
                "the TIFF file is broken: it does not say how long the parts of its picture are"
            )
        sizes = (len(data) - offsets[0],)  # old files with one uncompressed strip may leave it out
    sizes = sizes[:needed]
    if any(offset + size > len(data) or size == 0 for offset, size in zip(offsets, sizes, strict=True)):
        raise ImageReadError("the TIFF file is truncated: parts of the picture lie beyond its end")
    return offsets, sizes


def _plane(
    data: bytes,
    offsets: tuple[int, ...],
    sizes: tuple[int, ...],
    header: Header,
    layout: Layout,
    channels: int,
) -> Pixels:
    """Returns the samples (H, W, channels) of one plane, tiles put together."""
    width, height = (header.width, layout.rows) if layout.tile is None else layout.tile
    stride = (width * channels * layout.bits + 7) // 8
    if layout.tile is None:
        rows = _uncompressed(data, offsets, sizes, stride, header.height, height, layout)
        return _numbers(rows, width, channels, layout)
    across = -(-header.width // width)
    down = -(-header.height // height)
    rows = _uncompressed(data, offsets, sizes, stride, across * down * height, height, layout)
    tiles = _numbers(rows, width, channels, layout).reshape(down, across, height, width, channels)
    whole = tiles.swapaxes(1, 2).reshape(down * height, across * width, channels)
    return whole[: header.height, : header.width]


def _uncompressed(
    data: bytes,
    offsets: tuple[int, ...],
    sizes: tuple[int, ...],
    stride: int,
    height: int,
    rows: int,
    layout: Layout,
) -> Pixels:
    """Returns the bytes of the segments (height, stride), one below the other."""
    segments = [data[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True)]
    reverse = layout.directory.number(FILL_ORDER, 1) == 2
    if layout.compression == 1:
        full, last = stride * rows, stride * (height - rows * (len(segments) - 1))
        wanted = [*[full] * (len(segments) - 1), last]
        if any(len(segment) < size for segment, size in zip(segments, wanted, strict=True)):
            raise ImageReadError("the TIFF file is truncated or broken: parts of the picture are too short")
        joined = b"".join(segment[:size] for segment, size in zip(segments, wanted, strict=True))
        pixels = np.frombuffer(joined, np.uint8).reshape(height, stride)
        return np.packbits(np.unpackbits(pixels, axis=1, bitorder="little"), axis=1) if reverse else pixels
    grey = _grey_file(segments, stride, height, rows, layout, reverse)
    if layout.compression in _NOT_IN_OPENCV:
        from PIL import TiffImagePlugin

        return decode_with(TiffImagePlugin.TiffImageFile, grey).pixels[:, :, 0]
    return decode_array(grey)[:, :, 0]


def _grey_file(
    segments: list[bytes], stride: int, height: int, rows: int, layout: Layout, reverse: bool
) -> bytes:
    """Returns a TIFF file in which `segments` are the strips of a grey picture of `stride` columns."""
    order, at, offsets = "<", 8, []
    for segment in segments:
        offsets.append(at)
        at += len(segment) + len(segment) % 2
    tree: Tree = {
        WIDTH: numbers(order, LONG, stride),
        HEIGHT: numbers(order, LONG, height),
        BITS: numbers(order, SHORT, 8),
        COMPRESSION: numbers(order, SHORT, layout.compression),
        PHOTOMETRIC: numbers(order, SHORT, GREY),
        FILL_ORDER: numbers(order, SHORT, 2 if reverse else 1),
        STRIP_OFFSETS: numbers(order, LONG, *offsets),
        SAMPLES: numbers(order, SHORT, 1),
        ROWS_PER_STRIP: numbers(order, LONG, rows),
        STRIP_SIZES: numbers(order, LONG, *map(len, segments)),
    }
    body = b"".join(segment + b"\0" * (len(segment) % 2) for segment in segments)
    return b"II*\0" + at.to_bytes(4, "little") + body + build(tree, order, at)


def _numbers(rows: Pixels, width: int, channels: int, layout: Layout) -> Pixels:
    """Returns the samples (H, W, channels) that the bytes of `rows` stand for."""
    bits, order = layout.bits, layout.directory.order
    predictor = layout.directory.number(PREDICTOR, 1) if layout.compression != 1 else 1
    shape = (len(rows), width, channels)
    if predictor == 3:
        if layout.kind != FLOAT or bits not in (16, 32, 64):
            raise ImageReadError("the TIFF file is broken: prediction for floating point on other numbers")
        size = bits // 8
        steps = rows.reshape(len(rows), -1, channels).cumsum(axis=1, dtype=np.uint8)
        shuffled = steps.reshape(len(rows), size, width * channels).swapaxes(1, 2)  # most significant first
        return np.ascontiguousarray(shuffled).view(f">f{size}").reshape(shape)
    if bits in (8, 16, 32, 64):
        code = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[layout.kind]
        if code + str(bits) == "f8":
            raise ImageFormatError("TIFF samples of 8-bit floating point are not read")
        stored = np.ascontiguousarray(rows).view(f"{order}u{bits // 8}").reshape(shape)
        if predictor == 2:  # of floating point numbers, too, it takes the differences of their bits
            stored = stored.cumsum(axis=1, dtype=stored.dtype.newbyteorder("="))
        return stored.view(stored.dtype.str.replace("u", code))
    if layout.kind == FLOAT or layout.kind == SIGNED or bits == 24:
        raise ImageFormatError(f"TIFF samples of {bits} bits in format {layout.kind} are not read")
    values = _unpacked(rows, bits, width * channels).reshape(shape)
    if predictor == 2:
        values = values.cumsum(axis=1, dtype=values.dtype) & ((1 << bits) - 1)
    return values


def _unpacked(rows: Pixels, bits: int, count: int) -> Pixels:
    """Returns `count` whole numbers of `bits` bits from each row of bytes."""
    result = np.zeros((len(rows), count), np.uint8 if bits < 8 else np.uint16)
    for top in range(0, len(rows), _ROWS):  # a bit is a byte in between
        block = result[top : top + _ROWS]
        singles = np.unpackbits(rows[top : top + _ROWS], axis=1, count=count * bits)
        for bit in range(bits):
            np.bitwise_or(block << 1, singles[:, bit::bits], out=block)
    return result
