"""TIFF: any number of channels, whole numbers of 1 to 16 bits and floating point.

libtiff, by way of OpenCV, only takes the compression off: it is shown the file's strips or tiles as a grey
picture of bytes. What the bytes mean (depth, byte order, prediction, palette, alpha, CMYK) is decided here,
because OpenCV and Pillow each get a good part of it wrong (measured on shared test files: OpenCV gives
palette numbers and raw CMYK, Pillow cuts 16-bit colours to 8, neither has more than four channels).
Kinds whose compression is tied to what the bytes mean, JPEG and fax, go to Pillow as a whole.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError, ImageWriteError
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.ifd import (
    EXIF_IFD,
    GPS_IFD,
    LONG,
    SHORT,
    UNDEFINED,
    BrokenDirectoryError,
    Directory,
    Field,
    Reader,
    Tree,
    build,
    numbers,
)
from img2img.image.image import Image, Pixels, white_of
from img2img.image.levels import spread
from img2img.image.opencv import decode_array
from img2img.image.pillow import decode_with

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT = 284, 317, 320, 322, 323
TILE_OFFSETS, TILE_SIZES, EXTRA_SAMPLES, SAMPLE_FORMAT, XMP, ICC = 324, 325, 338, 339, 700, 34675

_STRUCTURE = frozenset((*range(WIDTH, STRIP_SIZES + 1), PLANAR, *range(PREDICTOR, SAMPLE_FORMAT + 1))) - {
    *range(269, 273),  # descriptions in words
}
# What describes the picture rather than its storage, and may go from one file to another.
_DESCRIPTION = frozenset(
    (*range(40091, 40096), 270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 318, 319, 532, 33432)
)  # fmt: skip

_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _SEPARATED, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_LOSSLESS = {
    1: "none",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    34925: "LZMA",
    50000: "ZSTD",
}
_WHOLE = {2: "fax", 3: "fax", 4: "fax", 6: "JPEG", 7: "JPEG", 32771: "fax"}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_ASSOCIATED, _STRAIGHT = 1, 2

_STRIP = 2**20  # bytes in a strip that we write, before compression
_ROWS = 256  # that are unpacked at once
_LEVEL = 4  # zlib effort: 0.45 s for 12 megapixels, within a tenth of the smallest


@dataclass
class _Layout:
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


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a TIFF file does, classic or big."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def probe(data: bytes) -> Header:
    """Reads the first directory and counts the others."""
    try:
        reader = Reader(data)
        directory = reader.directory(reader.first)
    except BrokenDirectoryError as error:
        raise ImageReadError(f"the TIFF file is truncated or broken: {error}") from error
    if directory.broken & _STRUCTURE:
        raise ImageReadError("the TIFF file is truncated or broken: what describes its picture is not in it")
    width, height = directory.number(WIDTH, 0), directory.number(HEIGHT, 0)
    channels = directory.number(SAMPLES, 1)
    bits = directory.numbers(BITS) or (1,)
    kinds = directory.numbers(SAMPLE_FORMAT) or (_UNSIGNED,)
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise ImageFormatError(f"this TIFF file has channels of different depths {bits}, which is not read")
    tile = None
    if TILE_WIDTH in directory.fields:
        tile = directory.number(TILE_WIDTH, 0), directory.number(TILE_HEIGHT, 0)
    layout = _Layout(
        directory=directory,
        is_big=reader.is_big,
        bits=bits[0],
        kind=_UNSIGNED if kinds[0] == 4 else kinds[0],
        compression=directory.number(COMPRESSION, 1),
        photometric=directory.number(PHOTOMETRIC, _GREY),
        planes=channels if directory.number(PLANAR, 1) == 2 else 1,
        tile=tile,
        rows=min(directory.number(ROWS_PER_STRIP, height) or height, height),
        extra=directory.numbers(EXTRA_SAMPLES),
    )
    header = Header(width, height, channels, frames=_count(reader, directory), details=layout)
    if ICC in directory.fields:
        header.icc = directory.fields[ICC].raw or None
    if XMP in directory.fields:
        header.xmp = directory.fields[XMP].raw
    header.orientation = directory.number(ORIENTATION, 0)
    if not 1 <= header.orientation <= 8:
        header.orientation = None
    header.exif = _description(reader)
    if directory.broken:
        header.warnings.append("some tags of the TIFF file point outside of it and were ignored")
    return header


def _count(reader: Reader, directory: Directory) -> int:
    """Returns the number of directories in the chain; a loop ends it."""
    seen, at = {directory.start}, directory.next
    while at and at not in seen and len(seen) <= MAX_PARTS:
        try:
            following = reader.next_after(at)
        except BrokenDirectoryError:
            break
        seen.add(at)
        at = following
    return len(seen)


def _description(reader: Reader) -> bytes | None:
    """Returns what the file says about its picture as an EXIF block, or None when it says nothing."""
    tree = reader.tree(reader.first)
    kept: Tree = {
        tag: item for tag, item in tree.items() if tag in _DESCRIPTION or tag in (EXIF_IFD, GPS_IFD)
    }
    if not kept:
        return None
    magic = b"II*\0\x08\0\0\0" if reader.order == "<" else b"MM\0*\0\0\0\x08"
    return magic + build(kept, reader.order, 8)


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the first picture."""
    layout: _Layout = header.details
    if layout.compression in _WHOLE or (
        layout.compression in _LOSSLESS and layout.photometric in (_YCBCR, _LAB) and layout.bits == 8
    ):
        from PIL import TiffImagePlugin

        return decode_with(TiffImagePlugin.TiffImageFile, _not_turned(data, layout))
    if layout.compression not in _LOSSLESS:
        raise ImageFormatError(f"the compression {layout.compression} of this TIFF file is not read")
    samples = _samples(data, header, layout)
    return _interpret(samples, header, layout)


