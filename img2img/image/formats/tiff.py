"""TIFF: any number of channels, whole numbers of 1 to 16 bits and floating point.

What the samples mean (depth, byte order, prediction, palette, alpha, CMYK) is decided here, because OpenCV
and Pillow each get a good part of it wrong: OpenCV gives palette numbers, raw CMYK and 8-bit colours
multiplied with their alpha, Pillow cuts 16-bit colours to 8, and neither has more than four channels.
Kinds whose compression is tied to what the samples mean, such as JPEG and fax, go to libtiff as a whole.
"""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError, ImageWriteError
from img2img.image.formats import tiff_metadata as metadata
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.tiff_colours import STRAIGHT, interpret
from img2img.image.formats.tiff_pages import pictures
from img2img.image.formats.tiff_samples import (
    ADOBE_DEFLATE,
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    FLOAT,
    GREY,
    HEIGHT,
    ICC_LAB,
    IN_PYTHON,
    LAB,
    LOSSLESS,
    NONE,
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
    WHITE_IS_ZERO,
    WIDTH,
    YCBCR,
    TiffLayout,
    read_samples,
    start,
)
from img2img.image.formats.tiff_whole import FAX, HARMLESS, WHOLE, linear_space, read_whole
from img2img.image.ifd import (
    LONG,
    SHORT,
    BrokenDirectoryError,
    Directory,
    Reader,
    Tree,
    build,
    numbers,
)
from img2img.image.image import Image

_STRUCTURE = frozenset((*range(WIDTH, STRIP_SIZES + 1), PLANAR, *range(PREDICTOR, SAMPLE_FORMAT + 1))) - {
    *range(269, 273),  # descriptions in words
}
_NAMES = {
    32895: "IT8",
    32909: "PixarLog",
    33003: "JPEG 2000 of Aperio",
    34661: "JBIG",
    34713: "Nikon's",
    34887: "LERC",
    34892: "the lossy JPEG of DNG",
}
_STRIP = 2**20  # bytes in a strip that we write, before compression
_LEVEL = 4  # zlib effort: 0.45 s for 12 megapixels, within a tenth of the smallest


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a TIFF file does, classic or big."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def probe(data: bytes) -> Header:
    """Reads the directory of the picture, and counts the pictures."""
    try:
        reader = Reader(data)
        first, directory, frames = pictures(reader)
        said = reader.tree(first.start)
        if directory is not first:
            said |= reader.tree(directory.start)
    except BrokenDirectoryError as error:
        raise ImageReadError(f"the TIFF file is truncated or broken: {error}") from error
    if directory.broken & _STRUCTURE:
        raise ImageReadError("the TIFF file is truncated or broken: what describes its picture is not in it")
    layout, channels = _layout(directory)
    header = Header(
        directory.number(WIDTH, 0),
        directory.number(HEIGHT, 0),
        channels,
        frames,
        sample_bytes=1 << ((layout.bits - 1) // 8).bit_length(),
        space=linear_space(layout),
        details=layout,
    )
    metadata.read(header, said, reader.order, directory.number(ORIENTATION, first.number(ORIENTATION, 0)))
    if layout.photometric in (LAB, ICC_LAB):
        header.icc = None  # it is one for colours that are converted here
    if directory.broken:
        header.warnings.append("some tags of the TIFF file point outside of it and were ignored")
    return header


def _layout(directory: Directory) -> tuple[TiffLayout, int]:
    """Returns how the samples of a picture are stored, and how many channels there are."""
    height, channels = directory.number(HEIGHT, 0), directory.number(SAMPLES, 1)
    bits = directory.numbers(BITS) or (1,)
    kinds = directory.numbers(SAMPLE_FORMAT) or (UNSIGNED,)
    compression = directory.number(COMPRESSION, NONE)
    if channels < 1:
        raise ImageReadError("the TIFF file is broken: its picture has no channels")
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise ImageFormatError(f"this TIFF file has channels of different depths {bits}, which is not read")
    tile = None
    if TILE_WIDTH in directory.fields:
        tile = directory.number(TILE_WIDTH, 0), directory.number(TILE_HEIGHT, 0)
        if 0 in tile:
            raise ImageReadError(f"the TIFF file is broken: its tiles are {tile[0]} x {tile[1]} pixels")
    unsaid = WHITE_IS_ZERO if compression in FAX else RGB if channels == 3 else GREY
    layout = TiffLayout(
        directory=directory,
        bits=bits[0],
        kind=UNSIGNED if kinds[0] == 4 else kinds[0],
        compression=compression,
        photometric=directory.number(PHOTOMETRIC, unsaid),
        planes=channels if directory.number(PLANAR, 1) == 2 else 1,
        tile=tile,
        rows=min(directory.number(ROWS_PER_STRIP, height) or height, height) or 1,
        extra=directory.numbers(EXTRA_SAMPLES),
    )
    return layout, channels


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture."""
    layout: TiffLayout = header.details
    if layout.compression in WHOLE or (layout.compression in LOSSLESS and layout.photometric == YCBCR):
        return read_whole(data, header, layout)
    if layout.compression not in LOSSLESS:
        name = _NAMES.get(layout.compression)
        named = f"{layout.compression} ({name})" if name else layout.compression
        raise ImageFormatError(f"the compression {named} of this TIFF file is not read")
    return interpret(read_samples(data, header, layout), header, layout)


def isolated(header: Header) -> bool:
    """Returns whether libtiff, which only prints what is wrong, has a part in decoding."""
    layout: TiffLayout = header.details
    return layout.compression not in IN_PYTHON or layout.photometric == YCBCR


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
        COMPRESSION: numbers(order, SHORT, ADOBE_DEFLATE),
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
    content = b"".join((*strips, padding, build({**metadata.fields(image, order), **tree}, order, at)))
    if len(content) > 2**32 - 16:
        raise ImageWriteError("the TIFF file would be larger than 4 gigabytes")
    return start(order, at) + content


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
    max_xmp=2**31 - 1,
    max_iptc=2**31 - 1,
    holds=frozenset(("resolution", "geo")),
    isolated=isolated,
    harmless=HARMLESS,
)
