"""How far a picture is from another in content, and from a style: Gram matrices, means and deviations.

Gatys, Ecker, Bethge: A Neural Algorithm of Artistic Style (arXiv:1508.06576) for the Gram matrices; Johnson,
Alahi, Fei-Fei (arXiv:1603.08155) for their use in training; Li, Wang, Liu, Hou: Demystifying Neural Style
Transfer (arXiv:1701.01036) and Huang, Belongie (arXiv:1703.06868) for means and deviations.

Weights of these distances mean something where features have one size in all layers: see
`img2img.losses.balance`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from img2img.losses.pixel import full

_FLAT = 0.01  # square of a Gram matrix


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


def gram_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Returns the squared Frobenius distance of Gram matrices over the square of the wanted one: 0-dim fp32.

    Averaged over pictures. The squares of bold and of faint styles differ a thousandfold, and so would the
    weight that each needs; those of flat pictures, below 0.01 of features of mean square 1, count as 0.01.

    Args:
        found: (N, C, C).
        wanted: The same shape.

    Raises:
        ValueError: The shapes differ.
    """
    _check(found, wanted)
    wanted = full(wanted)
    distance = (full(found) - wanted).square().sum((1, 2))
    return (distance / (wanted.square().sum((1, 2)) + _FLAT)).mean()


def moments_distance(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
    """Returns the mean squared difference of means plus that of deviations: 0-dim fp32.

    Args:
        found, wanted: Means and deviations of channels, (N, C) each.

    Raises:
        ValueError: The shapes differ.
    """
    distances = []
    for one, other in zip(found, wanted, strict=True):
        _check(one, other)
        distances.append((full(one) - full(other)).square().mean())
    return torch.stack(distances).sum()


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


def _check(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise ValueError(f"shapes {tuple(found.shape)} and {tuple(wanted.shape)} differ; they must be equal")
