"""Dropout that stays off in evaluation unless it is asked for, and then is reproducible."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """Sets a random part of the values to zero and scales up the others: the noise input of pix2pix.

    In training mode the masks come from torch's global generator. In evaluation it does nothing until
    `set_dropout` gives a seed. Then the mask depends on the seed, the place of the layer in the network and
    the shape of one image alone, and all images of a batch share it: an image comes out the same in any
    batch, in any order and on any device.

    Args:
        p: Probability of zero.

    Attributes:
        seed: None for off in evaluation.

    References:
        Isola et al. (arXiv:1611.07004), section 3.1.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.seed: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if self.training:
            return F.dropout(x, self.p)
        if self.seed is None:
            return x
        random = torch.Generator().manual_seed(self.seed % 2**63)
        kept = torch.rand(x.shape[1:], generator=random) >= self.p
        return x * (kept / (1 - self.p)).to(x)

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"p={self.p}"


def set_dropout(module: nn.Module, seed: int | None) -> int:
    """Turns dropout in evaluation on with `seed`, or off with None; returns how many layers there are."""
    layers = [layer for layer in module.modules() if isinstance(layer, Dropout)]
    for place, layer in enumerate(layers):
        # far apart, so that the next seed does not hand each layer the mask of its neighbour
        layer.seed = None if seed is None else (seed + place * 0x9E3779B97F4A7C15) % 2**63
    return len(layers)
