"""TIFF pictures whose compression is tied to what their samples mean: fax, JPEG, YCbCr, SGI's LogLuv.

libtiff decodes them as a whole, by way of OpenCV, which passes on what libtiff and libjpeg complain of; this
runs where somebody reads that (see `img2img.image.isolation`). They see a directory with no more in it than
says how the picture is stored: no tag of others is complained of, and nobody turns the picture. Strips and
tiles that are files of another format by themselves are decoded as such.
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
    TILE_HEIGHT,
    TILE_WIDTH,
    WIDTH,
    Segments,
    TiffLayout,
    by_plane,
    described,
    segments,
)
from img2img.image.ifd import LONG, SHORT, IfdEntry, numbers
from img2img.image.image import Pixels
from img2img.image.opencv import decode_array, split_bgra
from img2img.image.pillow import decode_with

FAX, OLD_JPEG, JPEG = frozenset((2, 3, 4, 32771)), 6, 7
SGI_LOG = frozenset((34676, 34677))
THUNDERSCAN = 32809
PICTURES = {33005: "JPEG 2000", 34712: "JPEG 2000", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}
WHOLE = FAX | SGI_LOG | set(PICTURES) | {OLD_JPEG, JPEG, THUNDERSCAN}
LOG_L, LOG_LUV = 32844, 32845

_FAX_OPTIONS, _TABLES, _SAMPLING, _OLD_JPEG = (292, 293), 347, (529, 530, 531, 532), tuple(range(512, 522))
_STREAM, _STREAM_SIZE = 513, 514  # where old JPEG has all of its picture, if it has
_STORAGE = {
    *(WIDTH, HEIGHT, BITS, COMPRESSION, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PLANAR, TILE_WIDTH, TILE_HEIGHT),
    *(INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, _TABLES, *_FAX_OPTIONS, *_SAMPLING, *_OLD_JPEG),
}


# OpenCV takes XYZ as relative to D65. In LogLuv white is x = y = 1/3, so libtiff's own matrix belongs there.
_OPENCV = ((3.240479, -1.53715, -0.498535), (-0.969256, 1.875991, 0.041556), (0.055648, -0.204043, 1.057311))
_LIBTIFF = ((2.690, -1.276, -0.414), (-1.022, 1.978, 0.044), (0.061, -0.224, 1.163))
_FROM_OPENCV = (np.array(_LIBTIFF) @ np.linalg.inv(_OPENCV)).T.astype(np.float32)

# What decoders say about intact files of unusual kinds.
HARMLESS = re.compile("Old-style LZW codes|colou?r space, .* is assumed")


def linear_space(layout: TiffLayout) -> ColourSpace | None:
    """Returns the colours of SGI's LogLuv as they are read: linear light with sRGB's primaries."""
    return ColourSpace(1, 8) if layout.photometric in (LOG_L, LOG_LUV) else None


def read_whole(data: bytes, header: Header, layout: TiffLayout) -> Raster:
    """Returns the picture."""
    own, order = layout.directory.fields, layout.directory.order
    if layout.compression == OLD_JPEG and _STREAM in own:
        at = layout.directory.number(_STREAM, 0)
        size = layout.directory.number(_STREAM_SIZE, 0) or len(data)
        return Raster(_embedded(data[at : at + size], "JPEG", header.width, header.height))
    fields: dict[int, IfdEntry] = {}
    for tag in _STORAGE & set(own):
        values = layout.directory.numbers(tag)
        fields[tag] = numbers(order, LONG, *values) if own[tag].type >= 16 else own[tag]
    fields[PHOTOMETRIC] = numbers(order, SHORT, layout.photometric)
    parts = segments(data, header, layout)
    if layout.compression in PICTURES:
        return interpret(_joined(data, parts, header, layout), header, layout)
    if layout.photometric == LOG_L:
        return Raster(_luminance(data, parts, header, layout))
    if layout.compression == JPEG and layout.planes > 1:
        one = {SAMPLES: 1, PHOTOMETRIC: GREY, PLANAR: 1, BITS: 8}
        fields |= {tag: numbers(order, SHORT, value) for tag, value in one.items()}
        fields.pop(EXTRA_SAMPLES, None)
        files = [described(data, order, fields, plane) for plane in by_plane(parts, layout)]
        return interpret(np.concatenate([decode_array(file) for file in files], axis=2), header, layout)
    file = described(data, order, fields, parts)
    if layout.compression != OLD_JPEG:  # OpenCV is built without
        array = decode_array(file)
        if array.shape[2] == header.channels and header.channels in (1, 3):
            pixels, _ = split_bgra(array)
            return Raster(pixels @ _FROM_OPENCV if layout.photometric == LOG_LUV else pixels)
    from PIL import TiffImagePlugin  # OpenCV multiplies colours with alpha, and mixes inks

    if layout.photometric == SEPARATED:
        header.warnings.append("the CMYK picture was converted to RGB without its colour profile")
    return decode_with(TiffImagePlugin.TiffImageFile, file)


def _joined(data: bytes, parts: Segments, header: Header, layout: TiffLayout) -> Pixels:
    """Returns the samples (H, W, channels) of strips or tiles that are pictures by themselves."""
    across, _, width, height = layout.grid(header)
    name = PICTURES[layout.compression]
    if layout.planes > 1 or layout.bits not in (8, 16):
        raise ImageFormatError(f"{name} in planes, or of {layout.bits} bits, in a TIFF file is not read")
    samples = np.empty((header.height, header.width, header.channels), f"u{layout.bits // 8}")
    for index, (offset, size) in enumerate(zip(*parts, strict=True)):
        target = samples[index // across * height :, index % across * width :][:height, :width]
        rows, columns = (height, width) if layout.tile else target.shape[:2]
        part = _embedded(data[offset : offset + size], name, columns, rows)
        if part.shape[2] != header.channels or part.dtype != samples.dtype:
            raise ImageReadError(
                "the TIFF file is broken: a part of its picture has other channels than it says"
            )
        target[:] = part[: len(target), : target.shape[1]]
    return samples


def _embedded(data: bytes, name: str, width: int, height: int) -> Pixels:
    """Returns the samples (H, W, channels) of a file of the format `name` that must have this size."""
    from img2img.image.formats import recognise

    found = recognise(data)
    header = found.probe(data)
    if found.name != name or (header.width, header.height) != (width, height):
        raise ImageReadError(
            f"the TIFF file is broken: where {name} of {width} x {height} pixels belongs, there is a "
            f"{found.name} picture of {header.width} x {header.height}"
        )
    raster = found.decode(data, header)
    return raster.pixels if raster.alpha is None else np.dstack((raster.pixels, raster.alpha))


def _luminance(data: bytes, parts: Segments, header: Header, layout: TiffLayout) -> Pixels:
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
