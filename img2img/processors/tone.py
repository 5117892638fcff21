"""Brightness and contrast: CLAHE, automatic levels, white balance, gamma. Alpha is not touched."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.image.alpha import visible
from img2img.image.colour import BT601
from img2img.image.image import Image, Pixels
from img2img.processors.base import Operation, processors
from img2img.processors.pixels import Values, curve, luma, restore, sample, spread, unit
from img2img.processors.values import Fraction, parameter

_STEPS = (np.arange(257) / 257).astype(np.float32)  # 16-bit levels from one bin to the next
_DARK = 0.02  # of white: below this, colours are noise more than hue


@processors.register("clahe")
class Clahe(Operation):
    """Raises local contrast: equalises brightness region by region, within limits (CLAHE).

    Colours keep their hue and saturation; every depth uses the same 256 bins with curves that
    are interpolated between them, so 16-bit gradients stay smooth. Differs from OpenCV in that: the regions
    divide the picture without padding, the limit is not rounded, and pixels that cannot be seen do not
    count.

    References:
        K. Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV, 1994.
    """

    bare: ClassVar = ("clip",)
    examples: ClassVar = ("clahe", "clahe=2", "clahe=clip:3,grid:4")

    clip: Annotated[
        float,
        parameter(
            "Limit on the gain in contrast; 0 changes nothing, above 4 looks artificial.", ge=0, le=100
        ),
    ] = 1.2
    grid: Annotated[int, parameter("Regions along each side; more are more local.", ge=1, le=16)] = 8

    def apply(self, image: Image) -> Image:
        """Returns the picture with more local contrast."""
        if self.clip == 0:
            return image
        values = unit(image.pixels)
        light = luma(values)
        levels = restore(np.nan_to_num(light), np.dtype(np.uint16))
        change = self._equalised(levels, visible(image))
        change -= levels * np.float32(1 / 65535)
        if image.channels == 1:
            return image.replace(pixels=restore(values + change[:, :, None], image.pixels.dtype))
        # Colours keep their saturation: what differs from the luma grows with it, in dark noise a little.
        gain = (light + change + _DARK) / (light + _DARK)
        np.clip(gain, 0, 2, out=gain)
        change += light * (1 - gain)
        values = values * spread(gain, image.channels)
        values += spread(change, image.channels)
        return image.replace(pixels=restore(values, image.pixels.dtype))

    def _equalised(self, levels: NDArray[np.uint16], seen: NDArray[np.bool_] | None) -> Values:
        """Returns the new luma (H, W): each pixel mixes the curves of the four regions around it."""
        height, width = levels.shape
        rows = np.linspace(0, height, min(self.grid, height) + 1).round().astype(int)
        columns = np.linspace(0, width, min(self.grid, width) + 1).round().astype(int)
        curves = [
            [
                self._curve(levels[np.s_[t:b, s:e]], None if seen is None else seen[np.s_[t:b, s:e]])
                for s, e in pairwise(columns)
            ]
            for t, b in pairwise(rows)
        ]
        result = np.empty((height, width), np.float32)
        for above, below, top, bottom, down in _between(rows):
            for before, after, left, right, across in _between(columns):
                cell = levels[top:bottom, left:right]
                upper, lower = (
                    (1 - across) * curves[row][before][cell] + across * curves[row][after][cell]
                    for row in (above, below)
                )
                result[top:bottom, left:right] = (1 - down[:, None]) * upper + down[:, None] * lower
        return result

    def _curve(self, levels: NDArray[np.uint16], seen: NDArray[np.bool_] | None) -> Values:
        """Returns the tone curve of one region, (65536,)."""
        bins = np.rint(levels * np.float32(255 / 65535)).astype(np.uint8)
        mask = None if seen is None else seen.astype(np.uint8)
        counts = cv2.calcHist([bins], [0], mask, [256], [0, 256]).ravel()
        share = counts / max(counts.sum(), 1) * 256
        if not share.any():
            share[:] = 1
        limited = np.minimum(share, self.clip)
        limited += (256 - limited.sum()) / 256  # what was cut off is spread over all bins
        points = ((np.cumsum(limited) - 1) / 255).astype(np.float32)  # equal bins give the identity
        between = points[:-1, None] + np.diff(points)[:, None] * _STEPS
        return np.append(between.ravel(), points[-1])


def _between(edges: NDArray[np.int_]) -> list[tuple[int, int, int, int, Values]]:
    """Cuts an axis at the centres of its regions.

    Returns:
        For each piece: the region before and after it, first and last + 1 pixel, and the share of the
        region after for each pixel. Beyond the outermost centres there is one region only.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    cuts = [0, *np.ceil(centres - 0.5).astype(int), int(edges[-1])]
    pieces = []
    for index, (start, stop) in enumerate(pairwise(cuts)):
        before, after = max(index - 1, 0), min(index, len(centres) - 1)
        span = centres[after] - centres[before]
        share = (np.arange(start, stop) + 0.5 - centres[before]) / (span or 1) * bool(span)
        if stop > start:
            pieces.append((before, after, int(start), int(stop), share.astype(np.float32)))
    return pieces


def quantiles(values: NDArray[Any], *fractions: float) -> list[float]:
    """Returns for each fraction the smallest value that so many of `values` do not exceed."""
    flat = values.ravel()
    ranks = [min(max(int(np.ceil(fraction * flat.size)) - 1, 0), flat.size - 1) for fraction in fractions]
    if flat.dtype != np.float32:  # counting is several times faster than sorting
        sums = np.cumsum(np.bincount(flat))
        return [float(np.searchsorted(sums, rank, side="right")) for rank in ranks]
    ordered = np.partition(flat, sorted(set(ranks)))
    return [float(ordered[rank]) for rank in ranks]


