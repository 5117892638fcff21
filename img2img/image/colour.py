"""What the numbers in a picture mean: colour spaces that files name by numbers, and the way to light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatValues = NDArray[np.floating[Any]]
Chromaticities = tuple[float, float, float, float, float, float, float, float]

BT601 = (0.299, 0.587, 0.114)  # weights of red, green and blue in luma; also those of MATLAB's rgb2gray
D50 = np.array([0.9642, 1.0, 0.8249])  # the white of ICC's connection space
REFERENCE_WHITE = 203.0  # candela per square metre that BT.2408 gives to white in PQ and HLG
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_GAMMA = 0.45455  # what PNG writers put beside, or in place of, "this is sRGB"


@dataclass(frozen=True)
class ColourSpace:
    """A colour space as PNG's cICP and AVIF's nclx name it, or PNG's gAMA and cHRM describe it.

    Attributes:
        primaries: ColourPrimaries of ITU-T H.273; 1 is sRGB's, 9 BT.2020's, 12 Display P3's, 2 unspecified.
        transfer: TransferCharacteristics of the same; 13 is sRGB's, 16 PQ, 18 HLG, 2 unspecified.
        gamma: PNG's gAMA as a number (0.45455 for a display of 2.2), where the file has no code points.
        chromaticities: PNG's cHRM: white x, y, red x, y, green x, y, blue x, y.
    """

    primaries: int = 2
    transfer: int = 2
    gamma: float | None = None
    chromaticities: Chromaticities | None = None

    @property
    def by_code_points(self) -> bool:
        """Whether H.273 names it; otherwise gamma and chromaticities describe it."""
        return (self.primaries, self.transfer) != (2, 2)

    def __str__(self) -> str:
        if self.by_code_points:
            known = _NAMES.get((self.primaries, self.transfer))
            return known or f"H.273 primaries {self.primaries}, transfer {self.transfer}"
        if self == ADOBE_RGB:
            return "Adobe RGB"
        gamma = "" if self.gamma is None else f"gamma {1 / self.gamma:.4g}"
        own = "" if self.chromaticities is None else "its own primaries"
        return " and ".join(part for part in (gamma, own) if part) or "sRGB"


class Curve(Protocol):
    """How the numbers of one channel stand for light; both from 0 to 1 for black to white."""

    def light(self, numbers: FloatValues) -> FloatValues:
        """Returns linear light."""

    def numbers(self, light: FloatValues) -> FloatValues:
        """Returns what stands for linear light."""


@dataclass(frozen=True)
class Power:
    """ICC's parametric curve: (a x + b)^g + e from d upwards, c x + f below it; odd for negative numbers."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def light(self, numbers: FloatValues) -> FloatValues:
        """See `Curve`."""
        x = np.abs(numbers)
        curved = np.maximum(self.a * x + self.b, 0) ** self.g + self.e
        return np.copysign(np.where(x >= self.d, curved, self.c * x + self.f), numbers)

    def numbers(self, light: FloatValues) -> FloatValues:
        """See `Curve`."""
        y = np.abs(light)
        curved = (np.maximum(y - self.e, 0) ** (1 / self.g) - self.b) / self.a
        if self.d > 0:
            straight = (y - self.f) / self.c if self.c > 0 else np.zeros_like(y)
            curved = np.where(y >= (self.a * self.d + self.b) ** self.g + self.e, curved, straight)
        return np.copysign(np.maximum(curved, 0), light)


