"""Changes to an EXIF block where it lies.

Only the bytes that have to change do: moving anything would break the notes of camera makers, which point at
offsets that only they know.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from fractions import Fraction

from img2img.image.ifd import (
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    LONG,
    SHORT,
    BrokenDirectoryError,
    Directory,
    Reader,
)

_ORIENTATION = 0x0112
_SIZES = ((0x0100, 0x0101), (0xA002, 0xA003))  # ImageWidth and -Length; PixelX- and -YDimension
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_PER_INCH = {2: 1.0, 3: 2.54}  # what a number in this unit is multiplied by
_RATIONAL = 5
_THUMBNAIL_AT, _THUMBNAIL_SIZE = 0x0201, 0x0202
_COLOUR_SPACE, _SRGB = 0xA001, 1
_INDEX, _ADOBE_RGB, _DCF_BASIC = 1, b"R03", b"R98"  # of interoperability: which rules of DCF a camera kept


def payload(exif: bytes) -> bytes:
    """Returns the block from its "II" or "MM" on, without what containers put before it."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    return exif


def orientation(exif: bytes) -> int | None:
    """Returns how the picture has to be turned, 1 to 8; None when the block does not say."""
    try:
        reader = Reader(exif)
        value = reader.directory(reader.first).number(_ORIENTATION, 0)
    except BrokenDirectoryError:
        return None
    return value if 1 <= value <= 8 else None


def is_adobe_rgb(exif: bytes) -> bool:
    """Returns whether a camera says that its colours are those of Adobe RGB, as DCF's option files do."""
    try:
        return _Block(exif).index == _ADOBE_RGB
    except BrokenDirectoryError:
        return False


def in_srgb(exif: bytes) -> bytes:
    """Returns the block of a picture in sRGB: that its colours are those of Adobe RGB is taken back.

    Raises:
        BrokenDirectoryError: The block cannot be read safely.
    """
    block = _Block(exif)
    block.say_srgb()
    return bytes(block.data)


def resolution(exif: bytes) -> tuple[float, float] | None:
    """Returns the pixels per inch that the block tells, across and down; None when it does not."""
    try:
        reader = Reader(exif)
        return _resolution(reader.directory(reader.first))
    except BrokenDirectoryError:
        return None


def _resolution(main: Directory) -> tuple[float, float] | None:
    factor = _PER_INCH.get(main.number(_RESOLUTION_UNIT, 2))
    found = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        field = main.fields.get(tag)
        if field is None or (field.type, field.count) != (_RATIONAL, 1):
            return None
        numerator, denominator = struct.unpack(main.order + "II", field.raw)
        if factor is None or not numerator or not denominator:
            return None
        found.append(numerator / denominator * factor)
    return found[0], found[1]


def settled(exif: bytes, width: int, height: int, per_inch: tuple[float, float] | None = None) -> bytes:
    """Returns the block for an upright picture of `width` x `height` pixels.

    Orientation becomes 1 and sizes true where they are given; so does the resolution in pixels per inch when
    the container tells one. The thumbnail, which shows the picture before, goes. Everything else keeps its
    bytes and its place.

    Raises:
        BrokenDirectoryError: The block cannot be read safely.
    """
    block = _Block(exif)
    for directory in block.directories:
        for tag, value in (
            (_ORIENTATION, 1),
            *((t, width) for t, _ in _SIZES),
            *((t, height) for _, t in _SIZES),
        ):
            if tag in directory.fields and (tag != _ORIENTATION or directory is block.main):
                block.set(directory, tag, value)
    if per_inch is not None:
        block.set_resolution(per_inch)
    block.drop_thumbnail()
    return block.finish()


def without_gps(exif: bytes) -> bytes:
    """Returns the block without the place: its directory is unlinked and its bytes are zero.

    Raises:
        BrokenDirectoryError: The block cannot be read safely.
    """
    block = _Block(exif)
    block.drop_gps()
    return block.finish()


