"""The precision in which losses reduce."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """Returns `x` in fp32; float64, in which only exactness is tested, stays as it is."""
    return x if x.dtype == torch.float64 else x.float()