@dataclass(frozen=True, eq=False)
class SampledCurve:
    """A curve by its values (N,) at equal steps from 0 to 1, which never fall; what is outside is cut off."""

    values: NDArray[np.float64]

    def light(self, numbers: FloatValues) -> FloatValues:
        """See `Curve`."""
        steps = np.linspace(0, 1, len(self.values))
        return np.interp(numbers, steps, self.values).astype(numbers.dtype, copy=False)

    def numbers(self, light: FloatValues) -> FloatValues:
        """See `Curve`."""
        steps = np.linspace(0, 1, len(self.values))
        return np.interp(light, self.values, steps).astype(light.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Encoding:
    """The way from the numbers of a picture to colours.

    Attributes:
        curves: Of each channel: three of RGB, or one of grey.
        matrix: (3, 3): from linear RGB to XYZ under D50, white at `D50`; None of grey.
        adaptation: (3, 3): what brought XYZ from the own white to D50, as far as known.
    """

    curves: tuple[Curve, ...]
    matrix: NDArray[np.float64] | None = None
    adaptation: NDArray[np.float64] | None = None

    @property
    def grey(self) -> Curve:
        """The curve of colours without a tint."""
        return self.curves[len(self.curves) // 2]

    def as_rgb(self) -> Encoding:
        """Returns the encoding with three channels; grey gets the primaries of sRGB."""
        return self if self.matrix is not None else Encoding(self.curves * 3, SRGB.matrix)


def primaries_matrix(points: Chromaticities) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the matrix from linear RGB to XYZ under D50, and the adaptation (Bradford) that it includes.

    Args:
        points: Chromaticities x, y of white, red, green and blue.

    Raises:
        ValueError: There is no such set of colours.
    """
    xy = np.array(points, np.float64).reshape(4, 2)
    if not np.isfinite(xy).all() or np.abs(xy).max() > 5 or xy[0, 1] < 1e-4:
        raise ValueError("no chromaticities")
    xyz = np.column_stack((xy, 1 - xy.sum(axis=1)))
    white, colours = xyz[0] / xyz[0, 1], xyz[1:].T
    if abs(np.linalg.det(colours)) < 1e-6:
        raise ValueError("the primaries lie on one line")
    native = colours * np.linalg.solve(colours, white)
    cones = _BRADFORD @ white
    if cones.min() < 1e-3:
        raise ValueError("the white is no white")
    adaptation = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ D50 / cones) @ _BRADFORD)
    return adaptation @ native, adaptation


@lru_cache(maxsize=64)
def encoding_of(space: ColourSpace) -> Encoding | None:
    """Returns how the numbers of a picture in `space` become colours, or None where that is not known.

    What is not specified is that of sRGB. PQ and HLG become light relative to a white of 203 cd/m2; what is
    brighter is cut off. The gamma of 0.45455 stands for the curve of sRGB, whose approximation it is.
    """
    if space.by_code_points:
        points, curve = _PRIMARIES.get(space.primaries), _transfer(space.transfer)
    else:
        points, curve = space.chromaticities or _PRIMARIES[1], _transfer(13)
        if space.gamma is not None and not abs(space.gamma - _SRGB_GAMMA) <= 2e-4:
            curve = Power(1 / space.gamma) if 0.1 <= space.gamma <= 10 else None
    if points is None or curve is None:
        return None
    try:
        return Encoding((curve,) * 3, *primaries_matrix(points))
    except (ValueError, np.linalg.LinAlgError):
        return None


def _transfer(code: int) -> Curve | None:
    """Returns the curve that TransferCharacteristics of H.273 name."""
    if code in (16, 18):
        steps = np.linspace(0, 1, 4096)
        return SampledCurve(np.minimum((_pq if code == 16 else _hlg)(steps) / REFERENCE_WHITE, 1))
    return _POWERS.get(code)


def _pq(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns candela per square metre of SMPTE ST 2084."""
    root = numbers ** (32 / 2523)
    return 10000 * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)


def _hlg(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns candela per square metre of BT.2100's HLG on a display of 1000, each channel by itself."""
    upper = (np.exp((numbers - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return 1000 * np.where(numbers <= 0.5, numbers**2 / 3, upper) ** 1.2


_709 = Power(1 / 0.45, 1 / 1.09929682680944, 0.09929682680944 / 1.09929682680944, 1 / 4.5, 0.0812428583)
_POWERS = {
    2: Power(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),  # unspecified: sRGB
    13: Power(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    **dict.fromkeys((1, 6, 11, 12, 14, 15), _709),
    4: Power(2.2),
    5: Power(2.8),
    7: Power(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913),
    8: Power(1.0),
    17: Power(2.6),
}
_D65 = (0.3127, 0.3290)
_PRIMARIES: dict[int, Chromaticities] = {
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    2: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1, 0, 0, 1, 0, 0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_NAMES = {
    (1, 13): "sRGB",
    (1, 1): "BT.709",
    (5, 6): "BT.601 (625 lines)",
    (6, 6): "BT.601 (525 lines)",
    (9, 14): "BT.2020",
    (9, 16): "BT.2020 PQ",
    (9, 18): "BT.2020 HLG",
    (11, 17): "DCI-P3",
    (12, 13): "Display P3",
    (12, 16): "Display P3 PQ",
}
ADOBE_RGB = ColourSpace(gamma=256 / 563, chromaticities=(*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))
_srgb = encoding_of(ColourSpace(1, 13))
assert _srgb is not None and _srgb.matrix is not None
SRGB = _srgb
