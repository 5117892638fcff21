"""The segments of a JPEG file that tell something about its picture, from EXIF to comments."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator

from img2img.image import xmp as _xmp
from img2img.image.formats.base import Header
from img2img.image.image import Image

_APP0, _APP1, _APP2, _APP13, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xFE
MARKERS = frozenset((_APP0, _APP1, _APP2, _APP13, _COMMENT))
_JFIF, _EXIF, _ICC, _MPF = b"JFIF\x00", b"Exif\x00\x00", b"ICC_PROFILE\x00", b"MPF\x00"
_XMP, _XMP_MORE = b"http://ns.adobe.com/xap/1.0/\x00", b"http://ns.adobe.com/xmp/extension/\x00"
_PHOTOSHOP, _IPTC = b"Photoshop 3.0\x00", 0x0404
_MOST = 65533  # bytes in a segment
_ICC_PART = _MOST - len(_ICC) - 2
_XMP_MORE_PART = _MOST - len(_XMP_MORE) - 40
_COMMENT_PART = _MOST // 4  # characters
_MAX_BLOCK = 16 * 2**20  # bytes of one kind of metadata that are put together out of segments

MAX_EXIF = _MOST - len(_EXIF)
MAX_ICC = 255 * _ICC_PART
MAX_XMP = _MAX_BLOCK
MAX_IPTC = _MOST - len(_PHOTOSHOP) - 12 - 1


def read(header: Header, segments: Iterable[tuple[int, bytes]]) -> None:
    """Puts into `header` what the segments (marker, content) say."""
    exif: list[bytes] = []
    icc: dict[int, bytes] = {}
    more: defaultdict[bytes, list[bytes]] = defaultdict(list)
    photoshop: list[bytes] = []
    for marker, body in segments:
        if marker == _APP0 and body.startswith(_JFIF) and len(body) >= 12:
            header.resolution = _resolution(body)
        elif marker == _APP1 and body.startswith(_EXIF):
            # a second one goes on where the first stops, or repeats it
            if not exif or body[6:10] not in (b"II*\0", b"MM\0*"):
                exif.append(body[6:])
        elif marker == _APP1 and body.startswith(_XMP):
            header.xmp = header.xmp or body[len(_XMP) :]
        elif marker == _APP1 and body.startswith(_XMP_MORE) and len(body) > len(_XMP_MORE) + 40:
            more[body[len(_XMP_MORE) :][:32]].append(body[len(_XMP_MORE) + 32 :])
        elif marker == _APP2 and body.startswith(_ICC) and len(body) > 14:
            icc.setdefault(body[12], body[14:])
        elif marker == _APP2 and body.startswith(_MPF):
            header.frames = _mpo_pictures(body[4:])
        elif marker == _APP13 and body.startswith(_PHOTOSHOP):
            photoshop.append(body[len(_PHOTOSHOP) :])
        elif marker == _COMMENT and (text := _text(body)):
            header.text.append(("Comment", text))
    header.icc = b"".join(icc[number] for number in sorted(icc)) or None
    header.exif = _joined("EXIF block", exif, header)
    resources = _joined("Photoshop resources", photoshop, header)
    header.iptc = _iptc(resources) if resources else None
    if header.xmp and (identifier := _xmp.extension_of(header.xmp)) is not None:
        try:
            header.xmp = _xmp.merged(header.xmp, _extension(more[identifier.encode()]))
        except _xmp.BrokenPacketError as error:
            header.warnings.append(f"the extended part of XMP is broken ({error}) and was dropped")


def _joined(name: str, parts: list[bytes], header: Header) -> bytes | None:
    if sum(map(len, parts)) > _MAX_BLOCK:
        header.warnings.append(f"the {name} of more than {_MAX_BLOCK:,} bytes was dropped")
        return None
    return b"".join(parts) or None


def _resolution(jfif: bytes) -> tuple[float, float] | None:
    unit, across, down = struct.unpack_from(">BHH", jfif, 7)
    factor = {1: 1.0, 2: 2.54}.get(unit)  # unit 0 tells the shape of pixels, not their size
    return (across * factor, down * factor) if factor and across and down else None


def _text(body: bytes) -> str:
    body = body.rstrip(b"\0")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _extension(parts: list[bytes]) -> bytes:
    """Returns what was split over segments, each with the whole length and its place before it.

    Raises:
        BrokenPacketError: A part is missing, or they contradict each other.
    """
    data, whole = bytearray(), None
    for part in sorted(parts, key=lambda part: part[4:8]):
        length, at = struct.unpack_from(">II", part)
        if at != len(data) or (whole is not None and length != whole):
            break
        whole = length
        data += part[8:]
        if len(data) >= min(whole, _MAX_BLOCK):
            break
    if whole is None or len(data) != whole:
        raise _xmp.BrokenPacketError("a part of it is missing")
    return bytes(data)


def _mpo_pictures(index: bytes) -> int:
    """Returns how many pictures a multi-picture index lists; 1 when it cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(index[:2])
    try:
        if order is None:
            return 1
        (at,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, at)
        for position in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHII", index, position)
            if tag == 0xB001:
                return max(1, int(value))
    except struct.error:
        pass
    return 1


