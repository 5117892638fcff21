"""Structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from img2img.metrics.base import Metric, metrics, one_thread, require_size, unit
from img2img.types import ValueRange

WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_STRIP = 64  # rows in work at a time: what is between fits into the processor's cache


@one_thread()
def ssim(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the structural similarity of each image.

    Means and variances are taken in an 11x11 Gaussian window of sigma 1.5 wherever it lies inside the image,
    for each channel by itself, in float64; the result is the mean over all places and channels.

    Args:
        a, b: (N, C, H, W) of one shape, in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count, and that no window sees.

    Returns:
        (N,) float64, 1 where the images are equal.

    Raises:
        ValueError: The shapes differ, less than a window is left of the images, or values are not in the
            range.

    References:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity
        (doi:10.1109/TIP.2003.819861), in the form without reduction that papers on super-resolution use; per
        channel, where the paper has grey images only.
    """
    whole, _ = means(*unit(a, b, value_range, border), "SSIM")
    return whole.mean(1)


def means(a: Tensor, b: Tensor, title: str) -> tuple[Tensor, Tensor]:
    """Returns the means of the index and of its factor without luminance, each (N, C).

    Args:
        a, b: (N, C, H, W), black 0 and white 1.
        title: Of the metric, for the message.

    Raises:
        ValueError: They are smaller than the window.
    """
    require_size(title, a, WINDOW, ", which is smaller than its window")
    height, width = a.shape[-2] - WINDOW + 1, a.shape[-1] - WINDOW + 1
    sums = a.new_zeros(2, *a.shape[:2])
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height) + WINDOW - 1)
        luminance, contrast = _places(a[..., rows, :], b[..., rows, :])
        sums = sums + torch.stack([(luminance * contrast).sum((2, 3)), contrast.sum((2, 3))])
    whole, contrast = sums / (height * width)
    return whole, contrast


def _places(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the factors at every place where a window fits, (N, C, H - 10, W - 10) each."""
    mean_a, mean_b, square, product = _blur(torch.stack([a, b, a * a + b * b, a * b]))
    squares, mixed = mean_a.square() + mean_b.square(), mean_a * mean_b
    return _factors(mixed, squares, product - mixed, square - squares)


def similarity(means: Tensor, squares: Tensor, covariance: Tensor, variances: Tensor) -> Tensor:
    """Returns the index of Wang et al. from moments within a window, for black 0 and white 1.

    Args:
        means: The product of both means.
        squares: The sum of their squares.
        covariance: Of the two images.
        variances: The sum of both.
    """
    luminance, contrast = _factors(means, squares, covariance, variances)
    return luminance * contrast


def _factors(means: Tensor, squares: Tensor, covariance: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    luminance = (2 * means + _C1) / (squares + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def window(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the weights (11,) of the Gaussian window along one side; their sum is 1."""
    place = torch.arange(WINDOW, device=device, dtype=dtype) - WINDOW // 2
    return torch.softmax(-place.square() / (2 * _SIGMA**2), 0)


def _blur(x: Tensor) -> Tensor:
    """Weighs every window that lies inside the last two dimensions."""
    weights = window(torch.device("cpu"), torch.float64).tolist()
    for dimension in (-2, -1):
        length = x.shape[dimension] - WINDOW + 1
        blurred = x.narrow(dimension, WINDOW // 2, length) * weights[WINDOW // 2]
        for near in range(WINDOW // 2):  # the window is symmetric: two rows share a weight
            far = WINDOW - 1 - near
            pair = x.narrow(dimension, near, length) + x.narrow(dimension, far, length)
            blurred.add_(pair, alpha=weights[near])
        x = blurred
    return x


metrics.register("ssim")(
    Metric(ssim, higher_is_better=True, decimals=4, title="SSIM", perfect=1.0, smallest=WINDOW)
)
