"""The boxes that AVIF, HEIC, JPEG XL and JPEG 2000 files are made of.

Everything here takes time and memory that follow from the length of the file: boxes lie side by side, counts
are held against the bytes that they need, and the parts of a block may not add up to more than the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from img2img.errors import ImageReadError

_MAX_BOXES = 10_000
_MAX_EXTENTS = 100_000


def boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each box between `start` and `stop`, and where its content starts and stops.

    Raises:
        ImageReadError: A box is longer than what is left, or there are absurdly many.
    """
    for _ in range(_MAX_BOXES):
        if start + 8 > stop:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        end = stop if size == 0 else start + size
        if end > stop or end < body:
            raise ImageReadError("the file is truncated or its boxes are broken")
        yield kind, body, end
        start = end
    raise ImageReadError(f"the file has more than {_MAX_BOXES} boxes")


@dataclass
class Items:
    """What the meta box of a HEIF file, which AVIF is, says about the pictures and blocks in it.

    Attributes:
        primary: The number of the picture to show.
        kinds: "av01", "hvc1", "grid", "Exif" or "mime" by item.
        types: The MIME type of items of the kind "mime".
        hidden: Items that are parts of others and not to be shown.
        properties: (kind, content) of every property there is.
        owned: Numbers of properties, from 1 on, by item.
        extents: Where the bytes of each item are, (start, length) in the file; 0 is up to its end.
        references: What each item refers to, by kind and item: with "dimg" to the parts that it is put
            together from, with "thmb", "auxl" and "cdsc" to the picture that it is a thumbnail, an auxiliary
            picture (alpha, depth) or the metadata of.
        entries: Where the list of items is in the file, (start, stop).
    """

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    types: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    references: dict[tuple[bytes, int], list[int]] = field(default_factory=dict)
    entries: tuple[int, int] = (0, 0)

    def properties_of(self, item: int) -> list[tuple[bytes, bytes]]:
        """Returns the properties of `item` in their order."""
        count = len(self.properties)
        return [self.properties[i - 1] for i in self.owned.get(item, []) if 1 <= i <= count]

    def referring(self, kind: bytes, item: int) -> list[int]:
        """Returns the items with a reference of a `kind` to `item`."""
        return [own for (name, own), targets in self.references.items() if name == kind and item in targets]

    def content(self, data: bytes, item: int) -> bytes | None:
        """Returns the bytes of an item; None when they are not all in the file, or more than the file is."""
        spans = [
            (start, start + length if length else len(data)) for start, length in self.extents.get(item, [])
        ]
        if any(stop > len(data) for _, stop in spans) or sum(b - a for a, b in spans) > len(data):
            return None
        return b"".join(data[start:stop] for start, stop in spans)


def read_items(data: bytes, start: int, stop: int) -> Items:
    """Returns what the content of a meta box says; `start` is after its version.

    Raises:
        ImageReadError: It is broken.
    """
    items = Items()
    own_data = 0
    locations: tuple[int, int] | None = None
    for kind, a, b in boxes(data, start, stop):
        if kind == b"pitm":
            items.primary = int.from_bytes(data[a + 4 : a + (8 if data[a] else 6)], "big")
        elif kind == b"iinf":
            items.entries = a, b
            for inner, c, d in boxes(data, a + (8 if data[a] else 6), b):
                if inner == b"infe" and data[c] >= 2:
                    _entry(data[c:d], items)
        elif kind == b"iprp":
            for inner, c, d in boxes(data, a, b):
                if inner == b"ipco":
                    items.properties = [(name, data[e:f]) for name, e, f in boxes(data, c, d)]
                elif inner == b"ipma":
                    items.owned.update(_associations(data[c:d]))
        elif kind == b"iref":
            wide = 4 if data[a] else 2
            for inner, c, d in boxes(data, a + 4, b):
                source, *targets = _references(data[c:d], wide)
                items.references[inner, source] = targets
        elif kind == b"idat":
            own_data = a
        elif kind == b"iloc":
            locations = a, b
    if locations is not None:
        items.extents = _locations(data[slice(*locations)], own_data)
    return items


def _entry(body: bytes, items: Items) -> None:
    """Adds what an infe box says about an item."""
    wide = 4 if body[0] > 2 else 2
    item = int.from_bytes(body[4 : 4 + wide], "big")
    items.kinds[item] = body[6 + wide : 10 + wide]
    if body[3] & 1:
        items.hidden.add(item)
    if items.kinds[item] == b"mime":
        items.types[item] = body[10 + wide :].split(b"\0", 2)[1]


def _references(body: bytes, wide: int) -> list[int]:
    """Returns the numbers of the item that refers, and of those that it refers to."""
    (count,) = struct.unpack_from(">H", body, wide)
    starts = [0, *range(wide + 2, wide + 2 + count * wide, wide)]
    if starts[-1] + wide > len(body):
        raise ImageReadError("the file is broken: a list of references ends early")
    return [int.from_bytes(body[at : at + wide], "big") for at in starts]


def _associations(body: bytes) -> dict[int, list[int]]:
    """Returns the numbers of the properties of each item."""
    version, wide = body[0], body[3] & 1
    (count,) = struct.unpack_from(">I", body, 4)
    at, owned = 8, {}
    for _ in range(_bounded(count)):
        width = 4 if version else 2
        item = int.from_bytes(body[at : at + width], "big")
        n = body[at + width]
        at += width + 1
        step, mask = (2, 0x7FFF) if wide else (1, 0x7F)
        owned[item] = [
            int.from_bytes(body[at + i * step : at + (i + 1) * step], "big") & mask for i in range(n)
        ]
        at += n * step
    return owned


def _bounded(count: int) -> int:
    """Returns `count`, a number of items.

    Raises:
        ImageReadError: There are absurdly many.
    """
    if count > _MAX_BOXES:
        raise ImageReadError(f"the file claims to hold more than {_MAX_BOXES} items")
    return count


def _locations(body: bytes, own_data: int) -> dict[int, list[tuple[int, int]]]:
    """Returns where the bytes of each item are; items in other files are left out."""
    version = body[0]
    sizes = body[4] >> 4, body[4] & 15, body[5] >> 4, body[5] & 15 if version else 0
    offset_size, length_size, base_size, index_size = sizes
    at = 6

    def take(width: int) -> int:
        nonlocal at
        if at + width > len(body):
            raise ImageReadError("the file is broken: its list of places ends early")
        at += width
        return int.from_bytes(body[at - width : at], "big")

    extents: dict[int, list[tuple[int, int]]] = {}
    left = _MAX_EXTENTS
    for _ in range(_bounded(take(4 if version > 1 else 2))):
        item = take(4 if version > 1 else 2)
        method = take(2) & 15 if version else 0
        reference = take(2)
        base = take(base_size) + (own_data if method == 1 else 0)
        spans = []
        count = take(2)
        left -= count
        if left < 0:
            raise ImageReadError("the file is broken: it is in absurdly many parts")
        for _ in range(count):
            take(index_size)
            offset = take(offset_size)
            spans.append((base + offset, take(length_size)))
        if reference == 0 and method < 2:
            extents[item] = spans
    return extents
