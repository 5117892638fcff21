"""Distances between two images, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.registry import Registry

PixelLoss = Callable[[Tensor, Tensor], Tensor]
"""Takes two tensors (N, C, H, W) of one shape and value range, returns their mean distance, 0-dim fp32."""

PixelKind = Literal["l1", "l2", "charbonnier"]

pixel_losses: Registry[PixelLoss] = Registry("pixel loss")


@pixel_losses.register("l1")
def l1(output: Tensor, target: Tensor) -> Tensor:
    """Returns the mean absolute difference.

    Args:
        output, target: Of one shape and value range.

    Raises:
        ValueError: The shapes differ.
    """
    _check(output, target)
    return F.l1_loss(full(output), full(target))


@pixel_losses.register("l2")
def l2(output: Tensor, target: Tensor) -> Tensor:
    """Returns the mean squared difference.

    Args:
        output, target: Of one shape and value range.

    Raises:
        ValueError: The shapes differ.
    """
    _check(output, target)
    return F.mse_loss(full(output), full(target))


@pixel_losses.register("charbonnier")
def charbonnier(output: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """Returns the mean of sqrt(difference ** 2 + eps ** 2): L1 with a round tip.

    Args:
        output, target: Of one shape and value range.
        eps: Differences below it count as squares; in units of the value range.

    Raises:
        ValueError: The shapes differ.

    References:
        Lai et al., LapSRN (arXiv:1710.01992). Not summed over pixels as there but averaged, like the others.
    """
    _check(output, target)
    return ((full(output) - full(target)).square() + eps**2).sqrt().mean()


def full(x: Tensor) -> Tensor:
    """Returns `x` in fp32; float64, in which only exactness is tested, stays as it is."""
    return x if x.dtype == torch.float64 else x.float()


def _check(output: Tensor, target: Tensor) -> None:
    """Shapes that broadcast would give a number that means nothing."""
    if output.shape != target.shape:
        raise ValueError(
            f"shapes {tuple(output.shape)} and {tuple(target.shape)} differ; a loss needs equal ones"
        )
