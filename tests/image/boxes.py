"""HEIF files put together box by box, for what no encoder here writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from img2img.image.formats import heif

ESSENTIAL = 0x80


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def content(data: bytes, kind: bytes) -> bytes:
    """Returns what is in the first box of a `kind`."""
    at = data.index(kind)
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


def stream(data: bytes) -> bytes:
    """Returns the compressed bytes of a picture with one part."""
    ((at, size),) = heif.probe(data, "test").details.spans[0]
    return data[at : at + size]


def entry(item: int, kind: bytes, hidden: bool = False, rest: bytes = b"") -> bytes:
    """Returns the infe box of an item."""
    return box(b"infe", struct.pack(">BBBBHH", 2, 0, 0, hidden, item, 0), kind, b"\0", rest)


def location(item: int, extents: Sequence[tuple[int, int]], method: int = 0) -> bytes:
    """Returns the line of an item in an iloc box."""
    spans = b"".join(struct.pack(">II", *extent) for extent in extents)
    return struct.pack(">HHHH", item, method, 0, len(extents)) + spans


def locations(*lines: bytes) -> bytes:
    return box(b"iloc", b"\1\0\0\0\x44\0", struct.pack(">H", len(lines)), *lines)


def owned(item: int, *properties: int) -> bytes:
    """Returns the line of an item in an ipma box."""
    return struct.pack(f">HB{len(properties)}B", item, len(properties), *properties)


def meta(
    entries: Sequence[bytes], properties: Sequence[bytes], lines: Sequence[bytes], *more: bytes
) -> bytes:
    """Returns a meta box whose primary picture is item 1."""
    return box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iinf", struct.pack(">IH", 0, len(entries)), *entries),
        box(
            b"iprp",
            box(b"ipco", *properties),
            box(b"ipma", struct.pack(">II", 0, len(lines)), *lines),
        ),
        *more,
    )


def size(width: int, height: int) -> bytes:
    """Returns the property with the size of an item."""
    return box(b"ispe", struct.pack(">III", 0, width, height))


def grid(
    tiles: Sequence[bytes], side: int, rows: int, columns: int, width: int, height: int, avif: bool = False
) -> bytes:
    """Returns a file whose picture is put together from files with one picture of `side` x `side` each."""
    config, coding = (b"av1C", b"av01") if avif else (b"hvcC", b"hvc1")
    streams = [stream(data) for data in tiles]
    count = len(tiles)
    parts = range(2, 2 + count)
    properties = [
        size(width, height),
        size(side, side),
        box(config, content(tiles[0], config)),
        box(b"colr", b"nclx", content(tiles[0], b"colr")[4:]),
        box(b"pixi", bytes(4), b"\3\x08\x08\x08"),
    ]
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)

    def head(start: int) -> bytes:
        lines = [location(1, [(0, len(layout))], method=1)]
        for part, data in zip(parts, streams, strict=True):
            lines.append(location(part, [(start, len(data))]))
            start += len(data)
        return box(b"ftyp", b"avif" if avif else b"heic", bytes(4), b"mif1miaf") + meta(
            [entry(1, b"grid"), *(entry(part, coding, hidden=True) for part in parts)],
            properties,
            [owned(1, 1, 4, 5), *(owned(part, 2, ESSENTIAL | 3, 4, 5) for part in parts)],
            box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{count}H", 1, count, *parts))),
            box(b"idat", layout),
            locations(*lines),
        )

    return head(len(head(0)) + 8) + box(b"mdat", *streams)