def _not_turned(data: bytes, layout: _Layout) -> bytes:
    """Returns the file with orientation 1, because Pillow turns some TIFF pictures upright by itself."""
    field = layout.directory.fields.get(ORIENTATION)
    if field is None or layout.is_big:
        return data
    changed = bytearray(data)
    line = numbers(layout.directory.order, SHORT, 1)
    struct.pack_into(
        f"{layout.directory.order}HI4s", changed, field.entry + 2, SHORT, 1, line.raw.ljust(4, b"\0")
    )
    return bytes(changed)


def _samples(data: bytes, header: Header, layout: _Layout) -> Pixels:
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


def _segments(data: bytes, header: Header, layout: _Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
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
    layout: _Layout,
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
    layout: _Layout,
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
    return decode_array(_grey_file(segments, stride, height, rows, layout, reverse))[:, :, 0]


def _grey_file(
    segments: list[bytes], stride: int, height: int, rows: int, layout: _Layout, reverse: bool
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
        PHOTOMETRIC: numbers(order, SHORT, _GREY),
        FILL_ORDER: numbers(order, SHORT, 2 if reverse else 1),
        STRIP_OFFSETS: numbers(order, LONG, *offsets),
        SAMPLES: numbers(order, SHORT, 1),
        ROWS_PER_STRIP: numbers(order, LONG, rows),
        STRIP_SIZES: numbers(order, LONG, *map(len, segments)),
    }
    body = b"".join(segment + b"\0" * (len(segment) % 2) for segment in segments)
    return b"II*\0" + at.to_bytes(4, "little") + body + build(tree, order, at)


def _numbers(rows: Pixels, width: int, channels: int, layout: _Layout) -> Pixels:
    """Returns the samples (H, W, channels) that the bytes of `rows` stand for."""
    bits, order = layout.bits, layout.directory.order
    predictor = layout.directory.number(PREDICTOR, 1) if layout.compression != 1 else 1
    shape = (len(rows), width, channels)
    if predictor == 3:
        if layout.kind != _FLOAT:
            raise ImageReadError("the TIFF file is broken: prediction for floating point on whole numbers")
        size = bits // 8
        steps = rows.reshape(len(rows), -1, channels).cumsum(axis=1, dtype=np.uint8)
        shuffled = steps.reshape(len(rows), size, width * channels).swapaxes(1, 2)  # most significant first
        return np.ascontiguousarray(shuffled).view(f">f{size}").reshape(shape)
    if bits in (8, 16, 32, 64):
        code = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}[layout.kind]
        if code + str(bits) == "f8":
            raise ImageFormatError("TIFF samples of 8-bit floating point are not read")
        stored = np.ascontiguousarray(rows).view(f"{order}{code}{bits // 8}").reshape(shape)
        if predictor == 2:
            stored = stored.cumsum(axis=1, dtype=stored.dtype.newbyteorder("="))
        return stored
    if layout.kind == _FLOAT or layout.kind == _SIGNED or bits == 24:
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


