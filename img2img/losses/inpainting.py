"""How far a filled picture is from the true one, inside the holes and outside, in pixels, features and style.

Liu et al.: Image Inpainting for Irregular Holes Using Partial Convolutions (arXiv:1804.07723), section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.losses.pixel import full
from img2img.losses.style import gram

LAYERS = ("pool1", "pool2", "pool3")
"""Of VGG16, those that the paper compares."""

FeatureMaps = Callable[[Tensor], dict[str, Tensor]]
"""What `img2img.losses.vgg.VGGFeatures` is: pictures (N, C, H, W) to feature maps (N, C', H', W') by name."""


def composite(output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Returns `output` in the holes and `truth` elsewhere, (N, C, H, W).

    Args:
        output, truth: (N, C, H, W) of one value range.
        mask: (N, 1, H, W), 1 is hole and 0 is known.
    """
    return torch.where(mask > 0.5, output.to(truth.dtype), truth)


def masked_l1(output: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the absolute differences in the holes and outside, each over the number of all values.

    Args:
        output, truth, mask: See `composite`.
    """
    difference = (full(output) - full(truth)).abs()
    hole = (mask > 0.5).to(difference.dtype)
    return (difference * hole).mean(), (difference * (1 - hole)).mean()


def total_variation(picture: Tensor, mask: Tensor) -> Tensor:
    """Returns the absolute differences of neighbours of which both lie in a hole widened by one pixel.

    Args:
        picture: (N, C, H, W).
        mask: (N, 1, H, W), 1 is hole.

    Returns:
        Their sum, across and down, over the number of values in `picture`: a 0-dim fp32 tensor.
    """
    picture = full(picture)
    region = F.max_pool2d((mask > 0.5).to(picture.dtype), 3, 1, 1)
    across = (picture[..., 1:] - picture[..., :-1]).abs() * region[..., 1:] * region[..., :-1]
    down = (picture[..., 1:, :] - picture[..., :-1, :]).abs() * region[..., 1:, :] * region[..., :-1, :]
    return (across.sum() + down.sum()) / picture.numel()


class FeatureTerms:
    """The perceptual and the style term, both of the output itself and of the composite.

    Args:
        features: Feature maps of pictures; the paper's are those of VGG16 at `LAYERS`.
    """

    def __init__(self, features: FeatureMaps) -> None:
        self._features = features

    def __call__(self, output: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the perceptual and the style term, not weighted, 0-dim fp32 tensors.

        Each is a sum over layers, and over output and composite, of a mean absolute difference: between
        feature maps, and between their Gram matrices.

        Args:
            output: (N, C, H, W); gradients pass through it.
            truth: The same shape; none pass through it.
            mask: (N, 1, H, W), 1 is hole.
        """
        with torch.no_grad():
            expected = self._features(truth)
            styles = {name: gram(value) for name, value in expected.items()}
        perceptual, style = [], []
        for picture in (output, composite(output, truth, mask)):
            for name, value in self._features(picture).items():
                perceptual.append(F.l1_loss(full(value), full(expected[name])))
                style.append(F.l1_loss(gram(value), styles[name]))
        return torch.stack(perceptual).sum(), torch.stack(style).sum()
