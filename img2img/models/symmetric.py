"""Convolutions that commute with the mirrorings and quarter turns of a square.

Cohen, Welling: Group Equivariant Convolutional Networks (arXiv:1602.07576), with the group p4m. There the
free weights are stored once and repeated; here a layer keeps all of them and uses their mean over the group,
which is the same set of layers. So the weights have the shape that they have in any other convolution.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img2img.errors import ConfigError

POSITIONS = 8  # of a square
Kind = Literal["plain", "oriented", "phases"]
_Places: TypeAlias = NDArray[np.signedinteger[Any]]


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
                    f"square; {channels} is no multiple of {POSITIONS}. Take one that is, or a plain network."
                )
        places = _weight_places(source, in_channels, result, out_channels, scale, kernel_size)
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        places = _bias_places(result, out_channels, scale)
        self.register_buffer("bias_places", torch.from_numpy(places), persistent=False)
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
        return _gathered(values, places).mean(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The same of the gradient."""
        (places,) = ctx.saved_tensors
        return _gathered(gradients[0], places).mean(0), None


def _gathered(values: Tensor, places: Tensor) -> Tensor:
    """`values.flatten()[places]`, three times as fast."""
    return values.flatten().index_select(0, places.flatten()).view(places.shape)


def _mean(values: Tensor, places: Tensor) -> Tensor:
    mean: Tensor = _Mean.apply(values, places)
    return mean


# Places are counted in numpy: torch may be planning on tensors without values while a network is built.


@cache
def _after() -> _Places:
    """Returns (8, 8): at [g, h] the position that h and then g result in."""
    corners = np.arange(4).reshape(2, 2)
    known = [_turned(corners, position).tolist() for position in range(POSITIONS)]
    return np.array(
        [[known.index(_turned(np.array(h), g).tolist()) for h in known] for g in range(POSITIONS)]
    )


def _turned(x: _Places, position: int) -> _Places:
    """Mirrors or turns the last two axes: 1 columns, 2 rows, 4 both axes exchanged, added up."""
    axes = tuple(axis for axis, bit in ((-1, 1), (-2, 2)) if position & bit)
    x = np.flip(x, axes)
    return x.swapaxes(-1, -2) if position & 4 else x


@cache
def _moves(kind: Kind, channels: int, scale: int) -> _Places:
    """Returns (8, channels): where each channel goes when the picture takes a position."""
    if kind == "plain":
        return np.tile(np.arange(channels), (POSITIONS, 1))
    if kind == "oriented":
        group = _after()
    else:
        cell = np.arange(scale * scale).reshape(scale, scale)
        # turning tells for each place what comes there; the inverse of it where each pixel goes
        group = np.stack([_turned(cell, g).ravel().argsort() for g in range(POSITIONS)])
    return np.concatenate([group + start for start in range(0, channels, group.shape[1])], axis=1)


@cache
def _weight_places(
    source: Kind, in_channels: int, result: Kind, out_channels: int, scale: int, side: int
) -> _Places:
    """Returns (8, K, C, side, side): for each entry of a weight the eight that are made equal."""
    to, of = _moves(result, out_channels, scale), _moves(source, in_channels, scale)
    shape = out_channels, in_channels, side, side
    entries = np.arange(np.prod(shape)).reshape(shape)
    places = np.empty((POSITIONS, *entries.shape), np.int32)
    for position in range(POSITIONS):
        places[position, to[position][:, None], of[position]] = _turned(entries, position)
    return places


@cache
def _bias_places(result: Kind, channels: int, scale: int) -> _Places:
    """Returns (8, K): the same of the constants."""
    return _moves(result, channels, scale).argsort(1).astype(np.int32)
