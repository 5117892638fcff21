"""How far a picture is from another in content, and from a style: Gram matrices, means and deviations.

Gatys, Ecker, Bethge: A Neural Algorithm of Artistic Style (arXiv:1508.06576) for the Gram matrices; Johnson,
Alahi, Fei-Fei (arXiv:1603.08155) for their use in training; Li, Wang, Liu, Hou: Demystifying Neural Style
Transfer (arXiv:1701.01036) and Huang, Belongie (arXiv:1703.06868) for means and deviations.

All distances of features are relative: squares of differences over squares of what was aimed at, for each
picture. The papers have them in the units of their network, VGG as Caffe has it, and give weights that hold
for no other; relative ones mean the same in each, and no picture counts more for being brighter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from img2img.losses.pixel import full

_FLAT = 1e-8  # squares of features below it are those of a picture without any content


def gram(features: Tensor) -> Tensor:
    """Returns what channels have in common, (N, C, C): products over all pixels, over C * H * W.

    Args:
        features: (N, C, H, W); half precision would lose the small ones, so they are made fp32.
    """
    n, channels, height, width = features.shape
    device = features.device.type
    with torch.autocast(device, enabled=False):
        rows = full(features).reshape(n, channels, height * width) / (channels * height * width) ** 0.5
        return torch.bmm(rows, rows.transpose(1, 2))


def relative_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Returns the squared difference over the square of what is wanted, averaged over pictures: 0-dim fp32.

    0 for equal ones, 1 for nothing at all in place of what is wanted.

    Args:
        found: (N, ...): features, Gram matrices, moments.
        wanted: The same shape; a first dimension of 1 stands for all.

    Raises:
        ValueError: The shapes differ.
    """
    if found.shape[1:] != wanted.shape[1:] or len(wanted) not in (1, len(found)):
        raise ValueError(f"shapes {tuple(found.shape)} and {tuple(wanted.shape)} differ; they must be equal")
    found, wanted = full(found).flatten(1), full(wanted).flatten(1)
    return ((found - wanted).square().mean(1) / (wanted.square().mean(1) + _FLAT)).mean()


def moments_distance(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Returns how far means and deviations (N, C) are from those of a style: 0-dim fp32.

    Both together are relative to both together: the deviations of a style count as much as its means.

    Args:
        found, wanted: Means and deviations.

    Raises:
        ValueError: The shapes differ.
    """
    return relative_distance(torch.cat(found, 1), torch.cat(wanted, 1))


def total_variation(picture: Tensor) -> Tensor:
    """Returns the mean squared difference of neighbours, across and down: 0-dim fp32.

    Args:
        picture: (N, C, H, W), in units of its value range.

    References:
        Mahendran and Vedaldi (arXiv:1412.0035), with beta 2, which arXiv:1603.08155 follows.
    """
    picture = full(picture)
    across = (picture[..., 1:] - picture[..., :-1]).square().sum()
    down = (picture[..., 1:, :] - picture[..., :-1, :]).square().sum()
    return (across + down) / picture.numel()
