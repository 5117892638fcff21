"""The numbers in a TIFF file.

Deflate and LZMA, whose streams carry check sums, are taken off strip by strip or tile by tile by Python's own
modules. Of other compressions libtiff takes the bytes off, by way of OpenCV or Pillow: it is shown the strips
or tiles as a grey picture of bytes. Depth, byte order, prediction and planes are undone here, because OpenCV
knows no more than four channels and Pillow cuts 16-bit colours to 8.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import Header
from img2img.image.ifd import LONG, Directory, IfdEntry, build, numbers
from img2img.image.image import Pixels
from img2img.image.limits import FREE_BYTES
from img2img.image.opencv import decode_array
from img2img.image.pillow import decode_with

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT = 284, 317, 320, 322, 323
TILE_OFFSETS, TILE_SIZES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT = 324, 325, 332, 338, 339

WHITE_IS_ZERO, GREY, RGB, PALETTE, SEPARATED, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

NONE, LZW, ADOBE_DEFLATE, DEFLATE, PACK_BITS, LZMA, ZSTD = 1, 5, 8, 32946, 32773, 34925, 50000
LOSSLESS = frozenset((NONE, LZW, ADOBE_DEFLATE, DEFLATE, PACK_BITS, LZMA, ZSTD))
IN_PYTHON = frozenset((NONE, ADOBE_DEFLATE, DEFLATE, LZMA))

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LZMA_MEMORY = 2**28  # bytes, four times what its strongest usual setting takes
_MARGIN = 2**16  # bytes that a strip may unpack to beyond twice what the picture needs
_ROWS = 256  # that are unpacked at once


@dataclass
class TiffLayout:
    """What the directory says about the samples."""

    directory: Directory
    bits: int
    kind: int  # sample format
    compression: int
    photometric: int
    planes: int  # 1, or one for each channel
    tile: tuple[int, int] | None  # width, height
    rows: int  # in a strip
    extra: tuple[int, ...]

    def grid(self, header: Header) -> tuple[int, int, int, int]:
        """Returns how many strips or tiles lie across and down, and the width and height of each."""
        width, height = self.tile or (header.width, self.rows)
        return -(-header.width // width), -(-header.height // height), width, height

    def stride(self, header: Header) -> int:
        """Returns how many bytes a row of a strip or tile of one plane has."""
        width = self.tile[0] if self.tile else header.width
        return (width * (header.channels // self.planes) * self.bits + 7) // 8


Segments = tuple[Sequence[int], Sequence[int]]
"""Where strips or tiles begin, and how many bytes each of them has."""


def read_samples(data: bytes, header: Header, layout: TiffLayout) -> Pixels:
    """Returns the numbers in the file (H, W, channels), as they are stored but with prediction undone."""
    if layout.bits not in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64) or layout.kind not in (1, 2, 3):
        raise ImageFormatError(f"TIFF samples of {layout.bits} bits in format {layout.kind} are not read")
    parts = segments(data, header, layout)
    planes = [_plane(data, plane, header, layout) for plane in by_plane(parts, layout)]
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def by_plane(parts: Segments, layout: TiffLayout) -> list[Segments]:
    """Returns the strips or tiles of each plane."""
    n = len(parts[0]) // layout.planes
    return [(parts[0][at : at + n], parts[1][at : at + n]) for at in range(0, n * layout.planes, n)]


def segments(data: bytes, header: Header, layout: TiffLayout) -> Segments:
    """Returns where the strips or tiles are, after making sure that all of them are there.

    What they unpack to is bounded by the picture, and what they take in by the file: parts may be one and the
    same, as tiles of one colour are in some files, but may not overlap.
    """
    directory = layout.directory
    offsets = directory.numbers(STRIP_OFFSETS if layout.tile is None else TILE_OFFSETS)
    sizes = directory.numbers(STRIP_SIZES if layout.tile is None else TILE_SIZES)
    if layout.tile is not None and not offsets:  # SGI's old programs put tiles under the tags of strips
        offsets, sizes = directory.numbers(STRIP_OFFSETS), directory.numbers(STRIP_SIZES)
    across, down, width, height = layout.grid(header)
    needed = across * down * layout.planes
    full = layout.stride(header) * height
    if layout.tile is not None and needed * full > 8 * FREE_BYTES + 256 * len(data):
        raise ImageReadError(f"the TIFF file is broken: its tiles are {width} x {height} pixels")
    offsets = offsets[:needed]
    if not sizes or (needed == 1 and layout.compression == NONE):  # old programs left them out, or wrong
        ends = dict(pairwise((*sorted(set(offsets)), len(data))))
        sizes = tuple(ends[offset] - offset for offset in offsets)
    if len(offsets) < needed or len(sizes) < needed:
        raise ImageReadError("the TIFF file is truncated or broken: parts of the picture are missing")
    if layout.compression in LOSSLESS:
        sizes = tuple(min(size, 2 * full + 1024) for size in sizes)  # nothing that fits is packed to more
    sizes = sizes[:needed]
    if any(offset + size > len(data) or size < 1 for offset, size in zip(offsets, sizes, strict=True)):
        raise ImageReadError("the TIFF file is truncated: parts of the picture lie beyond its end")
    if sum(size for _, size in set(zip(offsets, sizes, strict=True))) > 2 * len(data):
        raise ImageReadError("the TIFF file is broken: the parts of its picture overlap")
    return offsets, sizes


def _plane(data: bytes, parts: Segments, header: Header, layout: TiffLayout) -> Pixels:
    """Returns the samples (H, W, channels) of one plane, tiles put together."""
    channels = header.channels // layout.planes
    across, down, width, height = layout.grid(header)
    total = header.height if layout.tile is None else across * down * height
    rows = _unpacked(data, parts, (total, layout.stride(header)), height, layout)
    samples = _numbers(rows, width, channels, layout)
    if layout.tile is None:
        return samples
    tiles = samples.reshape(down, across, height, width, channels)
    whole = tiles.swapaxes(1, 2).reshape(down * height, across * width, channels)
    return whole[: header.height, : header.width]


def _unpacked(data: bytes, parts: Segments, shape: tuple[int, int], rows: int, layout: TiffLayout) -> Pixels:
    """Returns the bytes (H, stride) of strips or tiles of so many `rows`, one below the other."""
    fill_order = layout.directory.number(FILL_ORDER, 1)
    if layout.compression not in IN_PYTHON:
        grey = {
            WIDTH: shape[1],
            HEIGHT: shape[0],
            BITS: 8,
            COMPRESSION: layout.compression,
            PHOTOMETRIC: GREY,
            FILL_ORDER: fill_order,
            SAMPLES: 1,
            ROWS_PER_STRIP: rows,
        }
        order = layout.directory.order
        file = described(data, order, {tag: numbers(order, LONG, n) for tag, n in grey.items()}, parts)
        if layout.compression != ZSTD:
            return decode_array(file)[:, :, 0]
        from PIL import TiffImagePlugin  # OpenCV's wheels are built without ZSTD

        return decode_with(TiffImagePlugin.TiffImageFile, file).pixels[:, :, 0]
    result = np.empty(shape, np.uint8)
    view = memoryview(data)
    for top, offset, size in zip(range(0, shape[0], rows), *parts, strict=True):
        target = result[top : top + rows].reshape(-1)
        part: bytes | memoryview = view[offset : offset + size]
        if fill_order == 2:
            part = bytes(part).translate(_REVERSED)
        try:
            content = _content(part, target.size, shape[1] * rows, layout.compression)
        except (zlib.error, lzma.LZMAError) as error:
            raise ImageReadError(f"the image data is truncated or broken ({error})") from error
        if len(content) < target.size:
            raise ImageReadError("the TIFF file is truncated or broken: parts of the picture are too short")
        target[:] = np.frombuffer(content, np.uint8, target.size)
    return result


def _content(part: bytes | memoryview, wanted: int, full: int, compression: int) -> bytes | memoryview:
    """Returns what a strip or tile unpacks to; its check sum has been seen unless it was cut off."""
    if compression == NONE:
        return part
    stream = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY) if compression == LZMA else zlib.decompressobj()
    content = stream.decompress(part, 2 * full + _MARGIN)
    if not stream.eof and len(content) not in (wanted, full):
        raise ImageReadError("the TIFF file is truncated or broken: parts of the picture do not end")
    return content


def described(data: bytes, order: str, fields: Mapping[int, IfdEntry], parts: Segments | None) -> bytes:
    """Returns the file with another directory in place of its own, for libtiff.

    It stands behind everything else, so that nothing moves; the file becomes a classic one.

    Args:
        data: The whole file, below 4 gigabytes.
        order: Its byte order.
        fields: What the directory shall say.
        parts: The strips or, when `fields` has tiles, the tiles; None when `fields` says where they are.
    """
    tree = dict(fields)
    if parts is not None:
        offsets, sizes = (TILE_OFFSETS, TILE_SIZES) if TILE_WIDTH in tree else (STRIP_OFFSETS, STRIP_SIZES)
        tree |= {offsets: numbers(order, LONG, *parts[0]), sizes: numbers(order, LONG, *parts[1])}
    padding = b"\0" * (len(data) % 2)
    at = len(data) + len(padding)
    return b"".join((start(order, at), memoryview(data)[8:], padding, build(tree, order, at)))


def start(order: str, at: int) -> bytes:
    """Returns the first eight bytes of a classic file whose directory stands at `at`."""
    return (b"II*\0" if order == "<" else b"MM\0*") + at.to_bytes(4, "little" if order == "<" else "big")


def _numbers(rows: Pixels, width: int, channels: int, layout: TiffLayout) -> Pixels:
    """Returns the samples (H, W, channels) that the bytes of `rows` stand for."""
    bits, order = layout.bits, layout.directory.order
    predictor = layout.directory.number(PREDICTOR, 1) if layout.compression != NONE else 1
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
    values = _wholes(rows, bits, width * channels).reshape(shape)
    if predictor == 2:
        values = values.cumsum(axis=1, dtype=values.dtype) & ((1 << bits) - 1)
    return values


def _wholes(rows: Pixels, bits: int, count: int) -> Pixels:
    """Returns `count` whole numbers of `bits` bits from each row of bytes."""
    result = np.zeros((len(rows), count), np.uint8 if bits < 8 else np.uint16)
    for top in range(0, len(rows), _ROWS):  # a bit is a byte in between
        block = result[top : top + _ROWS]
        singles = np.unpackbits(rows[top : top + _ROWS], axis=1, count=count * bits)
        for bit in range(bits):
            np.bitwise_or(block << 1, singles[:, bit::bits], out=block)
    return result
