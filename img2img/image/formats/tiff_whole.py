"""TIFF pictures whose compression is tied to what their samples mean: fax, JPEG, YCbCr, SGI's LogLuv.

libtiff decodes them as a whole, by way of OpenCV, which passes on what libtiff and libjpeg complain of; this
runs where somebody reads that (see `img2img.image.isolation`). They see a directory with no more in it than
says how the picture is stored: no tag of others is complained of, and nobody turns the picture.
"""

from __future__ import annotations

import re

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.colour import ColourSpace
from img2img.image.formats.base import Header, Raster
from img2img.image.formats.tiff_colours import interpret
from img2img.image.formats.tiff_samples import (
    BITS,
    COMPRESSION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    GREY,
    HEIGHT,
    INK_SET,
    PHOTOMETRIC,
    PLANAR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    SEPARATED,
    STRIP_OFFSETS,
    STRIP_SIZES,
    TILE_HEIGHT,
    TILE_WIDTH,
    WIDTH,
    Layout,
    Segments,
    by_plane,
    described,
    segments,
)
from img2img.image.ifd import LONG, SHORT, Field, numbers
from img2img.image.image import Pixels
from img2img.image.opencv import decode_array
from img2img.image.pillow import decode_with

FAX, OLD_JPEG, JPEG = frozenset((2, 3, 4, 32771)), 6, 7
SGI_LOG = frozenset((34676, 34677))
THUNDERSCAN = 32809
WHOLE = FAX | SGI_LOG | {OLD_JPEG, JPEG, THUNDERSCAN}
LOG_L, LOG_LUV = 32844, 32845

_FAX_OPTIONS, _TABLES, _SAMPLING, _OLD_JPEG = (292, 293), 347, (529, 530, 531, 532), tuple(range(512, 522))
_STORAGE = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PLANAR, TILE_WIDTH, TILE_HEIGHT),
    *(INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, _TABLES, *_FAX_OPTIONS, *_SAMPLING, *_OLD_JPEG),
}


# OpenCV takes XYZ as relative to D65. In LogLuv white is x = y = 1/3, so libtiff's own matrix belongs there.
_OPENCV = ((3.240479, -1.53715, -0.498535), (-0.969256, 1.875991, 0.041556), (0.055648, -0.204043, 1.057311))
_LIBTIFF = ((2.690, -1.276, -0.414), (-1.022, 1.978, 0.044), (0.061, -0.224, 1.163))
_FROM_OPENCV = (np.array(_LIBTIFF) @ np.linalg.inv(_OPENCV)).T.astype(np.float32)

# What libtiff says about intact files of old kinds.
HARMLESS = re.compile("Old-style LZW codes|[Dd]epreciated and troublesome old-style JPEG")


def linear_space(layout: Layout) -> ColourSpace | None:
    """Returns the colours of SGI's LogLuv as they are read: linear light with sRGB's primaries."""
    return ColourSpace(1, 8) if layout.photometric in (LOG_L, LOG_LUV) else None


def read_whole(data: bytes, header: Header, layout: Layout) -> Raster:
    """Returns the picture."""
    order = layout.directory.order
    fields: dict[int, Field] = {}
    for tag in _STORAGE & set(layout.directory.fields):
        field, values = layout.directory.fields[tag], layout.directory.numbers(tag)
        fields[tag] = numbers(order, LONG, *values) if field.type >= 16 else field
    fields[PHOTOMETRIC] = numbers(order, SHORT, layout.photometric)
    if layout.photometric == LOG_L:
        return Raster(_luminance(data, segments(data, header, layout), header, layout))
    parts = None
    if layout.compression == OLD_JPEG:  # the stream may be told of by tags of its own alone
        own = layout.directory.fields
        fields |= {tag: own[tag] for tag in (STRIP_OFFSETS, STRIP_SIZES) if tag in own}
    else:
        parts = segments(data, header, layout)
    if parts is not None and layout.compression == JPEG and layout.planes > 1:
        one = {SAMPLES: 1, PHOTOMETRIC: GREY, PLANAR: 1, BITS: 8}
        fields |= {tag: numbers(order, SHORT, value) for tag, value in one.items()}
        fields.pop(EXTRA_SAMPLES, None)
        files = [described(data, order, fields, plane) for plane in by_plane(parts, layout)]
        return interpret(np.concatenate([decode_array(file) for file in files], axis=2), header, layout)
    file = described(data, order, fields, parts)
    array = decode_array(file)
    if array.shape[2] != header.channels or header.channels not in (1, 3):  # alpha multiplied in, inks mixed
        from PIL import TiffImagePlugin

        if layout.photometric == SEPARATED:
            header.warnings.append("the CMYK picture was converted to RGB without its colour profile")
        return decode_with(TiffImagePlugin.TiffImageFile, file)
    pixels = np.ascontiguousarray(array[:, :, ::-1])
    return Raster(pixels @ _FROM_OPENCV if layout.photometric == LOG_LUV else pixels)


def _luminance(data: bytes, parts: Segments, header: Header, layout: Layout) -> Pixels:
    """Returns what SGI's LogL holds, float32 (H, W, 1): neither OpenCV nor Pillow asks libtiff for it."""
    _, _, width, rows = layout.grid(header)
    if layout.tile is not None:
        raise ImageFormatError("SGI LogL in tiles is not read")
    seen: dict[tuple[int, int], bytes] = {}
    content = []
    for top, *part in zip(range(0, header.height, rows), *parts, strict=True):
        key = part[0], part[1]
        if key not in seen:
            seen[key] = _runs(data, *key, width, 2 * min(rows, header.height - top))
        content.append(seen[key])
    planes = np.frombuffer(b"".join(content), np.uint8).reshape(header.height, 2, width)
    codes = planes[:, 0].astype(np.uint16) << 8 | planes[:, 1]
    size = np.exp2(((codes & 0x7FFF) + np.float32(0.5)) / 256 - 64)
    value = np.where(codes & 0x7FFF, np.where(codes & 0x8000, -size, size), 0)
    return np.ascontiguousarray(value[:, :, None], np.float32)


def _runs(data: bytes, at: int, size: int, width: int, lines: int) -> bytes:
    """Returns `lines` times `width` bytes from runs, none of which goes beyond its line."""
    stop, result = at + size, bytearray()
    for line in range(1, lines + 1):
        while len(result) < line * width and at < stop:
            count = data[at]
            if count < 128:
                result += data[at + 1 : at + 1 + count]
                at += 1 + count
            else:
                result += data[at + 1 : at + 2] * (count - 126)
                at += 2
        if len(result) != line * width or at > stop:
            raise ImageReadError("the image data is truncated or broken: its runs do not fill the picture")
    return bytes(result)
