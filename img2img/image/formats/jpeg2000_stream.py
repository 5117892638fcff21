"""The codestream of JPEG 2000: its size, and whether all of it is there.

References:
    ITU-T T.800 (ISO/IEC 15444-1), annexes A and B.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from img2img.errors import ImageReadError

MAGIC = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_COD, _PPM, _SOT = 0xFF52, 0xFF60, 0xFF90
_PPT = b"\xff\x61"
_OWN_WAYS = (b"\xff\x52", b"\xff\x53", b"\xff\x5f")  # of coding a tile or a component: COD, COC, POC
_BYPASS, _HIGH_THROUGHPUT = 0x01, 0x40
_SLACK = 64


@dataclass(frozen=True)
class CodestreamSize:
    """What the size segment says.

    Attributes:
        width: Of the picture.
        height: Of the picture.
        depths: Bits by component.
        signed: Whether any component is.
        tile: Width and height of a tile.
        tiles: How many there are.
    """

    width: int
    height: int
    depths: tuple[int, ...]
    signed: bool
    tile: tuple[int, int]
    tiles: int


def read_size(data: bytes, at: int) -> CodestreamSize:
    """Returns what the codestream that starts at `at` is the size of.

    Raises:
        ImageReadError: It is none, or makes no sense.
    """
    if data[at : at + 4] != MAGIC:
        raise ImageReadError("the picture data in the JPEG 2000 file is broken")
    right, bottom, left, top, width, height, x, y = struct.unpack_from(">8I", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    codes = [data[at + 42 + 3 * i] for i in range(components)]
    if not (width and height and components) or right <= left or bottom <= top or left < x or top < y:
        raise ImageReadError("the header of the JPEG 2000 file is broken")
    return CodestreamSize(
        right - left,
        bottom - top,
        tuple((code & 0x7F) + 1 for code in codes),
        any(code & 0x80 for code in codes),
        (min(width, right), min(height, bottom)),
        -(-(right - x) // width) * -(-(bottom - y) // height),
    )


def checked(data: bytes, start: int, stop: int) -> bytes:
    """Returns a file whose codestream, from `start` to `stop`, has all of its tiles and its end mark.

    OpenJPEG takes tiles without data for black ones, and zeros for packets without content.

    Raises:
        ImageReadError: A tile is missing or empty, the stream ends early, or a part of it is blank.
    """
    size = read_size(data, start)
    blank: int | None = None
    at = start + 2
    seen: set[int] = set()
    packed_apart = odd = False
    while at + 4 <= stop and data[at : at + 2] != _END:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _SOT:
            tile, part = struct.unpack_from(">HI", data, at + 4)
            end = at + part if part else stop - 2
            if end > stop:
                raise ImageReadError("the JPEG 2000 file is truncated: it ends within the picture data")
            body = data.find(b"\xff\x93", at + 12, end)
            if body < 0:
                raise ImageReadError("the JPEG 2000 file is broken: a tile has no picture data")
            head = data[at + 12 : body]
            packed_apart = packed_apart or _PPT in head
            odd = odd or any(marker in head for marker in _OWN_WAYS)
            if end > body + 2 or packed_apart:
                seen.add(tile)
            if blank and not (odd or packed_apart) and data.find(bytes(blank), body + 2, end) >= 0:
                raise ImageReadError("the image data is broken: a part of it is blank")
            at = end
            continue
        if marker == _COD:
            blank = _longest_blank(data, at, size)
        odd = odd or data[at : at + 2] in _OWN_WAYS[1:]
        packed_apart = packed_apart or marker == _PPM
        if marker < 0xFF00:
            raise ImageReadError("the JPEG 2000 file is broken: its parts do not add up")
        at += 2 + length
    missing = size.tiles - len(seen)
    if missing > 0:
        raise ImageReadError(
            f"the JPEG 2000 file is truncated or broken: {missing} of {size.tiles} tiles hold nothing"
        )
    if data[at : at + 2] == _END:
        return data
    # Complete all the same: some writers forget the mark, and OpenJPEG then refuses the picture.
    if start == 0:
        return data[:at] + _END
    box = start - (8 if data[start - 4 : start] == b"jp2c" else 16)
    return data[:box] + b"\0\0\0\0jp2c" + data[start:at] + _END


def _longest_blank(data: bytes, at: int, size: CodestreamSize) -> int | None:
    """Returns how many zeros in a row the data of a tile may have: empty packets, and blocks left out.

    None where that cannot be told: some ways of coding store plain bits.
    """
    style, layers, levels, across, down, code = struct.unpack_from(">BxHxBBBB", data, at + 4)
    if code & (_BYPASS | _HIGH_THROUGHPUT) or levels > 32:
        return None
    packets = blocks = 0
    for level in range(levels + 1):
        power = data[at + 14 + level] if style & 1 else 0xFF
        width, height = (-(-length >> (levels - level)) for length in size.tile)
        more = 1 + (style & 1)  # own precincts may begin anywhere
        packets += ((width >> (power & 15)) + more) * ((height >> (power >> 4)) + more)
        blocks += ((width >> min(across + 2, power & 15)) + 2) * ((height >> min(down + 2, power >> 4)) + 2)
    most: int = _SLACK + len(size.depths) * layers * (packets + blocks // 4)
    return most
