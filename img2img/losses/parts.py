"""Parts of the losses of TP-GAN that any pictures can have: symmetry, scales, crops, smoothness.

Huang, Zhang, Li, He: Beyond Face Rotation: Global and Local Perception GAN for Photorealistic and Identity
Preserving Frontal View Synthesis (arXiv:1704.04086).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from img2img.losses.pixel import PixelLoss, full

Halves = Literal["both", "left", "right"]
Box = tuple[float, float, float, float]
"""Top, left, bottom and right as shares of the height and the width, 0 to 1."""


def symmetry_loss(images: Tensor, side: Halves = "both") -> Tensor:
    """Returns the mean absolute difference between the halves of pictures, one of them mirrored.

    A column in the middle of an odd width is nobody's mirror image and does not count.

    Args:
        images: (N, C, H, W), at least two columns.
        side: Which half learns. In the paper that is the one that the profile hides, always the same.

    References:
        arXiv:1704.04086, equation 6, in the space of pixels.
    """
    half = images.shape[-1] // 2
    left, right = full(images[..., :half]), full(images[..., -half:]).flip(-1)
    if side == "right":
        left = left.detach()
    elif side == "left":
        right = right.detach()
    return F.l1_loss(left, right)


def multiscale_loss(output: Tensor, target: Tensor, weights: Sequence[float], distance: PixelLoss) -> Tensor:
    """Returns the weighted sum of distances at full size, at half, at a quarter, and so on.

    Each size is the mean over squares of pixels of the one before.

    Args:
        output, target: (N, C, H, W).
        weights: One for each size, the full one first.
        distance: Of two pictures.

    References:
        arXiv:1704.04086, equation 5: 1, 1 and 1.5 at 128, 64 and 32 pixels in the authors' code, where the
        smaller ones are outputs of the decoder and here they are made of the one that there is.
    """
    output, target = full(output), full(target)
    total = weights[0] * distance(output, target)
    for weight in weights[1:]:
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
        total = total + weight * distance(output, target)
    return total


def crop_loss(output: Tensor, target: Tensor, boxes: Mapping[str, Box], distance: PixelLoss) -> Tensor:
    """Returns the mean over some parts of pictures of the distance within each.

    So a small part, such as an eye, counts as much as a large one.

    Args:
        output, target: (N, C, H, W).
        boxes: The parts. They stay where they are: pictures have to be aligned.
        distance: Of two pictures.

    References:
        arXiv:1704.04086, section 3.1, the local pathway; here its parts are terms of one network's loss.
    """
    height, width = output.shape[-2:]
    total = output.new_zeros((), dtype=full(output).dtype)
    for top, left, bottom, right in boxes.values():
        rows, columns = _pixels(top, bottom, height), _pixels(left, right, width)
        total = total + distance(output[..., rows, columns], target[..., rows, columns])
    return total / len(boxes)


def _pixels(start: float, end: float, size: int) -> slice:
    """Returns the pixels of a side between two shares of it, one at least."""
    first = min(round(start * size), size - 1)
    return slice(first, max(round(end * size), first + 1))


def total_variation_loss(images: Tensor) -> Tensor:
    """Returns the mean absolute difference of neighbours, across and down.

    References:
        arXiv:1704.04086, the last term of equation 3.
    """
    images = full(images)
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    return down + across
