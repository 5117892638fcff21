"""The random input of networks that make several results of one picture."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

_BLOCK = 64  # side of the squares that noise at every place is drawn in


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
        self.register_buffer("constant", _drawn(0, size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, size + C, H, W)."""
        if not self.size:
            return x
        values = torch.randn(x.shape[0], self.size, device=x.device) if self.training else self.constant[None]
        return torch.cat((values.to(x)[..., None, None].expand(x.shape[0], -1, *x.shape[2:]), x), 1)

    def reseed(self, seed: int) -> None:
        """Makes the noise of evaluation that of `seed`."""
        self.constant.copy_(_drawn(seed, self.size))

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.size}"


class NoiseField(nn.Module):
    """Makes noise with a value of its own at every place, normally distributed.

    In training mode each picture has its own, from torch's global generator. In evaluation it depends on the
    seed and the place alone: as with `Noise`, and parts of a picture get what the whole has there.

    Args:
        size: How many channels; 0 for none.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.seed = size, 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, size, H, W), which begins at the top left of its picture in evaluation."""
        shape = (x.shape[0], self.size, *x.shape[2:])
        if self.training:
            return torch.randn(shape, device=x.device, dtype=x.dtype)
        return self.at(0, 0, *x.shape[2:]).to(x).expand(shape)

    def at(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Returns (size, height, width) in fp32 on the CPU, for the part of a picture that begins there."""
        rows, columns = (range(a // _BLOCK, -(-(a + n) // _BLOCK)) for a, n in ((top, height), (left, width)))
        field = torch.cat([torch.cat([self._block(r, c) for c in columns], 2) for r in rows], 1)
        top, left = top - rows.start * _BLOCK, left - columns.start * _BLOCK
        return field[:, top : top + height, left : left + width]

    def _block(self, row: int, column: int) -> Tensor:
        digest = hashlib.blake2b(f"{self.seed} {row} {column}".encode(), digest_size=7).digest()
        return _drawn(int.from_bytes(digest, "big"), self.size, _BLOCK, _BLOCK)

    def reseed(self, seed: int) -> None:
        """Makes the noise of evaluation that of `seed`."""
        self.seed = seed

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.size}"


def set_noise(module: nn.Module, seed: int) -> int:
    """Gives all noise in evaluation the seed `seed`; returns how many layers have some."""
    layers = [layer for layer in module.modules() if isinstance(layer, Noise | NoiseField) and layer.size]
    for layer in layers:
        layer.reseed(seed)
    return len(layers)


def _drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63), device="cpu")
