"""Convolutions that commute with the mirrorings and quarter turns of a square.

Cohen, Welling: Group Equivariant Convolutional Networks (arXiv:1602.07576), with the group p4m. There the
free weights are stored once and repeated; here a layer keeps all of them and uses their mean over the group,
which is the same set of layers. So the weights have the shape that they have in any other convolution.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError

POSITIONS = 8  # of a square
Kind = Literal["plain", "oriented", "phases"]


def turned(x: Tensor, position: int) -> Tensor:
    """Mirrors or turns the last two axes of `x`: 1 columns, 2 rows, 4 both axes exchanged, added up."""
    axes = [axis for axis, bit in ((-1, 1), (-2, 2)) if position & bit]
    x = x.flip(axes) if axes else x
    return x.transpose(-1, -2) if position & 4 else x


class SymmetricConv2d(nn.Conv2d):
    """A convolution with a square kernel that turns its output when its input is turned.

    Fresh weights are symmetric already and as large as those of `Conv2d`. Their gradient is symmetric, too,
    so that they stay so.

    Args:
        in_channels, out_channels: As of `Conv2d`.
        kernel_size: The side of the kernel, in pixels.
        source, result: What becomes of the channels when a picture is turned. "plain": nothing, as of
            colours. "oriented": each eight of them are the eight positions of one feature and change places.
            "phases": they are the pixels of cells that `pixel_shuffle` lays out.
        scale: The side of such a cell.
        padding: As of `Conv2d`.

    Raises:
        ConfigError: The number of oriented channels is no multiple of 8.
    """

    places: Tensor
    bias_places: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        source: Kind = "oriented",
        result: Kind = "oriented",
        scale: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        for kind, channels in ((source, in_channels), (result, out_channels)):
            if kind == "oriented" and channels % POSITIONS:
                raise ConfigError(
                    f"a symmetric network has features in groups of {POSITIONS}, one for each position of a "
                    f"square; {channels} is no multiple of {POSITIONS}."
                )
        places = _weight_places(source, in_channels, result, out_channels, scale, kernel_size)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("bias_places", _moves(result, out_channels, scale).argsort(1), persistent=False)
        with torch.no_grad():  # the mean of eight independent weights is smaller by the root of eight
            self.weight.copy_(self.symmetric_weight() * math.sqrt(POSITIONS))
            assert self.bias is not None
            self.bias.copy_(self.symmetric_bias())

    def symmetric_weight(self) -> Tensor:
        """Returns what the layer computes with, of the shape of `weight`."""
        return _mean(self.weight, self.places)

    def symmetric_bias(self) -> Tensor:
        """Returns the constants that it adds, of the shape of `bias`."""
        assert self.bias is not None
        return _mean(self.bias, self.bias_places)

    def is_symmetric(self) -> bool:
        """Returns whether `weight` is what the layer computes with, to a hundredth of its size."""
        with torch.no_grad():
            return bool((self.weight - self.symmetric_weight()).norm() <= 0.01 * self.weight.norm())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H', W'), as `Conv2d`."""
        output: Tensor = self._conv_forward(x, self.symmetric_weight(), self.symmetric_bias())
        return output


class _Mean(torch.autograd.Function):
    """The mean over the group. It is an orthogonal projection, so the gradient takes the same mean back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor) -> Tensor:
        """(...) and the places (8, ...) where its entries come from, to the shape of the first."""
        ctx.save_for_backward(places)
        return values.flatten()[places].mean(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The same of the gradient."""
        (places,) = ctx.saved_tensors
        return gradients[0].flatten()[places].mean(0), None


def _mean(values: Tensor, places: Tensor) -> Tensor:
    mean: Tensor = _Mean.apply(values, places)
    return mean


@cache
def _after() -> tuple[tuple[int, ...], ...]:
    """Returns for positions g, h at [g][h] the one that h and then g result in."""
    cell = torch.arange(4).view(2, 2)
    known = [turned(cell, position).flatten().tolist() for position in range(POSITIONS)]
    return tuple(
        tuple(known.index(turned(turned(cell, h), g).flatten().tolist()) for h in range(POSITIONS))
        for g in range(POSITIONS)
    )


@cache
def _moves(kind: Kind, channels: int, scale: int) -> Tensor:
    """Returns (8, channels): where each channel goes when the picture takes a position."""
    if kind == "plain":
        return torch.arange(channels).repeat(POSITIONS, 1)
    if kind == "oriented":
        group = torch.tensor(_after())
    else:
        cell = torch.arange(scale * scale).view(scale, scale)
        # turning tells for each place what comes there; the inverse of it where each pixel goes
        group = torch.stack([turned(cell, g).flatten().argsort() for g in range(POSITIONS)])
    size = group.shape[1]
    return torch.cat([group + start for start in range(0, channels, size)], dim=1)


@cache
def _weight_places(
    source: Kind, in_channels: int, result: Kind, out_channels: int, scale: int, side: int
) -> Tensor:
    """Returns (8, K, C, side, side): for each entry of a weight the eight that are made equal."""
    to, of = _moves(result, out_channels, scale), _moves(source, in_channels, scale)
    entries = torch.arange(out_channels * in_channels * side * side)
    entries = entries.view(out_channels, in_channels, side, side)
    places = torch.empty(POSITIONS, *entries.shape, dtype=torch.long)
    for position in range(POSITIONS):
        places[position, to[position][:, None], of[position]] = turned(entries, position)
    return places
