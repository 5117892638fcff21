"""Perceptual similarity from Haar wavelets: no network, no weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.metrics.base import Metric, metrics, one_thread, require_channels, require_size, unit
from img2img.types import ValueRange

SMALLEST = 16
"""Pixels of the shortest side: the largest wavelet on a picture that was halved."""
_TITLE = "HaarPSI"
_C, _ALPHA = 30.0, 4.2
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@one_thread()
def haarpsi(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the Haar wavelet-based perceptual similarity of each image.

    In float64, with the paper's constants C = 30 and alpha = 4.2 for levels from 0 to 255; pictures are
    halved first, as in the paper, for which an odd side is continued by black. It agrees with the formula in
    NumPy to 10 decimals, and with piq to 3, which has other digits in the weights of YIQ.

    Args:
        a, b: (N, C, H, W) of one shape, C = 1 or 3 (RGB), in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count, and that nothing sees.

    Returns:
        (N,) float64 from 0 to 1, 1 where the images are equal.

    Raises:
        ValueError: The shapes differ, less than 16x16 pixels are left, there are neither one nor three
            channels, or values are not in the range.

    References:
        Reisenhofer, Bosse, Kutyniok, Wiegand: A Haar Wavelet-Based Perceptual Similarity Index for Image
        Quality Assessment (arXiv:1607.06140). Two pictures that are black altogether, for which the formula
        has no number, are equal.
    """
    a, b = unit(a, b, value_range, border)
    require_channels(_TITLE, a)
    require_size(_TITLE, a, SMALLEST)
    a, b = _halved(a), _halved(b)
    wavelets_a, wavelets_b = _wavelets(a[:, :1]), _wavelets(b[:, :1])
    # (N, 2, H, W): of both directions, the finer two scales compared and the coarsest as weight
    similar = (_similarity(wavelets_a[:, :, :2], wavelets_b[:, :, :2])).mean(2)
    weights = torch.maximum(wavelets_a[:, :, 2], wavelets_b[:, :, 2])
    if a.shape[1] == 3:
        chroma = [F.avg_pool2d(F.pad(x[:, 1:], (0, 1, 0, 1)), 2, stride=1).abs() for x in (a, b)]
        similar = torch.cat([similar, _similarity(*chroma).mean(1, keepdim=True)], 1)
        weights = torch.cat([weights, weights.mean(1, keepdim=True)], 1)
    total = weights.sum((1, 2, 3))
    score = (torch.sigmoid(_ALPHA * similar) * weights).sum((1, 2, 3)) / total
    equal = (a == b).flatten(1).all(1)  # also where all is black: the weights are 0 then
    return torch.where(equal, torch.ones_like(total), (score.logit() / _ALPHA).square())


def _halved(images: Tensor) -> Tensor:
    """Returns (N, C, H, W) from black 0 to white 1 as YIQ or grey from 0 to 255 at half the size."""
    if images.shape[1] == 3:
        images = torch.einsum("ij,njhw->nihw", images.new_tensor(_YIQ), images)
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2)), 2) * 255


def _wavelets(grey: Tensor) -> Tensor:
    """Returns the magnitudes of wavelets of (N, 1, H, W): both directions, three scales (N, 2, 3, H, W)."""
    found = []
    for side in (2, 4, 8):
        across = grey.new_full((side, side), 1 / side)
        across[: side // 2] *= -1
        reach = side // 2
        padded = F.pad(grey, (reach - 1, reach, reach - 1, reach))  # what conv2(..., "same") keeps
        found.append(F.conv2d(padded, torch.stack([across, across.T])[:, None]).abs())
    return torch.stack(found, 2)


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    return (2 * x * y + _C) / (x.square() + y.square() + _C)


metrics.register("haarpsi")(
    Metric(
        haarpsi,
        higher_is_better=True,
        decimals=4,
        title=_TITLE,
        perfect=1.0,
        smallest=SMALLEST,
        channels=(1, 3),
    )
)
