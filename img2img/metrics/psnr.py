"""Peak signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from img2img.metrics.l1 import same_shape
from img2img.types import UNIT, ValueRange


def psnr(a: Tensor, b: Tensor, value_range: ValueRange = UNIT, border: int = 0) -> Tensor:
    """Returns 10 log10(range^2 / MSE) of each pair of images, in dB; infinite for equal ones.

    Args:
        a, b: (N, C, H, W) of one shape.
        value_range: What stands for black and white; their distance is the peak.
        border: So many pixels of each side are left out.

    Returns:
        (N,), in float64.
    """
    same_shape(a, b)
    error = cropped(a, border).double() - cropped(b, border).double()
    mse = error.square().flatten(1).mean(1)
    return 10 * torch.log10((value_range.high - value_range.low) ** 2 / mse)


def cropped(images: Tensor, border: int) -> Tensor:
    """Returns `images` (N, C, H, W) without `border` pixels of each side.

    Raises:
        ValueError: Nothing would be left.
    """
    height, width = images.shape[-2:]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(f"of {width}x{height} pixels a border of {border} leaves nothing")
    return images[..., border : height - border, border : width - border]
