"""How far apart two images are in the eyes of a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import functional as F

Features: TypeAlias = Sequence[Tensor] | Sequence[Sequence[Tensor]]
"""The outputs of a discriminator's stages, logits last; with several scales one such list each."""

_FACTOR = 4.0


def feature_matching(fake: Features, real: Features) -> Tensor:
    """Returns the L1 distance of the intermediate features: 4 times the mean over stages, mean over scales.

    The factor is that of the authors' code; with the 4 stages of the usual PatchGAN it makes the sum over the
    stages that the paper writes. The logits do not take part.

    Args:
        fake: What `features` of a discriminator returns for made images.
        real: The same for real images; no gradient passes through them, so take them without.

    Returns:
        A 0-dim fp32 tensor.

    Raises:
        ValueError: The two have different numbers of scales or stages, or there is nothing but logits.

    References:
        Wang et al., pix2pixHD (arXiv:1711.11585); weight 10 there.
    """
    scales = [_distance(a, b) for a, b in zip(_scales(fake), _scales(real), strict=True)]
    return torch.stack(scales).mean()


def _distance(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    if len(fake) < 2:
        raise ValueError("a discriminator without stages before its logits has no features to match")
    pairs = zip(fake[:-1], real[:-1], strict=True)
    return _FACTOR * torch.stack([F.l1_loss(a.float(), b.detach().float()) for a, b in pairs]).mean()


def _scales(features: Features) -> Sequence[Sequence[Tensor]]:
    single = isinstance(features[0], Tensor)
    return cast(Sequence[Sequence[Tensor]], [features] if single else features)
