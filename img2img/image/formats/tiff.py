"""TIFF: any number of channels, whole numbers of 1 to 16 bits and floating point.

What the samples mean (depth, byte order, prediction, palette, alpha, CMYK) is decided here, because OpenCV
and Pillow each get a good part of it wrong: OpenCV gives palette numbers, raw CMYK and 8-bit colours
multiplied with their alpha, Pillow cuts 16-bit colours to 8, and neither has more than four channels.
Kinds whose compression is tied to what the samples mean, JPEG and fax, go to Pillow as a whole.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError, ImageWriteError
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.tiff_colours import STRAIGHT, interpret
from img2img.image.formats.tiff_samples import (
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    FLOAT,
    GREY,
    HEIGHT,
    ICC,
    LAB,
    ORIENTATION,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    RGB,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_OFFSETS,
    STRIP_SIZES,
    TILE_HEIGHT,
    TILE_WIDTH,
    UNSIGNED,
    WIDTH,
    XMP,
    YCBCR,
    Layout,
    read_samples,
)
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
from img2img.image.image import Image
from img2img.image.pillow import decode_with

_STRUCTURE = frozenset((*range(WIDTH, STRIP_SIZES + 1), PLANAR, *range(PREDICTOR, SAMPLE_FORMAT + 1))) - {
    *range(269, 273),  # descriptions in words
}
# What describes the picture rather than its storage, and may go from one file to another.
_DESCRIPTION = frozenset(
    (*range(40091, 40096), 270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 318, 319, 532, 33432)
)  # fmt: skip

# None, LZW, Deflate under two numbers, PackBits, LZMA, ZSTD.
_LOSSLESS = frozenset((1, 5, 8, 32946, 32773, 34925, 50000))
_WHOLE = frozenset((2, 3, 4, 6, 7, 32771))  # fax in its kinds, JPEG in two

_STRIP = 2**20  # bytes in a strip that we write, before compression
_LEVEL = 4  # zlib effort: 0.45 s for 12 megapixels, within a tenth of the smallest


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
    kinds = directory.numbers(SAMPLE_FORMAT) or (UNSIGNED,)
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise ImageFormatError(f"this TIFF file has channels of different depths {bits}, which is not read")
    tile = None
    if TILE_WIDTH in directory.fields:
        tile = directory.number(TILE_WIDTH, 0), directory.number(TILE_HEIGHT, 0)
    layout = Layout(
        directory=directory,
        is_big=reader.is_big,
        bits=bits[0],
        kind=UNSIGNED if kinds[0] == 4 else kinds[0],
        compression=directory.number(COMPRESSION, 1),
        photometric=directory.number(PHOTOMETRIC, GREY),
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
    layout: Layout = header.details
    if layout.compression in _WHOLE or (
        layout.compression in _LOSSLESS and layout.photometric in (YCBCR, LAB) and layout.bits == 8
    ):
        from PIL import TiffImagePlugin

        return decode_with(TiffImagePlugin.TiffImageFile, _not_turned(data, layout))
    if layout.compression not in _LOSSLESS:
        raise ImageFormatError(f"the compression {layout.compression} of this TIFF file is not read")
    samples = read_samples(data, header, layout)
    return interpret(samples, header, layout)


def _not_turned(data: bytes, layout: Layout) -> bytes:
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
    extra = [0] * (image.channels - colours) + [STRAIGHT] * (image.alpha is not None)
    tree: Tree = {
        WIDTH: numbers(order, LONG, image.width),
        HEIGHT: numbers(order, LONG, image.height),
        BITS: numbers(order, SHORT, *[8 * samples.dtype.itemsize] * channels),
        COMPRESSION: numbers(order, SHORT, 8),
        PHOTOMETRIC: numbers(order, SHORT, RGB if colours == 3 else GREY),
        STRIP_OFFSETS: numbers(order, LONG, *offsets),
        ORIENTATION: numbers(order, SHORT, 1),
        SAMPLES: numbers(order, SHORT, channels),
        ROWS_PER_STRIP: numbers(order, LONG, rows),
        STRIP_SIZES: numbers(order, LONG, *map(len, strips)),
        PREDICTOR: numbers(order, SHORT, 1 if is_float else 2),
        SAMPLE_FORMAT: numbers(order, SHORT, *[FLOAT if is_float else UNSIGNED] * channels),
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
