"""JPEG 2000, in a file of boxes (.jp2) or as a bare codestream (.j2k).

OpenJPEG decodes all of it, as in every other program: behind Pillow, which knows palettes, YCC, coarser and
signed components, and behind OpenCV, which has more than 8 bits of colour. Neither notices data that are
missing or zero, so the stream is looked over first.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import cv2
import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.isobmff import boxes
from img2img.image.formats.jpeg2000_stream import MAGIC, CodestreamSize, checked, read_size
from img2img.image.image import Image, Pixels
from img2img.image.levels import spread
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra
from img2img.image.pillow import decode_with

_BOXES = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SYCC, _LAB = 18, 14
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF = b"JpgTiffExif->JP2"
_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_INCH = 0.0254  # metres
_SMALLEST = 32  # pixels a side: OpenCV always writes five halvings, which OpenJPEG refuses below


@dataclass
class Jpeg2000Coding:
    """Where the codestream is, and what its numbers mean; the `details` of a header."""

    start: int
    stop: int
    size: CodestreamSize
    space: int | None = None
    palette: bool = False


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a JPEG 2000 file does."""
    return data.startswith((_BOXES, MAGIC))


def probe(data: bytes) -> Header:
    """Reads the size segment of the codestream, and from the boxes round it everything else."""
    if data.startswith(MAGIC):
        return _header(data, 0, len(data))
    found = Header(0, 0)
    space, columns = None, 0
    header: Header | None = None
    at = len(_BOXES)
    while at + 8 <= len(data):  # not `boxes`: a codestream that is cut shall be said to be cut
        size, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = at + size if size else len(data)
        if kind == b"jp2c" and header is None:
            if stop > len(data):
                raise ImageReadError("the JPEG 2000 file is truncated: it ends within the picture data")
            header = _header(data, body, stop)
        if stop > len(data) or stop < body:
            break
        if kind == b"jp2h":
            for inner, a, b in boxes(data, body, stop):
                if inner == b"colr" and data[a] in (2, 3):
                    found.icc = data[a + 3 : b]
                elif inner == b"colr" and data[a] == 1 and space is None:
                    (space,) = struct.unpack_from(">I", data, a + 3)
                elif inner == b"pclr":
                    columns = data[a + 2]
                elif inner == b"res ":
                    found.resolution = _resolution(data, a, b) or found.resolution
        elif kind == b"uuid":
            _read_block(found, data[body : body + 16], data[body + 16 : stop])
        at = stop
    if header is None:
        raise ImageReadError("the JPEG 2000 file is truncated or broken: it holds no picture data")
    header.icc, header.exif, header.xmp, header.iptc = found.icc, found.exif, found.xmp, found.iptc
    header.resolution = found.resolution
    header.channels = max(header.channels, columns)
    header.details.space, header.details.palette = space, columns > 0
    return header


def _header(data: bytes, start: int, stop: int) -> Header:
    size = read_size(data, start)
    wide = 2 if max(size.depths) > 8 else 1
    return Header(
        size.width,
        size.height,
        len(size.depths),
        details=Jpeg2000Coding(start, stop, size),
        sample_bytes=wide,
    )


def _resolution(data: bytes, start: int, stop: int) -> tuple[float, float] | None:
    """Returns the pixels per inch for which the picture was captured, or is to be shown."""
    for _, a, _ in boxes(data, start, stop):
        up, up_by, across, across_by, up_power, across_power = struct.unpack_from(">HHHHbb", data, a)
        if up and up_by and across and across_by:
            return across / across_by * 10.0**across_power * _INCH, up / up_by * 10.0**up_power * _INCH
    return None


def _read_block(header: Header, kind: bytes, block: bytes) -> None:
    if kind == _XMP:
        header.xmp = block or None
    elif kind == _EXIF:
        header.exif = block or None
    elif kind == _IPTC:
        header.iptc = block or None


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; 1 to 7 bits become 8, 9 to 15 become 16.

    Raises:
        ImageFormatError: Its numbers are of a kind that is not read.
        ImageReadError: It is broken.
    """
    coding: Jpeg2000Coding = header.details
    depths, signed = coding.size.depths, coding.size.signed
    bits = max(depths)
    if coding.space == _LAB:
        raise ImageFormatError("it is a JPEG 2000 file with Lab colours, which are not read")
    data = checked(data, coding.start, coding.stop)
    if bits <= 8 or (signed and len(depths) == 1):
        from PIL import Jpeg2KImagePlugin

        raster = decode_with(Jpeg2KImagePlugin.Jpeg2KImageFile, data)
        return raster if coding.palette or min(depths) >= 8 else _widened(raster, depths)
    if bits > 16 or len(set(depths)) > 1 or len(depths) == 2 or signed or coding.space == _SYCC:
        raise ImageFormatError(
            f"it is a JPEG 2000 file with {' and '.join(map(str, depths))} bits a channel"
            f"{', signed' if signed else ''}{', in YCC' if coding.space == _SYCC else ''}, which is not read"
        )
    return Raster(*split_bgra(spread(decode_array(data), bits)))


def _widened(raster: Raster, depths: tuple[int, ...]) -> Raster:
    """Returns a picture whose channels reach white; Pillow leaves the low bits of 8 empty."""

    def wide(plane: Pixels, bits: int) -> Pixels:
        return spread(plane >> (8 - bits), bits) if bits < 8 else plane

    count = raster.pixels.shape[2]
    planes = [wide(raster.pixels[:, :, i], depths[i]) for i in range(min(count, len(depths)))]
    if len(planes) < count:
        return raster
    alpha = None if raster.alpha is None else wide(raster.alpha, depths[-1])
    return Raster(np.stack(planes, axis=2), alpha)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a JPEG 2000 file."""
    if min(image.width, image.height) < _SMALLEST:
        return (
            f"JPEG 2000 is written with sides of {_SMALLEST} pixels or more, "
            f"and the picture has {image.width} x {image.height}"
        )
    return misfit(image, "JPEG 2000", dtypes=("uint8", "uint16"), alpha=True, grey_alpha=False)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits, without loss."""
    params = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    return encode_array(".jp2", merge_bgra(image.pixels, image.alpha), params)


FORMAT = Format(
    name="JPEG 2000",
    extensions=(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    writes=(".jp2",),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    isolated=lambda header: True,
    harmless=re.compile("colou?r space, .* is assumed"),
)
