"""Spectral normalisation whose running average can be used as it is.

Miyato et al.: Spectral Normalization for Generative Adversarial Networks (arXiv:1802.05957).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from img2img.models.init import has_values

_FIRST = 15  # iterations with new weights


class _Spectral(nn.Module):
    """Divides a weight by its largest singular value; each step of training improves the estimate once.

    Beside the weight only `u` is remembered, and its length does not matter. So the estimate fits whatever
    weights it stands beside, also where both are averages over steps; that of torch takes an average for too
    short a vector, and makes the weights too large.

    Args:
        weight: Of the layer.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("u", torch.randn(weight.shape[0], dtype=weight.dtype, device=weight.device))
        with torch.no_grad():
            for _ in range(_FIRST if has_values(weight) else 0):
                self.u.copy_(self._improved(weight.flatten(1))[1])

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the divided weight."""
        matrix = weight.flatten(1)
        with torch.no_grad():
            v, u = self._improved(matrix)
            if self.training:
                self.u.copy_(u)
        return weight / (u * (matrix * v).sum(1)).sum()

    def _improved(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both singular vectors after one iteration; sums, since autocast would round products."""
        v = F.normalize((matrix * F.normalize(self.u, dim=0)[:, None]).sum(0), dim=0)
        return v, F.normalize((matrix * v).sum(1), dim=0)


def spectral_norm(layer: nn.Module) -> nn.Module:
    """Returns `layer`, whose weight is divided by its largest singular value from now on."""
    return register_parametrization(layer, "weight", _Spectral(layer.get_parameter("weight")))
