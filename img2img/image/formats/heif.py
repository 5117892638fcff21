"""What the boxes of a HEIF file say about its picture, whether AV1 (AVIF) or HEVC (HEIC) packs it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.colour import ColourSpace
from img2img.image.formats.base import Header
from img2img.image.formats.isobmff import Items, boxes, read_items

_PICTURES = frozenset((b"av01", b"hvc1", b"hev1", b"grid", b"iden", b"iovl"))
_DERIVED = frozenset((b"grid", b"iden", b"iovl"))
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_XMP_TYPE = b"application/rdf+xml"
_SAMPLE_ENTRY = 78  # bytes that come before the boxes in one for pictures
_MAX_TRACKS = 100
_SHARED = 16  # times the length of the file that its parts may have together: tiles may share bytes

# (quarter turns counter-clockwise, mirror axis or None) as the EXIF orientation that does the same
_ORIENTATIONS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


@dataclass
class HeifCoding:
    """How the picture of a HEIF file is packed; the `details` of its header.

    Attributes:
        kind: "av01" or "hvc1".
        bits: Of one number.
        length_size: Bytes of the length before each unit of an HEVC stream.
        grey: Whether there is no colour.
        items: The items that have to be decoded for it, alpha included.
        crop: What of the stored picture is shown, (left, top, right, bottom), or None for all of it.
        orientation: The turns that the file orders, as an EXIF orientation; None when it orders none.
        spans: Where the bytes of each of `items` are.
        entries: Where the list of all items is.
    """

    kind: bytes = b""
    bits: int = 8
    length_size: int = 4
    grey: bool = False
    items: tuple[int, ...] = ()
    crop: tuple[int, int, int, int] | None = None
    orientation: int | None = None
    spans: tuple[tuple[tuple[int, int], ...], ...] = ()
    entries: tuple[int, int] = (0, 0)


def brands(data: bytes) -> frozenset[bytes]:
    """Returns the kinds of file that `data` claims to be."""
    if data[4:8] != b"ftyp":
        return frozenset()
    stop = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return frozenset(data[at : at + 4] for at in range(8, stop, 4) if at != 12)


def probe(data: bytes, name: str) -> Header:
    """Reads the properties of the primary picture, its metadata, and the length of a sequence.

    `Header.details` is a `HeifCoding`; turns are left to the caller.

    Args:
        data: A whole file.
        name: Of the format, for the messages.

    Raises:
        ImageReadError: There is no picture, or the boxes are broken.
    """
    items = Items()
    frames = 1
    track: list[tuple[bytes, bytes]] = []
    for kind, start, stop in boxes(data, 0, len(data)):
        if kind == b"meta":
            items = read_items(data, start + 4, stop)
        elif kind == b"moov":
            frames, track = _sequence(data, start, stop)
    header = Header(0, 0, frames=max(frames, len(_shown(items))), details=HeifCoding())
    parts = _coded(items, items.primary)
    if items.primary in items.kinds:
        first = items.properties_of(parts[0]) if parts and parts[0] != items.primary else []
        _describe(header, items.properties_of(items.primary), first)
        coding = header.details
        if parts:
            coding.kind = items.kinds.get(parts[0], b"")
        alpha = _alpha(items, parts)
        coding.items = tuple(dict.fromkeys((*parts, *alpha)))
        coding.spans = tuple(tuple(items.extents.get(item, ())) for item in coding.items)
        coding.entries = items.entries
        if sum(length for spans in coding.spans for _, length in spans) > _SHARED * len(data):
            raise ImageReadError(f"the {name} file is broken: its parts add up to more than the file")
        header.channels = (1 if coding.grey else 3) + bool(alpha)
        _read_metadata(header, items, data)
    elif track:
        _describe(header, track, [])
    if header.width == 0:
        raise ImageReadError(f"the {name} file names no size for its picture")
    header.sample_bytes = 2 if header.details.bits > 8 else 1
    return header


def _shown(items: Items) -> list[int]:
    """Returns the pictures that stand for themselves."""
    references = items.references.items()
    inside = {item for (kind, _), targets in references if kind == b"dimg" for item in targets}
    beside = {source for (kind, source), _ in references if kind in (b"thmb", b"auxl")}
    others = items.hidden | inside | beside
    return [item for item, kind in items.kinds.items() if kind in _PICTURES and item not in others]


def _coded(items: Items, item: int) -> list[int]:
    """Returns the items with compressed pictures that `item` consists of: itself, or the tiles of a grid."""
    found, stack, seen = [], [item], set()
    while stack:
        item = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        if items.kinds.get(item) in _DERIVED:
            stack += reversed(items.references.get((b"dimg", item), []))
        else:
            found.append(item)
    return found


def _alpha(items: Items, parts: list[int]) -> list[int]:
    """Returns the compressed items with the alpha of the primary picture, or of its parts."""
    for item in (items.primary, *parts[:1]):
        for other in items.referring(b"auxl", item):
            roles = [body for name, body in items.properties_of(other) if name == b"auxC"]
            if any(role[4:].split(b"\0", 1)[0] in _ALPHA for role in roles):
                return _coded(items, other)
    return []


def _describe(header: Header, own: list[tuple[bytes, bytes]], first: list[tuple[bytes, bytes]]) -> None:
    """Fills in what the properties of the picture say, and where they are silent those of its first part."""
    coding = header.details
    turns, mirror, clap = 0, None, None
    spaces = [body for name, body in own if name == b"colr"] or [b for n, b in first if n == b"colr"]
    for name, body in own:
        if name == b"ispe":
            header.width, header.height = struct.unpack_from(">II", body, 4)
        elif name == b"irot":
            turns = body[0] & 3
        elif name == b"imir":
            mirror = body[0] & 1
        elif name == b"clap":
            clap = body
    for name, body in (*first, *own):
        if name == b"av1C":
            coding.kind, coding.grey = b"av01", bool(body[2] & 0x10)
            coding.bits = 12 if body[2] & 0x20 else 10 if body[2] & 0x40 else 8
        elif name == b"hvcC":
            coding.kind, coding.grey = b"hvc1", not body[16] & 3
            coding.bits, coding.length_size = 8 + (body[17] & 7), 1 + (body[21] & 3)
    for body in spaces:
        if body[:4] in (b"prof", b"rICC"):
            header.icc = body[4:] or None
        elif body[:4] == b"nclx":
            header.space = _space(*struct.unpack_from(">HH", body, 4))
    if turns or mirror is not None:
        coding.orientation = _ORIENTATIONS[turns, mirror]
    if clap is not None:
        coding.crop = _crop(clap, header.width, header.height)
        if coding.crop is None:
            header.warnings.append("its clean aperture makes no sense; the whole picture was used")


def _space(primaries: int, transfer: int) -> ColourSpace | None:
    """Returns the colour space that two code points name; None for sRGB, which is what is taken anyway."""
    if primaries in (1, 2) and transfer in (13, 2):
        return None
    return ColourSpace(primaries, transfer)


def _crop(clap: bytes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Returns the clean aperture as (left, top, right, bottom); None when that is no part in whole pixels."""
    numbers = struct.unpack_from(">IIIIiIiI", clap)
    if 0 in numbers[1::2]:
        return None
    w, h, x, y = (Fraction(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True))
    edges = [(width - w) / 2 + x, (height - h) / 2 + y, (width + w) / 2 + x, (height + h) / 2 + y]
    left, top, right, bottom = map(int, edges)
    if any(edge.denominator != 1 for edge in edges):
        return None
    return (left, top, right, bottom) if 0 <= left < right <= width and 0 <= top < bottom <= height else None