def _seen_planes(image: Image) -> list[Pixels]:
    """Returns the channels, each without the pixels that cannot be seen."""
    seen = visible(image)
    return [
        np.ascontiguousarray(image.pixels[:, :, c] if seen is None else image.pixels[:, :, c][seen])
        for c in range(image.channels)
    ]


def _stretch(low: float, high: float) -> Callable[[Any], Any]:
    return lambda x: (x - low) / (high - low)


def _per_channel(image: Image, lows: list[float], highs: list[float]) -> Image:
    """Stretches each channel so that `lows` become black and `highs` white (in the units of the pixels)."""
    pixels = np.empty_like(image.pixels)
    for c, (low, high) in enumerate(zip(lows, highs, strict=True)):
        plane = np.ascontiguousarray(image.pixels[:, :, c])
        pixels[:, :, c] = (
            plane if high <= low else curve(plane, _stretch(low / image.white, high / image.white))
        )
    return image.replace(pixels=pixels)


@processors.register("auto-levels")
class AutoLevels(Operation):
    """Stretches the tones so that the darkest parts become black and the brightest white."""

    bare: ClassVar = ("cut",)
    examples: ClassVar = ("auto-levels", "auto-levels=1%", "auto-levels=per_channel")

    cut: Annotated[
        Fraction, parameter("Part of the pixels that may become plain black, and plain white.", ge=0, le=0.45)
    ] = 0.002
    per_channel: Annotated[
        bool, parameter("Each channel on its own, which changes colours; otherwise all alike.")
    ] = False

    def apply(self, image: Image) -> Image:
        """Returns the stretched picture; a picture of one tone stays as it is."""
        found = [quantiles(plane, self.cut, 1 - self.cut) for plane in _seen_planes(image)]
        lows, highs = [low for low, _ in found], [high for _, high in found]
        if not self.per_channel:
            lows, highs = [min(lows)] * len(lows), [max(highs)] * len(highs)
        return _per_channel(image, lows, highs)


@processors.register("white-balance")
class WhiteBalance(Operation):
    """Removes a colour cast. Pictures without colours stay as they are.

    References:
        neutral: after G. Finlayson, E. Trezzi, Shades of Gray and Colour Constancy, 2004 (Minkowski norm
            6), but pixels count by (lowest / highest channel) ** 8, so that
            strong colours of the subject are not taken for a cast.
        percentile: N. Limare et al., Simplest Color Balance, IPOL 2011.
    """

    bare: ClassVar = ("method", "strength")
    examples: ClassVar = ("white-balance", "white-balance=gray-world", "white-balance=percentile,cut:1%")

    method: Annotated[
        Literal["neutral", "gray-world", "percentile"],
        parameter(
            "What is taken for gray: bright parts with little colour, the mean of all, or the darkest "
            "and the brightest parts of each channel."
        ),
    ] = "neutral"
    strength: Annotated[Fraction, parameter("How much of the cast is removed.", ge=0, le=1)] = 0.8
    cut: Annotated[
        Fraction, parameter("With percentile: part of the pixels cut off at both ends.", ge=0, le=0.45)
    ] = 0.005

    def apply(self, image: Image) -> Image:
        """Returns the balanced picture, about as bright as before."""
        if image.channels != 3 or self.strength == 0:
            return image
        if self.method == "percentile":
            found = [quantiles(plane, self.cut, 1 - self.cut) for plane in _seen_planes(image)]
            lows = [low * self.strength for low, _ in found]
            highs = [high + (1 - self.strength) * (image.white - high) for _, high in found]
            return _per_channel(image, lows, highs)
        colours = unit(sample(image.pixels, visible(image)))
        colours = np.clip(np.nan_to_num(colours), 0, 1).astype(np.float64)
        means = colours.mean(axis=0)
        gray = means if self.method == "gray-world" else _neutral(np.asarray(colours))
        if not gray.min() > 0:
            return image
        gains = (gray.mean() / gray) ** self.strength
        weights = np.array(BT601)
        gains *= (weights @ means) / (weights @ (means * gains))
        return _per_channel(image, [0.0] * 3, list(image.white / gains))


def _neutral(colours: NDArray[Any]) -> NDArray[Any]:
    """Returns the colour (3,) that gray things probably have among `colours` (N, 3)."""
    highest = colours.max(axis=1)
    weights = np.divide(colours.min(axis=1), highest, out=np.zeros_like(highest), where=highest > 0) ** 8
    return np.asarray((weights @ colours**6) ** (1 / 6))


@processors.register("gamma")
class Gamma(Operation):
    """Brightens or darkens the middle tones; black and white stay."""

    bare: ClassVar = ("gamma",)
    examples: ClassVar = ("gamma=1.2", "gamma=0.8")

    gamma: Annotated[
        float, parameter("Above 1 brightens, below 1 darkens, 1 changes nothing.", ge=0.05, le=20)
    ]

    def apply(self, image: Image) -> Image:
        """Returns sign(x) |x| ** (1 / gamma) of each value as a fraction of white."""
        if self.gamma == 1:
            return image
        return image.replace(
            pixels=curve(image.pixels, lambda x: np.copysign(np.abs(x) ** (1 / self.gamma), x))
        )