def _interpret(samples: Pixels, header: Header, layout: _Layout) -> Raster:
    """Returns colours and alpha from stored samples."""
    samples = _standard_depth(samples, header, layout)
    colours = {_WHITE_IS_ZERO: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4}.get(layout.photometric)
    if colours is None:
        raise ImageFormatError(f"colours of the kind {layout.photometric} in a TIFF file are not read")
    channels = header.channels
    if channels < colours:
        raise ImageReadError(f"the TIFF file is broken: {channels} channels cannot hold its colours")
    extra = layout.extra[: channels - colours]
    if not extra and channels - colours == 1:
        extra = (_STRAIGHT,)  # one more channel that says nothing of itself is alpha
    alpha = None
    for i, meaning in enumerate(extra):
        if meaning in (_ASSOCIATED, _STRAIGHT):
            at = channels - len(extra) + i
            alpha = np.ascontiguousarray(samples[:, :, at])
            samples = np.delete(samples, at, axis=2)
            if meaning == _ASSOCIATED:
                samples = _straight(samples, alpha)
            break
    if layout.photometric == _PALETTE:
        return Raster(_paletted(samples, layout), alpha)
    if layout.photometric == _SEPARATED:
        if layout.directory.number(332, 1) != 1 or samples.dtype == np.float32:
            raise ImageFormatError("this TIFF file has inks other than CMYK, which are not read")
        header.warnings.append("the CMYK picture was converted to RGB without its colour profile")
        return Raster(_from_cmyk(samples[:, :, :4]), alpha)
    if layout.photometric == _WHITE_IS_ZERO:
        samples = samples.dtype.type(white_of(samples.dtype)) - samples
    return Raster(np.ascontiguousarray(samples), alpha)


def _standard_depth(samples: Pixels, header: Header, layout: _Layout) -> Pixels:
    """Returns the samples as uint8, uint16 or float32."""
    if layout.kind == _FLOAT:
        if layout.bits == 64:
            header.warnings.append("floating point numbers of 64 bits were rounded to 32")
        return samples.astype(np.float32)
    if layout.photometric == _PALETTE:
        return samples.astype(np.uint16 if layout.bits > 8 else np.uint8)
    if layout.bits > 16 or layout.kind == _SIGNED:
        low, high = int(samples.min()), int(samples.max())
        if low < 0 or high > 65535:
            raise ImageFormatError(
                f"this TIFF file holds whole numbers from {low} to {high}; 0 to 65535 are read, "
                "convert it to 16 bits or floating point first"
            )
        name = f"{'signed ' if layout.kind == _SIGNED else ''}{layout.bits}-bit"
        header.warnings.append(f"{name} numbers were taken as unsigned 16-bit ones")
        return samples.astype(np.uint16)
    return spread(samples.astype(samples.dtype.newbyteorder("="), copy=False), layout.bits)


def _paletted(indices: Pixels, layout: _Layout) -> Pixels:
    """Returns the colours of a palette, as grey when it has only greys."""
    entries = layout.directory.numbers(COLOUR_MAP)
    size = 1 << layout.bits
    if len(entries) < 3 * size:
        raise ImageReadError("the TIFF file is broken: its palette is too short")
    table = np.array(entries[: 3 * size], np.uint32).reshape(3, size).T
    if int(table.max()) > 255:  # some old programs wrote 8 bits where 16 belong
        table >>= 8  # right for files that hold v * 256 and for those that hold v * 257
    palette = table.astype(np.uint8)
    if bool((palette == palette[:, :1]).all()):
        palette = palette[:, :1]
    return palette[indices[:, :, 0]]


