"""HEIC, as phones write it; read only. Of several pictures the primary one, never thumbnails and depth maps.

libheif puts tiles together and turns the picture as the file orders; the EXIF orientation beside it only
repeats that, as the standard (ISO/IEC 23008-12, 6.1) demands. libde265 conceals damage and says nothing, so
what can be told from the stream itself is looked at here: HEVC never holds certain bytes.
"""

from __future__ import annotations

import io
import re

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats import heif
from img2img.image.formats.base import Format, Header, Raster
from img2img.image.levels import spread, straight

_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_FORBIDDEN = re.compile(rb"\0\0[\0-\2]")  # ITU-T H.265, 7.4.2: an encoder puts a 3 between
_PADDING = 8  # zeros at the end of a unit that are taken for sloppiness


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as an HEIF file does, by any of its brands."""
    return not _BRANDS.isdisjoint(heif.brands(data))


def probe(data: bytes) -> Header:
    """Reads what the boxes say; width and height are those of the upright picture."""
    header = heif.probe(data, "HEIC")
    coding = header.details
    if not coding.items:
        raise ImageFormatError("this HEIF file holds a film and no still picture; only stills are read")
    heif.refuse_other(header, b"hvc1", "HEIC", "HEVC ('hvc1')")
    if coding.crop is not None:
        left, top, right, bottom = coding.crop
        header.width, header.height = right - left, bottom - top
    if (coding.orientation or 1) >= 5:
        header.width, header.height = header.height, header.width
    header.orientation = 1
    return header


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; 9 to 12 bits become 16.

    Raises:
        ImageFormatError: The package that reads such files is missing.
        ImageReadError: The file is broken.
    """
    try:
        import pi_heif
    except ImportError as error:
        raise ImageFormatError(
            f"HEIC pictures are read by the package pi-heif, which cannot be loaded ({error}); "
            "pip install pi-heif"
        ) from error
    coding = header.details
    for spans in coding.spans:
        _check(b"".join(data[start : start + length] for start, length in spans), coding.length_size)
    settings = pi_heif.options
    settings.THUMBNAILS = settings.DEPTH_IMAGES = settings.AUX_IMAGES = False
    try:
        file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
        picture = file[file.primary_index]
        array = np.array(picture)  # a copy: what pi_heif gives lives as long as its file
    except (ValueError, EOFError, SyntaxError, RuntimeError, OSError) as error:
        raise ImageReadError(f"the image data is truncated or broken ({error})") from error
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype == np.uint16:
        array = spread(array, coding.bits)
    if array.shape[2] in (1, 3):
        return Raster(array)
    pixels, alpha = np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1])
    return Raster(straight(pixels, alpha) if "a" in picture.mode else pixels, alpha)


def _check(stream: bytes, length_size: int) -> None:
    """Looks for what no HEVC stream holds.

    Args:
        stream: Units, each with its length before it.
        length_size: Bytes of that.

    Raises:
        ImageReadError: It is damaged.
    """
    at = 0
    while at < len(stream):
        start = at + length_size
        at = start + int.from_bytes(stream[at:start], "big")
        if at > len(stream):
            raise ImageReadError("the image data is truncated or broken: its parts do not add up")
        unit = stream[start:at].rstrip(b"\0")
        if at - start - len(unit) > _PADDING or not unit or _FORBIDDEN.search(unit):
            raise ImageReadError("the image data is broken: it holds bytes that HEVC never has")


FORMAT = Format(
    name="HEIC",
    extensions=(".heic", ".heif", ".hif", ".heics", ".heifs"),
    matches=matches,
    probe=probe,
    decode=decode,
    isolated=lambda header: True,
)
