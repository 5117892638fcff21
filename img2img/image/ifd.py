"""The directories of tags that TIFF files and EXIF blocks are made of.

Values stay the bytes that they are, in the byte order of the file, so that nothing is lost by reading and
writing them again.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
SUB_DIRECTORIES = frozenset((EXIF_IFD, GPS_IFD, INTEROP_IFD))

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_CODES = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
BYTE, SHORT, LONG, RATIONAL, UNDEFINED, DOUBLE = 1, 3, 4, 5, 7, 12
_CLASSIC_TYPES = 13
_MAX_ENTRIES = 4096
_MAX_DEPTH = 4


class BrokenDirectoryError(ValueError):
    """A directory or a value in it points outside of the file, or contradicts itself."""


@dataclass(frozen=True)
class IfdEntry:
    """The value of one tag.

    Attributes:
        type: 1 to 13 as in TIFF 6.0, 16 to 18 as in BigTIFF.
        count: How many values.
        raw: Their bytes.
        entry: Where its line in the directory starts.
        at: Where its bytes start.
    """

    type: int
    count: int
    raw: bytes
    entry: int = 0
    at: int = 0


@dataclass
class Directory:
    """One directory.

    Attributes:
        fields: By tag.
        order: "<" for Intel or ">" for Motorola.
        start: Where it starts.
        next_at: Where the pointer to the next directory stands.
        next: Where the next one starts, or 0.
        broken: Tags whose values lie outside of the file, or are of an unknown type; they have no field.
    """

    fields: dict[int, IfdEntry]
    order: str
    start: int = 0
    next_at: int = 0
    next: int = 0
    broken: frozenset[int] = frozenset()

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Returns the whole numbers under `tag`; none when it is missing or of another type."""
        field = self.fields.get(tag)
        if field is None or field.type not in _CODES or field.type in (11, 12):
            return ()
        return struct.unpack(f"{self.order}{field.count}{_CODES[field.type]}", field.raw)

    def number(self, tag: int, default: int) -> int:
        """Returns the first whole number under `tag`."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else default


class Reader:
    """Reads directories out of the bytes of a file.

    Args:
        data: The whole file, or an EXIF block from its "II" or "MM" on.

    Attributes:
        order: "<" or ">".
        first: Where the first directory starts.
        is_big: Whether this is BigTIFF.

    Raises:
        BrokenDirectoryError: It does not start as such a file does.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
        if order is None or len(data) < 8:
            raise BrokenDirectoryError("it does not start as TIFF does")
        self.order = order
        (magic,) = struct.unpack_from(order + "H", data, 2)
        self.is_big = magic == 43
        if magic not in (42, 43) or (self.is_big and len(data) < 16):
            raise BrokenDirectoryError("it does not start as TIFF does")
        self._budget = 4 * len(data) + 2**16  # bytes of values: entries that share theirs shall not add up
        (self.first,) = struct.unpack_from(
            order + ("Q" if self.is_big else "I"), data, 8 if self.is_big else 4
        )

    def directory(self, start: int) -> Directory:
        """Returns the directory at `start`; values outside of the file are left out and counted as broken.

        Raises:
            BrokenDirectoryError: The directory itself is outside of the file.
        """
        begin, next_at = self._lines(start)
        entry_size, inline, at_code = (20, 8, "Q") if self.is_big else (12, 4, "I")
        fields: dict[int, IfdEntry] = {}
        broken: set[int] = set()
        self._budget -= next_at - begin
        if self._budget < 0:
            raise BrokenDirectoryError(f"the directory at {start} shares its bytes with others")
        for entry in range(begin, next_at, entry_size):
            tag, kind, n = struct.unpack_from(f"{self.order}HH{at_code}", self.data, entry)
            size = n * _SIZES.get(kind, 0)
            at = entry + entry_size - inline
            if size > inline:
                (at,) = struct.unpack_from(self.order + at_code, self.data, at)
            if kind not in _SIZES or at + size > len(self.data) or size > self._budget:
                broken.add(tag)
                continue
            self._budget -= size
            fields.setdefault(tag, IfdEntry(kind, n, bytes(self.data[at : at + size]), entry, at))
        following = self.next_after(start)
        return Directory(fields, self.order, start, next_at, following, frozenset(broken))

    def next_after(self, start: int) -> int:
        """Returns where the directory after the one at `start` begins, or 0.

        Raises:
            BrokenDirectoryError: The directory is outside of the file.
        """
        try:
            (following,) = struct.unpack_from(
                self.order + ("Q" if self.is_big else "I"), self.data, self._lines(start)[1]
            )
        except struct.error:
            return 0  # a block that ends right after its last entry
        return int(following)

    def _lines(self, start: int) -> tuple[int, int]:
        """Returns where the lines of the directory at `start` begin and end."""
        code, size = ("Q", 20) if self.is_big else ("H", 12)
        try:
            (count,) = struct.unpack_from(self.order + code, self.data, start)
        except struct.error as error:
            raise BrokenDirectoryError(f"the directory at {start} is outside of the file") from error
        begin = start + struct.calcsize(code)
        end = begin + count * size
        if count > _MAX_ENTRIES or end > len(self.data):
            raise BrokenDirectoryError(f"the directory at {start} does not fit into the file")
        return begin, end

    def tree(self, start: int, depth: int = 0) -> Tree:
        """Returns the directory at `start` with those below it; what is broken in it is left out."""
        directory = self.directory(start)
        tree: Tree = {}
        for tag, field in directory.fields.items():
            if tag in SUB_DIRECTORIES:
                try:
                    if depth < _MAX_DEPTH:
                        tree[tag] = self.tree(directory.number(tag, 0), depth + 1)
                except BrokenDirectoryError:
                    continue
            elif field.type <= _CLASSIC_TYPES:
                tree[tag] = field
        return tree