def _straight(colours: Pixels, alpha: Pixels) -> Pixels:
    """Returns colours that were multiplied with alpha without it; they are black where nothing shows."""
    white = white_of(colours.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        divided = colours.astype(np.float64) * white / alpha[:, :, None]
    divided = np.where(alpha[:, :, None] > 0, divided, 0.0)
    if colours.dtype == np.float32:
        return divided.astype(np.float32)
    return np.clip(divided + 0.5, 0, white).astype(colours.dtype)


def _from_cmyk(inks: Pixels) -> Pixels:
    """Returns RGB as simple arithmetic gives it: what light the inks leave."""
    white = np.uint32(white_of(inks.dtype))
    light = white - inks.astype(np.uint32)
    return ((light[:, :, :3] * light[:, :, 3:] + white // 2) // white).astype(inks.dtype)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a TIFF file."""
    if image.pixels.nbytes + (image.alpha.nbytes if image.alpha is not None else 0) > 4_000_000_000:
        return "TIFF holds at most 4 gigabytes, and the picture has more"
    return misfit(image, "TIFF", dtypes=("uint8", "uint16", "float32"), channels=None, alpha=True)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits, with Deflate and prediction; in the byte order of its EXIF block."""
    order: Literal["<", ">"] = ">" if image.exif is not None and image.exif[:2] == b"MM" else "<"
    samples = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
    channels = samples.shape[2]
    is_float = samples.dtype == np.float32
    if not is_float:
        differences = samples.copy()
        np.subtract(samples[:, 1:], samples[:, :-1], out=differences[:, 1:])
        samples = differences
    samples = np.ascontiguousarray(samples, samples.dtype.newbyteorder(order))
    rows = max(1, _STRIP // (samples.nbytes // image.height))
    strips = [zlib.compress(samples[top : top + rows].data, _LEVEL) for top in range(0, image.height, rows)]
    offsets, at = [], 8
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    padding = b"\0" * (at % 2)
    at += len(padding)
    colours = 3 if image.channels >= 3 else 1
    extra = [0] * (image.channels - colours) + [_STRAIGHT] * (image.alpha is not None)
    tree: Tree = {
        WIDTH: numbers(order, LONG, image.width),
        HEIGHT: numbers(order, LONG, image.height),
        BITS: numbers(order, SHORT, *[8 * samples.dtype.itemsize] * channels),
        COMPRESSION: numbers(order, SHORT, 8),
        PHOTOMETRIC: numbers(order, SHORT, _RGB if colours == 3 else _GREY),
        STRIP_OFFSETS: numbers(order, LONG, *offsets),
        ORIENTATION: numbers(order, SHORT, 1),
        SAMPLES: numbers(order, SHORT, channels),
        ROWS_PER_STRIP: numbers(order, LONG, rows),
        STRIP_SIZES: numbers(order, LONG, *map(len, strips)),
        PREDICTOR: numbers(order, SHORT, 1 if is_float else 2),
        SAMPLE_FORMAT: numbers(order, SHORT, *[_FLOAT if is_float else _UNSIGNED] * channels),
    }
    if extra:
        tree[EXTRA_SAMPLES] = numbers(order, SHORT, *extra)
    if image.icc is not None:
        tree[ICC] = Field(UNDEFINED, len(image.icc), image.icc)
    if image.exif is not None:
        tree.update(_described(image.exif))
    content = b"".join((*strips, padding, build(tree, order, at)))
    if len(content) > 2**32 - 16:
        raise ImageWriteError("the TIFF file would be larger than 4 gigabytes")
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + at.to_bytes(4, "little" if order == "<" else "big")
        + content
    )


def _described(exif: bytes) -> dict[int, Any]:
    """Returns what an EXIF block says about its picture, as fields for the main directory of a file."""
    try:
        reader = Reader(exif)
        tree = reader.tree(reader.first)
    except BrokenDirectoryError:
        return {}
    return {tag: item for tag, item in tree.items() if tag in _DESCRIPTION or tag in (EXIF_IFD, GPS_IFD)}


FORMAT = Format(
    name="TIFF",
    extensions=(".tif", ".tiff"),
    writes=(".tif", ".tiff"),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    max_exif=2**31 - 1,
    max_icc=2**31 - 1,
)
