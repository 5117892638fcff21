"""JPEG 2000, in a file of boxes (.jp2) or as a bare codestream (.j2k)."""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.isobmff import boxes
from img2img.image.image import Image
from img2img.image.levels import spread
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra
from img2img.image.pillow import decode_with

_BOXES = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_STREAM = b"\xff\x4f\xff\x51"


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a JPEG 2000 file does."""
    return data.startswith((_BOXES, _STREAM))


def probe(data: bytes) -> Header:
    """Reads the size segment of the codestream, and the ICC profile from the boxes round it."""
    if data.startswith(_STREAM):
        return _size(data, 0)
    icc = None
    at = len(_BOXES)
    while at + 8 <= len(data):  # not `boxes`: a codestream that is cut shall be said to be cut
        size, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        if kind == b"jp2c":
            if size > len(data) - at:
                raise ImageReadError("the JPEG 2000 file is truncated: it ends within the picture data")
            header = _size(data, body)
            header.icc = icc
            return header
        stop = at + size
        if size == 0 or stop > len(data) or stop < body:
            break
        if kind == b"jp2h":
            for inner, a, b in boxes(data, body, stop):
                if inner == b"colr" and data[a] == 2:
                    icc = data[a + 3 : b]
        at = stop
    raise ImageReadError("the JPEG 2000 file is truncated or broken: it holds no picture data")


def _size(data: bytes, at: int) -> Header:
    if data[at : at + 4] != _STREAM:
        raise ImageReadError("the picture data in the JPEG 2000 file is broken")
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    tile_width, tile_height = struct.unpack_from(">II", data, at + 24)
    (components,) = struct.unpack_from(">H", data, at + 40)
    depths = {data[at + 42 + 3 * i] for i in range(components)}
    header = Header(right - left, bottom - top, components, details=max(depths, default=7))
    if not (tile_width and tile_height) or components == 0:
        raise ImageReadError("the header of the JPEG 2000 file is broken")
    return header


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; 9 to 15 bits become 16."""
    if header.channels == 2 and header.details == 7:  # grey with alpha, which OpenCV refuses
        from PIL import Jpeg2KImagePlugin

        return decode_with(Jpeg2KImagePlugin.Jpeg2KImageFile, data)
    array = decode_array(data)
    if array.dtype == np.uint16 and header.details < 16:
        array = spread(array, header.details + 1)
    return Raster(*split_bgra(array))


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a JPEG 2000 file."""
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
