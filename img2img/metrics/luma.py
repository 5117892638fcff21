"""Brightness as the papers on super-resolution measure it."""

from __future__ import annotations

from torch import Tensor

from img2img.metrics.base import one_thread
from img2img.types import ValueRange

_TIE = 1e-6  # levels: above rounding errors, below 1 / 255000, the least that whole RGB levels are from a tie


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
        ValueError: There are not three channels.
    """
    if rgb.ndim != 4 or rgb.shape[1] != 3:
        raise ValueError(f"luma needs (N, 3, H, W), not {tuple(rgb.shape)}")
    low, high = value_range
    red, green, blue = ((rgb.double() - low) / (high - low)).unbind(1)
    levels = (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[:, None]
    if rounded:
        levels = (levels - (0.5 + _TIE)).ceil_()
    return levels / 255 * (high - low) + low
