"""The way around an upscaler: the input that is added to its output."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.errors import ConfigError


def require_addable(name: str, in_channels: int, out_channels: int) -> None:
    """Checks that an input can be added to an output.

    Raises:
        ConfigError: The numbers of channels differ, and neither is 1.
    """
    if in_channels != out_channels and 1 not in (in_channels, out_channels):
        raise ConfigError(
            f"{name} adds its input to its output: {in_channels} channels in and {out_channels} out do not "
            "fit; take equal numbers, or 1 on one side."
        )


def addable(x: Tensor, channels: int) -> Tensor:
    """Returns `x` (N, C, H, W) as it can be added to `channels` channels: itself, or its mean over C."""
    return x.mean(1, keepdim=True) if x.shape[1] > channels else x


def shuffled(phases: Tensor, x: Tensor, channels: int, scale: int) -> Tensor:
    """Returns the picture that `phases` make, added to `x` enlarged by nearest neighbour.

    Every phase gains the input pixel: the same as enlarging the input and adding it after the shuffle.

    Args:
        phases: (N, channels * scale^2, H, W).
        x: (N, C, H, W), C being `channels` or either of them 1.
        channels: Of the picture.
        scale: Its pixels per pixel of `x` along one side.

    Returns:
        (N, channels, H * scale, W * scale).
    """
    apart = torch.unflatten(phases, 1, (channels, scale**2))
    sums = apart + addable(x, channels).unsqueeze(2)
    return F.pixel_shuffle(sums.flatten(1, 2), scale)
