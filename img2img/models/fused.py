"""A convolution and what follows it point by point, in one pass: for bf16 on CPUs.

There the units for matrices are so fast that a pass over memory for a ReLU or a sum takes as long as half a
convolution. oneDNN does both while it still holds the results. Everywhere else these are the two operations
one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FusedKernel = Callable[..., Tensor]


def conv_relu(conv: nn.Conv2d, x: Tensor, slope: float = 0.0) -> Tensor:
    """Returns a convolution of (N, C, H, W), values below zero times `slope`.

    It is rounded once where two steps round twice; with a slope of 0 both are the same bit for bit.
    """
    kernel = _kernel(conv, x, "default")
    if kernel is None:
        y: Tensor = conv(x)
        return F.leaky_relu(y, slope, inplace=True) if slope else F.relu(y, inplace=True)
    name, values = ("leaky_relu", [slope]) if slope else ("relu", [])
    return kernel(x, *_layer(conv), name, values, "")


def conv_add(conv: nn.Conv2d, x: Tensor, other: Tensor) -> Tensor:
    """Returns `other` and a convolution of (N, C, H, W), rounded once where two steps round twice."""
    kernel = _kernel(conv, x, "binary")
    if kernel is None or other.dtype != x.dtype:
        y: Tensor = conv(x)
        return y.add_(other) if y.dtype == other.dtype else y + other
    return kernel(x, other, *_layer(conv), "add", 1.0, None, [], None)


def _layer(conv: nn.Conv2d) -> tuple[Any, ...]:
    return conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups


def _kernel(conv: nn.Conv2d, x: Tensor, overload: str) -> _FusedKernel | None:
    """Returns the kernel for a layer and an input, or None where it takes two operations."""
    if (
        x.dtype != torch.bfloat16
        or conv.weight.dtype != torch.bfloat16
        or x.device.type != "cpu"
        or type(conv) is not nn.Conv2d
        or conv.padding_mode != "zeros"
        or isinstance(conv.padding, str)
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or not torch.backends.mkldnn.enabled
    ):
        return None
    return _kernels().get(overload)


@cache
def _kernels() -> dict[str, _FusedKernel]:
    """Returns what torch's compiler calls, too; nothing where torch or the CPU does not have it."""
    operations = torch.ops.mkldnn
    try:
        if not operations._is_mkldnn_bf16_supported():
            return {}
        found = operations._convolution_pointwise
        return {overload: getattr(found, overload) for overload in ("default", "binary")}
    except AttributeError:
        return {}