def _read_metadata(header: Header, items: Items, data: bytes) -> None:
    """Reads the EXIF block and the XMP packet that belong to the primary picture."""
    about = items.referring(b"cdsc", items.primary)

    def block(kind: bytes, mime: bytes | None) -> bytes | None:
        found = [i for i, k in items.kinds.items() if k == kind and mime in (None, items.types.get(i))]
        chosen = next((item for item in found if item in about), found[0] if found else None)
        if chosen is None:
            return None
        content = items.content(data, chosen)
        if content is None:
            what = "EXIF block" if kind == b"Exif" else "XMP packet"
            header.warnings.append(f"the {what} lies outside of the file and was dropped")
        return content

    exif = block(b"Exif", None)
    if exif is not None and len(exif) > 4:
        header.exif = exif[4 + int.from_bytes(exif[:4], "big") :] or None
    header.xmp = block(b"mime", _XMP_TYPE) or None


def _sequence(data: bytes, start: int, stop: int) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Returns how many pictures the longest track of a movie box has, and the properties of the first one."""
    longest = 1
    properties: list[tuple[bytes, bytes]] = []
    path = {b"trak", b"mdia", b"minf", b"stbl"}
    stack = [(start, stop)]
    for _ in range(_MAX_TRACKS):
        if not stack:
            break
        for kind, a, b in boxes(data, *stack.pop()):
            if kind in path:
                stack.append((a, b))
            elif kind == b"stsz":
                longest = max(longest, struct.unpack_from(">I", data, a + 8)[0])
            elif kind == b"stsd":
                for entry, c, d in boxes(data, a + 8, b):
                    if entry in (b"av01", b"hvc1", b"hev1") and not properties:
                        size = struct.unpack_from(">HH", data, c + 24)
                        inner = boxes(data, c + _SAMPLE_ENTRY, d)
                        properties = [(name, data[e:f]) for name, e, f in inner]
                        properties.append((b"ispe", bytes(4) + struct.pack(">II", *size)))
    return longest, properties


def refuse_other(header: Header, kind: bytes, name: str, packing: str) -> None:
    """Raises an error unless the picture is packed as the format means it to be.

    Raises:
        ImageFormatError: It is not.
    """
    found = header.details.kind
    if found != kind:
        raise ImageFormatError(
            f"the picture in this {name} file is packed as {found.decode('latin-1')!r}; "
            f"only {packing} is read in such files"
        )
