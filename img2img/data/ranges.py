"""What black and white are in the numbers of pictures, told from the numbers that are found in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from img2img.image.image import Pixels, white_of
from img2img.image.numbers import FARTHEST, words
from img2img.types import UNIT, ValueRange

_OVERSHOOT = 0.1  # of white: so far floats leave 0 to 1 by resampling, and highlights by little more
_FAR = 1.0  # of white: no highlight
_BITS = (8, 10, 12, 14, 16)
_DEEP = 14  # bits of 16: what uses no more is data of so many bits
_APART = 4  # times: of sides whose numbers differ more each has a range of its own


class Extent(NamedTuple):
    """The numbers in one picture.

    Attributes:
        depth: "uint8", "uint16" or "float32".
        low, high: The smallest and the largest finite one.
        broken: How many are not finite.
    """

    depth: str
    low: float
    high: float
    broken: int = 0

    @property
    def white(self) -> float:
        """White in this depth."""
        return white_of(np.dtype(self.depth))

    def sound(self, numbers: ValueRange | None) -> bool:
        """Returns whether training takes it: all are finite, and none stands for "no data"."""
        if self.depth != "float32" and numbers is None:
            return True
        black, white = numbers or UNIT
        reach = FARTHEST * (white - black)
        return not self.broken and self.low >= black - reach and self.high <= black + reach

    def fits(self) -> bool:
        """Returns whether it keeps to black and white of its depth, as all integers do."""
        return self.depth != "float32" or (self.low >= -_OVERSHOOT and self.high <= 1 + _OVERSHOOT)

    def far(self) -> bool:
        """Returns whether it leaves them so far that nothing can be learnt."""
        return self.depth == "float32" and (self.low < -_FAR or self.high > 1 + _FAR)

    def words(self) -> str:
        """Returns "-840 to 1040"."""
        return words(ValueRange(self.low, self.high))


def extent_of(pixels: Pixels) -> Extent:
    """Returns the numbers in (H, W, C)."""
    low, high, broken = float(pixels.min()), float(pixels.max()), 0
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = pixels[np.isfinite(pixels)]
        broken = pixels.size - finite.size
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Extent(str(pixels.dtype), low, high, broken)


def suggested(extents: Sequence[Extent]) -> ValueRange | None:
    """Returns what black and white seem to be in the pictures of one side; None if the usual ones fit."""
    floats = [e for e in extents if e.depth == "float32" and e.sound(None)]
    if any(not extent.fits() for extent in floats):
        return _rounded(min(e.low for e in floats), max(e.high for e in floats))
    deep = max((e.high for e in extents if e.depth == "uint16"), default=0.0)
    if 0 < deep < 2**_DEEP and all(e.depth == "uint16" for e in extents):
        return ValueRange(0, next(2**bits - 1 for bits in _BITS if deep < 2**bits))
    return None


def advice(source: Sequence[Extent], target: Sequence[Extent]) -> str:
    """Returns the assignments that say what `suggested` found, "" if there is nothing to say.

    Args:
        source: Of the sources.
        target: Of the targets; empty where they are the sources, or have a range.
    """
    first, second = suggested(source), suggested(target)
    if not target:
        return option("range", first)
    if first and second:
        both = ValueRange(min(first.low, second.low), max(first.high, second.high))
        if all(both.high - both.low <= _APART * (one.high - one.low) for one in (first, second)):
            return option("range", both)
    if second is None:
        second = ValueRange(0, max(extent.white for extent in target)) if first else None
    return " ".join(option(*each) for each in (("range", first), ("target_range", second)) if each[1])


def option(key: str, numbers: ValueRange | None) -> str:
    """Returns "data.range=[0,4095]" in backquotes."""
    return f"`data.{key}=[{numbers.low:g},{numbers.high:g}]`" if numbers else ""


def _rounded(low: float, high: float) -> ValueRange:
    """Returns round numbers around `low` and `high`: those of some bits, or with two digits."""
    if low > -0.02 * high:
        for bits in _BITS:
            if 2 ** (bits - 1) <= high < 2**bits:
                return ValueRange(0, 2**bits - 1)
        return ValueRange(0, _outward(high))
    return ValueRange(-_outward(-low), _outward(high))


def _outward(value: float) -> float:
    """Returns the next number of two digits that is no smaller than `value`."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{math.ceil(value / step - 1e-6) * step:.3g}")