class _Block:
    """A block that is being changed."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif)
        self.reader = Reader(self.data)
        if self.reader.is_big:
            raise BrokenDirectoryError("an EXIF block is never BigTIFF")
        self.main = self._open(self.reader.first)
        self.directories = [self.main]
        for tag in (EXIF_IFD, INTEROP_IFD):
            owner = self.directories[-1]
            if tag in owner.fields:
                self.directories.append(self._open(owner.number(tag, 0)))
        self.gps = self._open(self.main.number(GPS_IFD, 0)) if GPS_IFD in self.main.fields else None
        self.cleared: list[tuple[int, int]] = []

    def _open(self, start: int) -> Directory:
        return self.reader.directory(start)

    def set(self, directory: Directory, tag: int, value: int) -> None:
        """Makes `value` the only number under `tag`, in the place that the tag has."""
        entry = directory.fields[tag].entry
        kind = SHORT if value <= 0xFFFF else LONG
        inline = struct.pack(self.reader.order + ("H2x" if kind == SHORT else "I"), value)
        struct.pack_into(self.reader.order + "HI4s", self.data, entry + 2, kind, 1, inline)

    @property
    def index(self) -> bytes:
        """Three letters that say which rules of DCF the camera kept; none where it kept none."""
        last = self.directories[-1]
        return last.fields[_INDEX].raw[:3] if len(self.directories) == 3 and _INDEX in last.fields else b""

    def say_srgb(self) -> None:
        """Takes back that the colours are those of Adobe RGB."""
        if self.index == _ADOBE_RGB:
            at = self.directories[-1].fields[_INDEX].at
            self.data[at : at + 3] = _DCF_BASIC
            if _COLOUR_SPACE in self.directories[1].fields:
                self.set(self.directories[1], _COLOUR_SPACE, _SRGB)

    def set_resolution(self, per_inch: tuple[float, float]) -> None:
        """Makes the resolution that of the container, unless both are the same but for rounding."""
        known = _resolution(self.main)
        if known is not None and all(abs(a - b) <= 0.5 for a, b in zip(known, per_inch, strict=True)):
            return
        for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), per_inch, strict=True):
            field = self.main.fields.get(tag)
            if field is None:
                continue
            if (field.type, field.count) != (_RATIONAL, 1):
                self.set(self.main, tag, round(value))
                continue
            ratio = Fraction(value).limit_denominator(10_000)
            struct.pack_into(
                self.reader.order + "II", self.data, field.at, ratio.numerator, ratio.denominator
            )
        if _RESOLUTION_UNIT in self.main.fields:
            self.set(self.main, _RESOLUTION_UNIT, 2)

    def drop_thumbnail(self) -> None:
        """Unlinks the second directory and clears it."""
        if not self.main.next:
            return
        kept = _Spans([*self.directories, *([self.gps] if self.gps else [])])
        try:
            second = self._open(self.main.next)
        except BrokenDirectoryError:
            second = None
        struct.pack_into(self.reader.order + "I", self.data, self.main.next_at, 0)
        if second is None:
            return
        self._clear(second, kept)
        at, size = second.number(_THUMBNAIL_AT, 0), second.number(_THUMBNAIL_SIZE, 0)
        self._clear_span(at, at + size, kept)

    def drop_gps(self) -> None:
        """Takes the line of the GPS directory out of the main one and clears it."""
        if self.gps is None:
            return
        entry = self.main.fields[GPS_IFD].entry
        stop = self.main.next_at + 4
        (count,) = struct.unpack_from(self.reader.order + "H", self.data, self.main.start)
        struct.pack_into(self.reader.order + "H", self.data, self.main.start, count - 1)
        self.data[entry : stop - 12] = self.data[entry + 12 : stop]
        self.data[stop - 12 : stop] = bytes(12)
        self._clear(self.gps, _Spans(self.directories))

    def _clear(self, directory: Directory, kept: _Spans) -> None:
        for field in directory.fields.values():
            if len(field.raw) > 4:
                self._clear_span(field.at, field.at + len(field.raw), kept)
        self._clear_span(directory.start, directory.next_at + 4, kept)

    def _clear_span(self, start: int, stop: int, kept: _Spans) -> None:
        """Zeroes bytes, unless a directory that stays has a share in them."""
        stop = min(stop, len(self.data))
        if start < stop and not kept.touch(start, stop):
            self.data[start:stop] = bytes(stop - start)
            self.cleared.append((start, stop))

    def finish(self) -> bytes:
        """Returns the bytes; what was cleared at their end is cut off."""
        for start, stop in sorted(self.cleared, reverse=True):
            if stop + 1 >= len(self.data):
                del self.data[start:]
        return bytes(self.data)


class _Spans:
    """The bytes that directories and their values take, with the first eight of the block."""

    def __init__(self, directories: list[Directory]) -> None:
        spans = [(0, 8)]
        for directory in directories:
            spans.append((directory.start, directory.next_at + 4))
            spans += [(field.at, field.at + len(field.raw)) for field in directory.fields.values()]
        self._starts: list[int] = []
        self._stops: list[int] = []  # of all that start so early, the last
        for start, stop in sorted(spans):
            self._starts.append(start)
            self._stops.append(max(stop, self._stops[-1] if self._stops else 0))

    def touch(self, start: int, stop: int) -> bool:
        """Returns whether any of them has a share in the bytes from `start` to `stop`."""
        before = bisect_right(self._starts, stop - 1)
        return before > 0 and self._stops[before - 1] > start
