"""Structural similarity.

Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment, From Error Visibility to Structural Similarity
(IEEE Trans. Image Processing 13, 2004), with the window and constants of the authors' MATLAB code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.metrics.l1 import same_shape
from img2img.metrics.psnr import cropped
from img2img.types import UNIT, ValueRange

SIZE, SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def ssim(a: Tensor, b: Tensor, value_range: ValueRange = UNIT, border: int = 0) -> Tensor:
    """Returns the structural similarity of each pair of images, 1 for equal ones.

    Means, variances and the covariance are taken in an 11x11 Gaussian window of sigma 1.5 wherever it lies
    inside the image, for each channel by itself; the result is the mean over positions and channels. An
    image with a side below 11 pixels is compared in one window that covers that side, Gaussian too.

    Args:
        a, b: (N, C, H, W) of one shape.
        value_range: What stands for black and white.
        border: So many pixels of each side are left out first.

    Returns:
        (N,), in float64.
    """
    same_shape(a, b)
    low, high = value_range
    a, b = ((cropped(x, border).double() - low) / (high - low) for x in (a, b))
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = _blurred(a * a) - mean_a * mean_a
    variance_b = _blurred(b * b) - mean_b * mean_b
    covariance = _blurred(a * b) - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (luminance * structure).flatten(1).mean(1)


def _blurred(x: Tensor) -> Tensor:
    """Returns the Gaussian means of `x` wherever the window fits: first along columns, then along rows."""
    channels, height, width = x.shape[1:]
    x = F.conv2d(x, _window(height, x).view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, _window(width, x).view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def _window(side: int, like: Tensor) -> Tensor:
    size = min(SIZE, side)
    place = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    weights = torch.exp(-(place**2) / (2 * SIGMA**2))
    return weights / weights.sum()
