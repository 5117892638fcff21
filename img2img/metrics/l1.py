"""The mean absolute difference."""

from __future__ import annotations

from torch import Tensor

from img2img.metrics.base import Metric, metrics, one_thread, unit
from img2img.types import ValueRange


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
        ValueError: The shapes differ, or the border leaves nothing.
    """
    a, b = unit(a, b, value_range, border)
    return (a - b).abs().mean(dim=(1, 2, 3))


metrics.register("l1")(Metric(l1, higher_is_better=False, decimals=4, title="L1"))
