"""JPEG XL; read only, with the extra `formats`. Of an animation the first picture."""

from __future__ import annotations

import importlib.util
import struct

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.colour import ColourSpace
from img2img.image.formats import jpeg
from img2img.image.formats.base import Format, Header, Raster
from img2img.image.formats.isobmff import boxes
from img2img.image.formats.jpegxl_header import LONGEST, MAGIC, ImageHeader, read_header
from img2img.image.levels import spread, straight

_BOXES = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_TIFF = (b"II*\0", b"MM\0*")
_LINEAR = ColourSpace(1, 8)
_KINDS = {b"Exif": "exif", b"xml ": "xmp"}


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a JPEG XL file does."""
    return data.startswith((_BOXES, MAGIC))


def probe(data: bytes) -> Header:
    """Reads the header of the codestream and the metadata beside it; what Brotli packs is read in `decode`.

    Raises:
        ImageFormatError: The package that reads such files is missing.
        ImageReadError: It is truncated or broken.
    """
    if importlib.util.find_spec("imagecodecs") is None:
        raise ImageFormatError(
            "this is a JPEG XL picture, which is read with the extra 'formats': "
            "pip install 'img2img[formats]'"
        )
    header = Header(0, 0)
    stream = bytearray() if data.startswith(_BOXES) else data[:LONGEST]
    if isinstance(stream, bytearray):
        for kind, start, stop in boxes(data, 0, len(data)):
            if kind in (b"jxlc", b"jxlp") and len(stream) < LONGEST:
                stream += data[start + 4 * (kind == b"jxlp") : stop][:LONGEST]
            elif kind in _KINDS:
                _read_block(header, kind, data[start:stop])
    image = header.details = read_header(bytes(stream))
    header.width, header.height = image.width, image.height
    if image.orientation >= 5:
        header.width, header.height = image.height, image.width
    header.orientation = 1  # libjxl turns it
    header.channels = (1 if image.grey else 3) + len(image.extra)
    header.sample_bytes = 4 if image.is_float else 2 if image.bits > 8 else 1
    header.space = image.space
    if image.packed_profile and image.lossy and image.is_float:
        header.space = _LINEAR
    return header


def _read_block(header: Header, kind: bytes, block: bytes) -> None:
    if kind == b"xml ":
        header.xmp = block or None
    elif block.startswith(_TIFF):  # some writers leave out the offset that belongs before it
        header.exif = block
    elif len(block) > 4:
        (skip,) = struct.unpack_from(">I", block)
        header.exif = block[4 + skip :] or None


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; 1 to 7 bits become 8, 9 to 15 become 16, floating point becomes 32.

    Raises:
        ImageFormatError: It has channels that have no place here.
        ImageReadError: It is broken.
    """
    import imagecodecs

    image: ImageHeader = header.details
    alphas = image.extra.count(0)
    if len(image.extra) > alphas or alphas > 1:
        raise ImageFormatError(
            "it is a JPEG XL picture with channels beside colours and alpha, which is not read"
        )
    try:
        array = imagecodecs.jpegxl_decode(data, index=0)
        _unpack(data, header)
    except (RuntimeError, ValueError, imagecodecs.DelayedImportError) as error:
        raise ImageReadError(f"the image data is truncated or broken ({error})") from error
    if image.animated:
        header.warnings.append("it is an animation; only the first picture was used")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype != np.float32:
        array = spread(array, image.bits)
    if array.shape[2] != header.channels:
        raise ImageReadError("the JPEG XL file is broken: its header and its picture differ in channels")
    if not alphas:
        return Raster(array)
    pixels, alpha = np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1])
    return Raster(straight(pixels, alpha) if image.premultiplied else pixels, alpha)


def _unpack(data: bytes, header: Header) -> None:
    """Reads metadata that Brotli packs, and the colour profile of a JPEG that was packed anew."""
    import imagecodecs

    repacked = False
    for kind, start, stop in boxes(data, 0, len(data)) if data.startswith(_BOXES) else ():
        if kind == b"brob" and data[start : start + 4] in _KINDS:
            _read_block(
                header, data[start : start + 4], bytes(imagecodecs.brotli_decode(data[start + 4 : stop]))
            )
        repacked = repacked or kind == b"jbrd"
    image: ImageHeader = header.details
    if not image.packed_profile or image.lossy:  # a decoder without colour management then gives sRGB
        return
    if repacked:
        header.icc = jpeg.probe(bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))).icc
    if header.icc is None:
        header.warnings.append(
            "its colour profile is packed so that it cannot be read; colours may look different"
        )


FORMAT = Format(
    name="JPEG XL",
    extensions=(".jxl",),
    matches=matches,
    probe=probe,
    decode=decode,
    isolated=lambda header: True,
)
