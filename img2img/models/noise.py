"""The random input of networks that make several results of one picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Noise(nn.Module):
    """Puts random channels in front of a picture, the same at all of its places.

    In training mode each picture has its own, from torch's global generator. In evaluation they depend on the
    seed alone, 0 until `set_noise` gives another: a picture comes out the same in any batch, in any order and
    on any device, and another seed is another result.

    Args:
        size: How many channels; 0 for none.
    """

    constant: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("constant", _drawn(size, 0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, size + C, H, W)."""
        if not self.size:
            return x
        values = torch.randn(len(x), self.size, device=x.device) if self.training else self.constant[None]
        return torch.cat((values.to(x)[..., None, None].expand(len(x), -1, *x.shape[2:]), x), 1)

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.size}"


def set_noise(module: nn.Module, seed: int) -> int:
    """Gives all noise in evaluation the seed `seed`; returns how many layers have some."""
    layers = [layer for layer in module.modules() if isinstance(layer, Noise) and layer.size]
    for layer in layers:
        layer.constant.copy_(_drawn(layer.size, seed))
    return len(layers)


def _drawn(size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed % 2**63), device="cpu")
