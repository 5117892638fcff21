"""Structural similarity at five scales."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from img2img.metrics.base import Metric, metrics, one_thread, require_size, unit
from img2img.metrics.ssim import WINDOW, means
from img2img.types import ValueRange

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST = (WINDOW - 1) * 2 ** (len(_WEIGHTS) - 1) + 1
"""Pixels of the shortest side that is still a window long after four halvings."""


@one_thread()
def ms_ssim(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the multi-scale structural similarity of each image.

    The windows of `ssim` at five scales; from one to the next, 2x2 pixels become their mean, and an odd row
    or column at the end is repeated. Contrast and structure of all scales and the luminance of the last one
    are multiplied with the paper's exponents, for each channel by itself; the result is the mean over
    channels. A factor below 0 counts as 0. In float64; it agrees with the formula in NumPy to 10 decimals.

    Args:
        a, b: (N, C, H, W) of one shape, in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count, and that no window sees.

    Returns:
        (N,) float64 from 0 to 1, 1 where the images are equal.

    Raises:
        ValueError: The shapes differ, less than 161x161 pixels are left, or values are not in the range.

    References:
        Wang, Simoncelli, Bovik: Multiscale structural similarity for image quality assessment
        (doi:10.1109/ACSSC.2003.1292216); reduction and odd sides as in the authors' ms_ssim.m, which
        TensorFlow follows; colour, which the paper does not have, as TensorFlow and pytorch-msssim treat it.
    """
    a, b = unit(a, b, value_range, border)
    require_size("MS-SSIM", a, SMALLEST, ", of which four halvings leave less than a window")
    product = a.new_ones(a.shape[:2])
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        whole, contrast = means(a, b, "MS-SSIM")
        last = scale == len(_WEIGHTS) - 1
        product = product * (whole if last else contrast).relu().pow(weight)
    return product.mean(1)


def _halved(images: Tensor) -> Tensor:
    """Returns the means of 2x2 pixels; what is odd at the end is repeated."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
    return F.avg_pool2d(padded, 2)


metrics.register("ms_ssim")(
    Metric(ms_ssim, higher_is_better=True, decimals=4, title="MS-SSIM", perfect=1.0, smallest=SMALLEST)
)
