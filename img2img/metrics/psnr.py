"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from img2img.metrics.base import Metric, metrics, one_thread, unit
from img2img.types import ValueRange


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
        ValueError: The shapes differ, or the border leaves nothing.
    """
    a, b = unit(a, b, value_range, border)
    return -10 * (a - b).square_().mean(dim=(1, 2, 3)).log10()


metrics.register("psnr")(Metric(psnr, higher_is_better=True, decimals=3, title="PSNR dB"))