Tree = dict[int, "IfdEntry | Tree"]
"""Fields and further directories by tag."""


def numbers(order: str, kind: int, *values: int) -> IfdEntry:
    """Returns a field of whole numbers."""
    return IfdEntry(kind, len(values), struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values))


def reordered(field: IfdEntry, before: str, after: str) -> IfdEntry:
    """Returns a field whose bytes are in the order `after` instead of `before`."""
    width = _SIZES[field.type] // (2 if field.type in (5, 10) else 1)
    if before == after or width == 1:
        return field
    return IfdEntry(field.type, field.count, np.frombuffer(field.raw, f"u{width}").byteswap().tobytes())


def build(tree: Mapping[int, IfdEntry | Tree], order: str, at: int) -> bytes:
    """Returns the bytes of a directory, all its values and the directories below it.

    Args:
        tree: What to write.
        order: "<" or ">"; the bytes in the fields are in this order already.
        at: Where in the file the bytes will stand; even.
    """
    entries = sorted(tree.items())
    values_at = at + 2 + 12 * len(entries) + 4
    lines = [struct.pack(order + "H", len(entries))]
    values = bytearray()
    for tag, item in entries:
        if isinstance(item, dict):
            item = IfdEntry(LONG, 1, struct.pack(order + "I", values_at + len(values)))
            below = build(tree[tag], order, values_at + len(values))  # type: ignore[arg-type]
            lines.append(struct.pack(order + "HHI", tag, item.type, 1) + item.raw)
            values += below + b"\0" * (len(below) % 2)
            continue
        if len(item.raw) <= 4:
            inline = item.raw.ljust(4, b"\0")
        else:
            inline = struct.pack(order + "I", values_at + len(values))
            values += item.raw + b"\0" * (len(item.raw) % 2)
        lines.append(struct.pack(order + "HHI", tag, item.type, item.count) + inline)
    return b"".join(lines) + b"\0\0\0\0" + bytes(values)
