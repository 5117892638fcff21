"""Differences pixel by pixel, and the brightness in which the papers on super-resolution take them."""

from __future__ import annotations

import math

from torch import Tensor

from img2img.image.colour import BT601
from img2img.metrics.base import Metric, ends, metrics, one_thread, shape_of, unit
from img2img.types import ValueRange

_TIE = 1e-6  # levels: above rounding errors, below 1 / 255000, the least that whole RGB levels are from a tie


@one_thread()
def l1(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the mean absolute difference of each image, as a part of the range from black to white.

    Args:
        a, b: (N, C, H, W) of one shape, in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count.

    Returns:
        (N,) float64, from 0 (equal) to 1.

    Raises:
        ValueError: The shapes differ, the border leaves nothing, or values are not in the range.
    """
    a, b = unit(a, b, value_range, border)
    return (a - b).abs().mean(dim=(1, 2, 3))


metrics.register("l1")(Metric(l1, higher_is_better=False, decimals=4, title="L1", perfect=0.0))


@one_thread()
def psnr(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the peak signal-to-noise ratio of each image in decibels.

    The squared error is averaged over all channels and pixels of an image before the logarithm.

    Args:
        a, b: (N, C, H, W) of one shape, in `value_range`; the distance from black to white is the peak.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count.

    Returns:
        (N,) float64; infinite where the images are equal.

    Raises:
        ValueError: The shapes differ, the border leaves nothing, or values are not in the range.
    """
    a, b = unit(a, b, value_range, border)
    return -10 * (a - b).square_().mean(dim=(1, 2, 3)).log10()


metrics.register("psnr")(Metric(psnr, higher_is_better=True, decimals=3, title="PSNR dB", perfect=math.inf))


@one_thread()
def luma(rgb: Tensor, value_range: ValueRange, rounded: bool = False) -> Tensor:
    """Returns Y of BT.601 in its studio range: black is 16 and white is 235 of 255.

    Args:
        rgb: (N, 3, H, W) in `value_range`.
        value_range: What stands for the levels 0 and 255, in the argument and in the result.
        rounded: Round to whole levels of 8 bit, as MATLAB's rgb2ycbcr does for such pictures. What lies
            exactly between two becomes the lower: only so its published tables come out to the last digit.

    Returns:
        (N, 1, H, W) float64 in `value_range`.

    Raises:
        ValueError: There are not three channels, or the range is none.
    """
    if not isinstance(rgb, Tensor) or rgb.ndim != 4 or rgb.shape[1] != 3:
        raise ValueError(f"luma needs (N, 3, H, W), not {shape_of(rgb)}")
    low, high = ends(value_range)
    red, green, blue = ((rgb.double() - low) / (high - low)).unbind(1)
    of_red, of_green, of_blue = (219 * weight for weight in BT601)
    levels = (16 + of_red * red + of_green * green + of_blue * blue)[:, None]
    if rounded:
        levels = (levels - (0.5 + _TIE)).ceil_()
    return levels / 255 * (high - low) + low
