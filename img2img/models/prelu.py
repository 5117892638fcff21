"""PReLU with a backward pass that is quick in bf16 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """x where it is positive, and a learned slope times x where not.

    The same layer as torch's, with the same weights. torch's backward pass in bf16 asks for the sign of each
    value by itself and takes twice as long as this one on the activations of a trained network.

    References:
        He et al., Delving Deep into Rectifiers (arXiv:1502.01852).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        slow = x.requires_grad and x.dtype == torch.bfloat16 and x.device.type == "cpu"
        if not slow or torch.compiler.is_compiling():
            return super().forward(x)
        y: Tensor = _PReLUFunction.apply(x, self.weight)
        return y


class _PReLUFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(gradient, x, 0)  # where x > 0, else zero
        negative = gradient - positive
        of_slope = (negative * x).sum((0, 2, 3), dtype=slope.dtype)
        if slope.numel() == 1:
            of_slope = of_slope.sum(0, keepdim=True)
        return torch.addcmul(positive, negative, slope.to(x.dtype).view(-1, 1, 1)), of_slope
