"""One way through an XMP packet: where its properties lie, and the packet with other bytes in their places.

A packet is walked once by expat, which tells where each element starts; nothing is built of it, and a
document type, with which entities could be declared, ends the walk. Prefixes that are not declared have
their usual meaning, since such packets exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from xml.parsers import expat

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
CAMERA = "http://ns.google.com/photos/1.0/camera/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_PREFIXES = {
    "rdf": _RDF,
    "tiff": TIFF,
    "exif": EXIF,
    "xmp": XMP,
    "xap": XMP,
    "xmpNote": NOTE,
    "Iptc4xmpExt": IPTC,
    "xmpGImg": "http://ns.adobe.com/xap/1.0/g/img/",
    "xml": "http://www.w3.org/XML/1998/namespace",
}
# What describes further pictures in a file, or a small one within the packet: they are not taken along.
OTHER_PICTURES = frozenset(
    (
        "http://ns.adobe.com/xap/1.0/g/img/",
        "http://ns.adobe.com/hdr-gain-map/1.0/",
        "http://ns.google.com/photos/1.0/container/",
        "http://ns.google.com/photos/1.0/container/item/",
    )
)
_SPACES = OTHER_PICTURES | {TIFF, EXIF, XMP, NOTE, CAMERA, IPTC}
_ATTRIBUTE = re.compile(rb"\s+([^\s=/>\"']+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_END = re.compile(rb"\s*/?>")
_MAX_NODES, _MAX_PREFIXES = 1000, 100
# How a packet begins that is not in UTF-8: with a byte order mark or, as XMP has it, with "<" at once.
_ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<\0", "utf-16-be"),
)


class BrokenPacketError(ValueError):
    """A packet is no well-formed XML, or declares a document type."""


def is_gps(name: str) -> bool:
    """Returns whether a property of this name tells the place."""
    return name[:3].lower() == "gps"


def utf8(packet: bytes) -> bytes:
    """Returns the packet in UTF-8, without what may stand around it.

    Raises:
        BrokenPacketError: It is no text. What holds zeros is none, and expat would take it for UTF-16.
    """
    encoding = next((name for mark, name in _ENCODINGS if packet.startswith(mark)), None)
    if encoding is None:
        text = packet.lstrip(b"\0 \r\n\t").removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
    else:
        try:
            text = packet.decode(encoding).strip("\0 \r\n\t\ufeff").encode()
        except UnicodeDecodeError as error:
            raise BrokenPacketError("it is no text") from error
    if b"\0" in text:
        raise BrokenPacketError("it is no text")
    return text


@dataclass(frozen=True)
class Property:
    """An attribute or element that may have to change.

    Attributes:
        name: Its namespace and local name.
        raw: Its name as written; empty for an attribute.
        top: Whether it is a property of the picture itself, not part of one.
        start: Where it starts, with the space before it.
        stop: Where it stops.
        value: Where its value starts and stops.
    """

    name: tuple[str, str]
    raw: bytes
    top: bool
    start: int
    stop: int
    value: tuple[int, int]

    def gone(self) -> tuple[int, int, bytes]:
        """Returns the edit that removes it."""
        return self.start, self.stop, b""

    def saying(self, text: str, before: bytes) -> tuple[int, int, bytes]:
        """Returns the edit that gives it the value `text` in place of `before`."""
        if not self.raw or text.encode() == before:
            return (*self.value, text.encode())
        return self.start, self.stop, b"<%b>%b</%b>" % (self.raw, text.encode(), self.raw)


class _Open(NamedTuple):
    """An element that has not ended."""

    raw: str
    kind: str  # "outer", "rdf", "node", "property" or "inner"
    start: int
    inside: int  # where its start tag stops
    closed: bool  # whether that is all there is of it
    name: tuple[str, str] | None  # None when nothing about it matters
    before: dict[str, str | None]  # what the prefixes that it declares were before


_DULL = {kind: _Open("", kind, 0, 0, False, None, {}) for kind in ("property", "inner")}


class Walk:
    """One way through a packet."""

    def __init__(self, packet: bytes) -> None:
        self.data = utf8(packet)
        self.items: list[Property] = []
        self.last: int | None = None  # where the end tag of the first rdf:RDF starts
        # of each description: its start, where its name stops, its stop, the prefixes that it declares
        self._nodes: list[tuple[int, int, int, Mapping[str, str]]] = []
        self._prefixes: dict[str, str | None] = dict(_PREFIXES)
        self._known: dict[str, tuple[str, str]] = {}  # names as they resolve now
        self._inherited: dict[str, str] = {}  # prefixes declared outside of rdf:RDF and by it
        self._open: list[_Open] = []
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(self.data, True)
        except expat.ExpatError as error:
            raise BrokenPacketError(f"it is no XML: {expat.errors.messages[error.code]}") from error

    def value(self, item: Property) -> bytes:
        """Returns what `item` says."""
        return self.data[slice(*item.value)].strip()

    def nodes(self) -> Iterable[bytes]:
        """Yields each description, with every prefix declared that it may use.

        Raises:
            BrokenPacketError: There are more prefixes than in any real packet.
        """
        from xml.sax.saxutils import quoteattr  # brings urllib.request along: not at each start

        if len(self._inherited) > _MAX_PREFIXES:
            raise BrokenPacketError("it declares too many prefixes")
        for start, named, stop, own in self._nodes:
            inherited = "".join(
                f" xmlns{':' if prefix else ''}{prefix}={quoteattr(uri)}"
                for prefix, uri in self._inherited.items()
                if prefix not in own
            )
            yield self.data[start:named] + inherited.encode() + self.data[named:stop]

    def telling(self, space: str, prefix: str, name: str, text: str) -> tuple[int, int, bytes] | None:
        """Returns the edit that gives the first description one more attribute; None if there is none.

        Args:
            space: The namespace of the attribute.
            prefix: What it is usually called; another one is taken where that has another meaning.
            name, text: Of the attribute.
        """
        from xml.sax.saxutils import quoteattr

        if not self._nodes:
            return None
        _, named, _, own = self._nodes[0]
        while {**self._inherited, **own}.get(prefix, space) != space:
            prefix += "_"
        declared = "" if prefix in own else f" xmlns:{prefix}={quoteattr(space)}"
        return named, named, f"{declared} {prefix}:{name}={quoteattr(text)}".encode()

    def with_edits(self, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
        """Returns the packet with other bytes from `start` to `stop`; edits within a larger one are void."""
        parts, at = [], 0
        for start, stop, text in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
            if start >= at:
                parts += [self.data[at:start], text]
                at = stop
        return b"".join((*parts, self.data[at:]))

    def _doctype(self, *_: object) -> None:
        raise BrokenPacketError("it declares a document type")

    def _start(self, raw: str, attributes: Mapping[str, str]) -> None:
        name = self._resolved(raw)
        kind = self._kind(name)
        if not attributes and kind in ("property", "inner") and not _is_interesting(name):
            self._open.append(_DULL[kind])
            return
        start = self._parser.CurrentByteIndex
        named = at = start + 1 + len(raw.encode())
        found = []
        while attributes and (match := _ATTRIBUTE.match(self.data, at)) is not None:
            found.append((match[1].decode(), match))
            at = match.end()
        own = {key[6:]: attributes[key] for key, _ in found if key == "xmlns" or key.startswith("xmlns:")}
        before = {prefix: self._prefixes.get(prefix) for prefix in own}
        if own:
            self._declare(own)
            name = self._resolved(raw)
            kind = self._kind(name)
        if kind in ("outer", "rdf"):
            self._inherited |= own
        for key, match in found:
            attribute = self._resolved(key)
            if _is_interesting(attribute):
                value = match.start(2) + 1, match.end(2) - 1
                self.items.append(Property(attribute, b"", kind == "node", match.start(), match.end(), value))
        end = _END.match(self.data, at)
        assert end is not None
        if kind == "node":
            if len(self._nodes) == _MAX_NODES:
                raise BrokenPacketError("it has too many descriptions")
            self._nodes.append((start, named, 0, own))
        self._open.append(_Open(raw, kind, start, end.end(), b"/" in end[0], name, before))

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if element.name is None:
            return
        at = self._parser.CurrentByteIndex
        if element.closed:
            at, stop = element.inside, element.inside
        else:
            stop = self.data.index(b">", at) + 1
        if element.kind == "rdf" and self.last is None and not element.closed:
            self.last = at
        if element.kind == "node":
            first, named, __, prefixes = self._nodes[-1]
            self._nodes[-1] = (first, named, stop, prefixes)
        if _is_interesting(element.name):
            top = element.kind == "property"
            written, value = element.raw.encode(), (element.inside, at)
            self.items.append(Property(element.name, written, top, element.start, stop, value))
        if element.before:
            self._declare(element.before)

    def _declare(self, prefixes: Mapping[str, str | None]) -> None:
        self._prefixes |= prefixes
        self._known.clear()

    def _kind(self, name: tuple[str, str]) -> str:
        parent = self._open[-1].kind if self._open else "outer"
        if parent == "node":
            return "property"
        if parent in ("property", "inner"):
            return "inner"
        if parent == "rdf" or name == (_RDF, "Description"):
            return "node"
        return "rdf" if name == (_RDF, "RDF") else "outer"

    def _resolved(self, raw: str) -> tuple[str, str]:
        known = self._known.get(raw)
        if known is None:
            prefix, colon, local = raw.rpartition(":")
            known = self._known[raw] = ((self._prefixes.get(prefix) or "") if colon else "", local)
        return known


def _is_interesting(name: tuple[str, str]) -> bool:
    return name[0] in _SPACES or is_gps(name[1])
