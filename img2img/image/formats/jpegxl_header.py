"""The header at the beginning of a JPEG XL codestream: size, depth, channels, colours, orientation.

References:
    ISO/IEC 18181-1, annexes A (headers), D (image header) and E (colour encoding).
"""

from __future__ import annotations

from dataclasses import dataclass

from img2img.errors import ImageReadError
from img2img.image.colour import ColourSpace

MAGIC = b"\xff\x0a"
LONGEST = 4096  # bytes of a header that are looked at
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_MAX_EXTRA = 64
_GREY, _XYB = 1, 2
_ALPHA, _BLACK = 0, 4
_CUSTOM, _P3, _DCI = 2, 11, 11
_D65 = (0.3127, 0.329)
_WHITES = {1: _D65, 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_PRIMARIES = {
    1: (0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}


@dataclass
class ImageHeader:
    """What the header says.

    Attributes:
        width: As stored, before it is turned.
        height: The same.
        orientation: 1 to 8, as in EXIF.
        bits: Of a number.
        is_float: Whether numbers are floating point.
        grey: Whether there is no colour.
        extra: Kinds of the channels beside the colours; 0 is alpha.
        premultiplied: Whether colours are multiplied with alpha.
        animated: Whether there may be several pictures.
        packed_profile: Whether an ICC profile is packed into the stream.
        lossy: Whether the stream has its own colours (XYB), so that a decoder chooses those of its result.
        space: The colours that it names; None for sRGB and with a profile.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    bits: int = 8
    is_float: bool = False
    grey: bool = False
    extra: tuple[int, ...] = ()
    premultiplied: bool = False
    animated: bool = False
    packed_profile: bool = False
    lossy: bool = True
    space: ColourSpace | None = None


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ImageReadError("the header of the JPEG XL file is truncated or broken")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value

    def flag(self) -> bool:
        return bool(self.take(1))

    def choice(self, *ways: tuple[int, int]) -> int:
        """Returns a number that is stored in one of four ways: (what is added, bits)."""
        base, bits = ways[self.take(2)]
        return base + self.take(bits)

    def name(self) -> int:
        """Returns the number of something that has a name."""
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))

    def chromaticity(self) -> tuple[float, float]:
        ways = ((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
        x, y = self.choice(*ways), self.choice(*ways)
        return _signed(x) / 1e6, _signed(y) / 1e6


def _signed(value: int) -> int:
    return value >> 1 if value % 2 == 0 else -(value >> 1) - 1


def read_header(stream: bytes) -> ImageHeader:
    """Returns what the beginning of a codestream says.

    Raises:
        ImageReadError: It is truncated or broken.
    """
    if not stream.startswith(MAGIC):
        raise ImageReadError("the JPEG XL file is truncated or broken: it holds no picture data")
    bits = _Bits(stream[2:LONGEST])
    header = ImageHeader()
    header.width, header.height = _size(bits)
    if bits.flag():
        return header
    if bits.flag():
        header.orientation = 1 + bits.take(3)
        if bits.flag():
            _size(bits)  # at which it should be shown
        if bits.flag():
            _preview(bits)
        header.animated = bits.flag()
        if header.animated:
            bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
            bits.flag()
    header.is_float, header.bits = _depth(bits)
    bits.flag()  # whether 16 bits do for intermediate results
    count = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
    if count > _MAX_EXTRA:
        raise ImageReadError(f"the JPEG XL file has {count} channels beside its colours; that is absurd")
    kinds = []
    for _ in range(count):
        kind, premultiplied = _extra_channel(bits)
        kinds.append(kind)
        header.premultiplied = header.premultiplied or premultiplied
    header.extra = tuple(kinds)
    header.lossy = bits.flag()
    _colours(bits, header)
    return header


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.flag()

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    if ratio == 0:
        return side(), height
    times, by = _RATIOS[ratio]
    return height * times // by, height


def _preview(bits: _Bits) -> None:
    small = bits.flag()
    ways = ((16, 0), (32, 0), (1, 5), (33, 9)) if small else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.choice(*ways)
    if bits.take(3) == 0:
        bits.choice(*ways)


def _depth(bits: _Bits) -> tuple[bool, int]:
    if not bits.flag():
        return False, bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
    size = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
    bits.take(4)
    return True, size


def _extra_channel(bits: _Bits) -> tuple[int, bool]:
    """Returns the kind of a channel, and whether the colours are multiplied with it."""
    if bits.flag():
        return _ALPHA, False
    kind = bits.name()
    _depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == _ALPHA:
        return kind, bits.flag()
    if kind == 2:
        bits.take(64)
    elif kind == 5:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, False


def _colours(bits: _Bits, header: ImageHeader) -> None:
    if bits.flag():
        return
    header.packed_profile = bits.flag()
    kind = bits.name()
    header.grey = kind == _GREY
    if header.packed_profile or kind == _XYB:
        return
    white_name = bits.name()
    white = bits.chromaticity() if white_name == _CUSTOM else _WHITES.get(white_name, _D65)
    name, points = 1, _PRIMARIES[1]
    if not header.grey:
        name = bits.name()
        if name == _CUSTOM:
            points = (*bits.chromaticity(), *bits.chromaticity(), *bits.chromaticity())
        else:
            points = _PRIMARIES.get(name, points)
    gamma = bits.take(24) / 1e7 if bits.flag() else None
    transfer = 2 if gamma is not None else bits.name()
    if name == _P3 and white_name == 1:
        name = 12  # Display P3; 11 is that of cinemas
    by_name = gamma is None and name != _CUSTOM and white_name == (_DCI if name == _P3 else 1)
    if by_name and (name, transfer) not in ((1, 13), (1, 2)):
        header.space = ColourSpace(name, transfer)
    elif not by_name:
        header.space = ColourSpace(gamma=gamma or _GAMMAS.get(transfer), chromaticities=(*white, *points))


_GAMMAS = {8: 1.0, 13: 0.45455, 1: 0.45455, 17: 1 / 2.6}  # nearest to transfers beside chromaticities
