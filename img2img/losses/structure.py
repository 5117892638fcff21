"""Structural similarity as a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.metrics.ssim import WINDOW, similarity, window
from img2img.types import ValueRange


def ssim_loss(output: Tensor, target: Tensor, value_range: ValueRange) -> Tensor:
    """Returns 1 - SSIM, between 0 (equal) and 2.

    Means and variances are taken in an 11x11 Gaussian window of sigma 1.5 wherever it lies inside the image,
    for each channel by itself, and the values averaged over everything.

    Args:
        output, target: (N, C, H, W) of one shape, H and W at least 11, in `value_range`.
        value_range: What stands for black and white.

    Returns:
        A 0-dim fp32 tensor; gradients pass through both images.

    Raises:
        ValueError: The shapes differ, or the images are smaller than the window.

    References:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity
        (doi:10.1109/TIP.2003.819861); per channel, where the paper has grey images only.
    """
    if output.shape != target.shape:
        raise ValueError(
            f"shapes {tuple(output.shape)} and {tuple(target.shape)} differ; SSIM needs equal ones"
        )
    if min(output.shape[-2:]) < WINDOW:
        height, width = output.shape[-2:]
        raise ValueError(f"images of {width}x{height} pixels are smaller than SSIM's window of 11x11")
    low, high = value_range
    x, y = ((image.float() - low) / (high - low) for image in (output, target))
    with torch.autocast(x.device.type, enabled=False):  # differences of squares need fp32
        moments = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, square_x, square_y, product = moments
    variances = square_x - mean_x**2 + square_y - mean_y**2
    covariance = product - mean_x * mean_y
    return 1 - similarity(mean_x * mean_y, mean_x**2 + mean_y**2, covariance, variances).mean()


def _blur(x: Tensor) -> Tensor:
    """Weighs every inner window of the last two dimensions."""
    weights = window(x.device, x.dtype)
    flat = x.flatten(0, -3)[:, None]
    flat = F.conv2d(F.conv2d(flat, weights[None, None, :, None]), weights[None, None, None, :])
    return flat.reshape(*x.shape[:-2], *flat.shape[-2:])
