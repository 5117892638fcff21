"""A convolution that learns as several and is used as one.

Ding, Zhang, Ma, Han, Ding, Sun: RepVGG (arXiv:2101.03697); with three in a row as in SPAN
(arXiv:2311.12770).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fold(skip: Sequence[Tensor], row: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of the 3x3 convolution that equals a 1x1 one plus a 1x1, a 3x3, a 1x1 in a row.

    Exact at the borders, too, where the row takes a picture padded with zeros before its first layer.

    Args:
        skip: Weight (K, C, 1, 1) and bias (K) of the one.
        row: The same of the three: (M, C, 1, 1), (N, M, 3, 3) and (K, N, 1, 1).
    """
    (first, bias1), (middle, bias2), (last, bias3) = row
    first, last = first.flatten(1), last.flatten(1)
    inner = torch.einsum("nmhw,mc->nchw", middle, first)
    weight = torch.einsum("kn,nchw->kchw", last, inner) + F.pad(skip[0], (1, 1, 1, 1))
    bias = last @ (middle.sum((2, 3)) @ bias1 + bias2) + bias3 + skip[1]
    return weight, bias


class BranchedConv2d(nn.Module):
    """A 3x3 convolution with zeros around the picture: a 1x1 one and a row through `gain` times the width.

    It folds its weights in each pass and convolves once, which is the same function with the same gradient at
    a fraction of the work.

    Args:
        in_channels, out_channels: As of `Conv2d`.
        gain: How much wider the row is.
    """

    def __init__(self, in_channels: int, out_channels: int, gain: int = 2) -> None:
        super().__init__()
        wide_in, wide_out = gain * in_channels, gain * out_channels
        self.skip = nn.Conv2d(in_channels, out_channels, 1)
        self.expand = nn.Conv2d(in_channels, wide_in, 1)
        self.middle = nn.Conv2d(wide_in, wide_out, 3)
        self.reduce = nn.Conv2d(wide_out, out_channels, 1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Returns the weight (K, C, 3, 3) and the bias (K) that it computes with."""
        skip, *row = (
            list(layer.parameters()) for layer in (self.skip, self.expand, self.middle, self.reduce)
        )
        device = self.skip.weight.device.type
        if not torch.amp.is_autocast_available(device):
            return fold(skip, row)
        with torch.autocast(device, enabled=False):  # three roundings in a row would add up
            return fold(skip, row)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H, W)."""
        weight, bias = self.folded()
        if not self.middle.weight.is_contiguous():
            weight = weight.contiguous(memory_format=torch.channels_last)  # activations follow the weights
        return F.conv2d(x, weight, bias, padding=1)


@runtime_checkable
class _Folds(Protocol):
    def folded(self) -> tuple[Tensor, Tensor]: ...


@torch.no_grad()
def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of `network` with each layer that has a method `folded` as one convolution."""
    folded = {name: layer.folded() for name, layer in network.named_modules() if isinstance(layer, _Folds)}
    inside = tuple(f"{name}." for name in folded)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith(inside)}
    for name, (weight, bias) in folded.items():
        state |= {f"{name}.weight": weight.detach(), f"{name}.bias": bias.detach()}
    return state
