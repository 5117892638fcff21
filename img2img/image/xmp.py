"""Changes to an XMP packet where it lies: only the bytes that have to change do."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction

from img2img.image.xmp_walk import (
    CAMERA,
    EXIF,
    IPTC,
    NOTE,
    OTHER_PICTURES,
    TIFF,
    XMP,
    Property,
    Walk,
    is_gps,
    utf8,
)
from img2img.image.xmp_walk import (
    BrokenPacketError as BrokenPacketError,
)

_HEAD = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)


_NEW = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{_TERMS}trainedAlgorithmicMedia"
"""IPTC's word for what a generative model created."""
EDITED = f"{_TERMS}compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a picture that a generative model augmented, corrected or enhanced."""
_SAYS_MORE = {EDITED: (GENERATED, f"{_TERMS}compositeSynthetic")}


def orientation(packet: bytes) -> int | None:
    """Returns how the packet says that the picture has to be turned, 1 to 8; None when it does not say."""
    try:
        if b"rientation" not in utf8(packet):
            return None
        walk = Walk(packet)
    except BrokenPacketError:
        return None
    for item in walk.items:
        if item.name == (TIFF, "Orientation") and item.top:
            value = walk.value(item)
            return int(value) if value in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8") else None
    return None


def settled(packet: bytes, width: int, height: int, resolution: tuple[float, float] | None = None) -> bytes:
    """Returns the packet for an upright picture of `width` x `height` pixels, in UTF-8.

    Orientation becomes 1, and sizes become true where they are given; so does the resolution in pixels per
    inch, when there is one. What describes other pictures of the file goes: thumbnails, gain maps, videos.

    Raises:
        BrokenPacketError: It cannot be read.
    """
    true = {
        (TIFF, "Orientation"): "1",
        (TIFF, "ImageWidth"): str(width),
        (TIFF, "ImageLength"): str(height),
        (EXIF, "PixelXDimension"): str(width),
        (EXIF, "PixelYDimension"): str(height),
    }
    if resolution is not None:
        for name, value in zip(("XResolution", "YResolution"), resolution, strict=True):
            ratio = Fraction(value).limit_denominator(10_000)
            true[TIFF, name] = f"{ratio.numerator}/{ratio.denominator}"
        true[TIFF, "ResolutionUnit"] = "2"
    walk = Walk(packet)
    edits = []
    for item in walk.items:
        if _is_of_other_pictures(item):
            edits.append(item.gone())
        elif item.top and item.name in true:
            edits.append(item.saying(true[item.name], walk.value(item)))
    return walk.with_edits(edits)


def with_source_type(packet: bytes | None, term: str) -> bytes:
    """Returns the packet, or a new one, that says by IPTC's DigitalSourceType where the picture comes from.

    What it says of that already is replaced; but a picture that was created stays one when it is edited.

    Args:
        packet: What there is.
        term: `GENERATED` or `EDITED`.

    Raises:
        BrokenPacketError: It cannot be read.
    """
    walk = Walk(packet or _NEW)
    known = [item for item in walk.items if item.top and item.name == (IPTC, "DigitalSourceType")]
    said = b"".join(walk.data[item.start : item.stop] for item in known)
    term = next((more for more in _SAYS_MORE.get(term, ()) if _ends_in(said, more)), term)
    edits = [item.gone() for item in known[1:]]
    if known:
        edits.append(known[0].saying(term, walk.value(known[0])))
    elif (edit := walk.telling(IPTC, "Iptc4xmpExt", "DigitalSourceType", term)) is not None:
        edits.append(edit)
    else:  # it says nothing at all
        return with_source_type(None, term)
    return walk.with_edits(edits)


def _ends_in(said: bytes, term: str) -> bool:
    """Returns whether a property says `term`, whichever way it is written."""
    name = re.escape(term.rpartition("/")[2].encode())
    return re.search(rb"[/>\"']" + name + rb"\s*[\"'<]", said) is not None


def without_gps(packet: bytes) -> bytes:
    """Returns the packet without the place: every property, of whatever vendor, whose name starts with GPS.

    Raises:
        BrokenPacketError: It cannot be read.
    """
    walk = Walk(packet)
    return walk.with_edits([item.gone() for item in walk.items if is_gps(item.name[1])])


def merged(packet: bytes, extension: bytes) -> bytes:
    """Returns one packet with what stands in `packet` and in the extension that belongs to it.

    Raises:
        BrokenPacketError: One of them cannot be read.
    """
    walk, more = Walk(packet), Walk(extension)
    if walk.last is None:
        raise BrokenPacketError("it has no place for the extension")
    edits = [item.gone() for item in walk.items if item.name == (NOTE, "HasExtendedXMP")]
    edits.append((walk.last, walk.last, b"".join(more.nodes())))
    return walk.with_edits(edits)


def extension_of(packet: bytes) -> str | None:
    """Returns the identifier of the extension that `packet` refers to, or None."""
    if b"HasExtendedXMP" not in packet:
        return None
    try:
        walk = Walk(packet)
    except BrokenPacketError:
        return None
    for item in walk.items:
        if item.name == (NOTE, "HasExtendedXMP"):
            return walk.value(item).decode("ascii", "replace")
    return None


def fitted(packet: bytes, most: int) -> tuple[bytes, bytes, str]:
    """Returns `packet` in at most `most` bytes, and what does not fit as an extension with its identifier.

    The spaces at its end that are there for editing in place go first. Both the extension and its identifier
    are empty when they suffice.
    """
    if len(packet) > most:
        content, trailer, end = packet.rpartition(b"<?xpacket end")
        packet = content.rstrip() + trailer + end
    if len(packet) <= most:
        return packet, b"", ""
    extension = re.sub(rb"<\?xpacket[^>]*>", b"", packet).strip()
    identifier = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()
    return _HEAD % identifier.encode(), extension, identifier


def _is_of_other_pictures(item: Property) -> bool:
    space, name = item.name
    return (
        space in OTHER_PICTURES
        or item.name in ((XMP, "Thumbnails"), (NOTE, "HasExtendedXMP"))
        or (space == CAMERA and name.startswith(("MotionPhoto", "MicroVideo")))
    )