def _iptc(resources: bytes) -> bytes | None:
    """Returns the IPTC records among Photoshop's resources; None when there are none or they are broken."""
    at = 0
    while at + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, at + 4)
        at += 6 + (resources[at + 6] + 2) // 2 * 2  # a name with its length before it, of an even size in all
        if at + 4 > len(resources):
            return None
        (size,) = struct.unpack_from(">I", resources, at)
        if number == _IPTC:
            return resources[at + 4 : at + 4 + size] if at + 4 + size <= len(resources) else None
        at += 4 + size + size % 2
    return None


def written(data: bytes, image: Image) -> bytes:
    """Returns the JPEG file `data`, as an encoder without metadata made it, with that of `image` in it."""
    at = 2
    if data[2:4] == b"\xff\xe0":  # the JFIF segment stays the first
        at += 2 + int.from_bytes(data[4:6], "big")
    first = data[2:at]
    resolution = image.metadata.resolution
    if first[4:9] == _JFIF and resolution is not None and (density := _density(resolution)) is not None:
        first = first[:11] + density + first[16:]
    stored = (struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in _segments(image))
    return b"".join((data[:2], first, *stored, data[at:]))


def _segments(image: Image) -> Iterator[tuple[int, bytes]]:
    kept = image.metadata
    if image.exif:
        yield _APP1, _EXIF + image.exif
    if kept.xmp:
        packet, extension, identifier = _xmp.fitted(kept.xmp, _MOST - len(_XMP))
        yield _APP1, _XMP + packet
        for at in range(0, len(extension), _XMP_MORE_PART):
            place = identifier.encode() + struct.pack(">II", len(extension), at)
            yield _APP1, _XMP_MORE + place + extension[at : at + _XMP_MORE_PART]
    if kept.iptc:
        padded = kept.iptc + b"\0" * (len(kept.iptc) % 2)
        yield _APP13, _PHOTOSHOP + struct.pack(">4sHHI", b"8BIM", _IPTC, 0, len(kept.iptc)) + padded
    if image.icc:
        parts = [image.icc[i : i + _ICC_PART] for i in range(0, len(image.icc), _ICC_PART)]
        for number, part in enumerate(parts, 1):
            yield _APP2, _ICC + bytes((number, len(parts))) + part
    for keyword, text in kept.text:
        if keyword == "Comment":
            for at in range(0, len(text), _COMMENT_PART):
                yield _COMMENT, text[at : at + _COMMENT_PART].encode("utf-8", "replace")


def _density(resolution: tuple[float, float]) -> bytes | None:
    """Returns unit and density for the JFIF segment, in the unit that rounds less."""

    def error(unit: tuple[int, float]) -> float:
        return sum(abs(value / unit[1] - round(value / unit[1])) for value in resolution)

    units = [
        unit for unit in ((1, 1.0), (2, 2.54)) if all(1 <= round(v / unit[1]) <= 65535 for v in resolution)
    ]
    if not units:
        return None
    code, factor = min(units, key=error)
    return struct.pack(">BHH", code, *(round(value / factor) for value in resolution))
