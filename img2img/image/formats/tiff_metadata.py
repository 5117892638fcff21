"""What a TIFF file says about its picture: EXIF, ICC, XMP, IPTC, resolution, and where on earth it lies."""

from __future__ import annotations

import math
import re
import struct
from fractions import Fraction
from typing import Any

from img2img.image import geo
from img2img.image.formats.base import Header
from img2img.image.formats.tiff_samples import start
from img2img.image.ifd import (
    BYTE,
    EXIF_IFD,
    GPS_IFD,
    RATIONAL,
    SHORT,
    UNDEFINED,
    BrokenDirectoryError,
    IfdEntry,
    Reader,
    Tree,
    build,
    numbers,
)
from img2img.image.image import Image

_XMP, _IPTC, _ICC = 700, 33723, 34675
_DESCRIBED, _ACROSS, _DOWN, _UNIT = 270, 282, 283, 296  # ImageDescription, XResolution, YResolution
# What describes the picture rather than its storage, and may go from one file to another.
_DESCRIPTION = {
    *(_DESCRIBED, _ACROSS, _DOWN, _UNIT, EXIF_IFD, GPS_IFD),
    *(*range(40091, 40096), 271, 272, 305, 306, 315, 316, 318, 319, 532, 33432),
}
# Descriptions that programs make for themselves: they state sizes, channels and pages.
_MACHINE = re.compile(
    rb"^\s*(ImageJ=|Aperio|SCANIMAGE|SI\.|state\.|\[Frame|<MetaData|<Image )|<OME[ :>]|<ome:OME"
    rb"|^\s*\{.*?\"(shape|axes|width|Width|Summary)\"\s*:",
    re.DOTALL,
)
_SHAPE_ALONE = re.compile(rb'\s*\{"shape": \[[0-9, ]*\]\}\s*\0*')  # tifffile's, which nobody misses
_LOOK = 2**16  # bytes of a description that are looked at


def read(header: Header, said: Tree, order: str, turn: int) -> None:
    """Fills in what the tags of a file say.

    Args:
        header: Gets profile, EXIF, XMP, IPTC, resolution, GeoTIFF tags, orientation and warnings.
        said: The directory of the picture.
        order: Its byte order.
        turn: Its orientation, anything but 1 to 8 when it has none.
    """
    for tag, name in ((_XMP, "xmp"), (_IPTC, "iptc"), (_ICC, "icc")):
        field = said.get(tag)
        if isinstance(field, IfdEntry) and field.raw:
            setattr(header, name, field.raw)
    header.orientation = turn if 1 <= turn <= 8 else None
    header.resolution = _resolution(said, order)
    header.geo = geo.tags(said, order)
    if header.geo and (header.orientation or 1) > 1:
        header.geo = {}
        header.warnings.append(geo.DROPPED)
    header.exif = _description(said, order, header)


def _resolution(said: Tree, order: str) -> tuple[float, float] | None:
    """Returns pixels per inch across and down, when the file says them."""
    values = []
    for tag in (_ACROSS, _DOWN):
        field = said.get(tag)
        if not isinstance(field, IfdEntry) or field.type != RATIONAL or len(field.raw) < 8:
            return None
        above, below = struct.unpack_from(order + "II", field.raw)
        values.append(above / below if below else 0.0)
    unit = said.get(_UNIT)
    code = (
        int.from_bytes(unit.raw[:2], "little" if order == "<" else "big") if isinstance(unit, IfdEntry) else 2
    )
    inches = {2: 1.0, 3: 2.54}.get(code)
    return None if inches is None or 0 in values else (values[0] * inches, values[1] * inches)


def _description(said: Tree, order: str, header: Header) -> bytes | None:
    """Returns what the file says about its picture as an EXIF block, or None when it says nothing."""
    kept = {tag: item for tag, item in said.items() if tag in _DESCRIPTION}
    described = kept.get(_DESCRIBED)
    if isinstance(described, IfdEntry) and _states_size(described.raw[:_LOOK], header.width, header.height):
        del kept[_DESCRIBED]
        if not _SHAPE_ALONE.fullmatch(described.raw):
            header.warnings.append(
                "the image description was dropped: a program wrote it that states the size or the pages of "
                "the file in it, and they need not be those of another file"
            )
    return start(order, 8) + build(kept, order, 8) if kept else None


def _states_size(text: bytes, width: int, height: int) -> bool:
    """Returns whether a description belongs to the file that it stands in rather than to the picture."""
    size = rb"(?<!\d)(%d *[xX*,] *%d|%d *[xX*,] *%d)(?!\d)" % (width, height, height, width)
    return bool(_MACHINE.search(text) or re.search(size, text))


def fields(image: Image, order: str) -> dict[int, Any]:
    """Returns the fields of the main directory that say something about the picture."""
    found: dict[int, Any] = geo.fields(image.metadata.geo, order)
    if image.exif is not None:
        try:
            reader = Reader(image.exif)
            found |= {tag: item for tag, item in reader.tree(reader.first).items() if tag in _DESCRIPTION}
        except BrokenDirectoryError:
            pass
    if image.metadata.resolution is not None:
        for tag, value in zip((_ACROSS, _DOWN), image.metadata.resolution, strict=True):
            if math.isfinite(value) and 0 < value < 2**31:
                ratio = Fraction(value).limit_denominator(2**16)
                found[tag] = IfdEntry(
                    RATIONAL, 1, struct.pack(order + "II", ratio.numerator, ratio.denominator)
                )
                found[_UNIT] = numbers(order, SHORT, 2)
    for tag, kind, block in (
        (_XMP, BYTE, image.metadata.xmp),
        (_IPTC, UNDEFINED, image.metadata.iptc),
        (_ICC, UNDEFINED, image.icc),
    ):
        if block:
            found[tag] = IfdEntry(kind, len(block), block)
    return found
