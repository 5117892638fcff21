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
from img2img.models.base import Generator

POSITIONS = 8  # of a square
Channels = Literal["plain", "oriented", "phases"]
_Indices: TypeAlias = NDArray[np.signedinteger[Any]]


class SymmetricConv2d(nn.Conv2d):
    """A convolution with a square kernel that turns its output when its input is turned.

    Fresh weights are symmetric already, and as large as those of `Conv2d`. Their gradient is symmetric, too,
    so that they stay so but for rounding.

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
        source: Channels = "oriented",
        result: Channels = "oriented",
        scale: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        for kind, channels in ((source, in_channels), (result, out_channels)):
            if kind == "oriented" and channels % POSITIONS:
                raise ConfigError(
                    f"a symmetric network has features in groups of {POSITIONS}, one for each position of a "
                    f"square; {channels} is no multiple of {POSITIONS}. Take one that is, or set "
                    "generator.symmetric to false."
                )
        self.sizes = _size(result, scale), _size(source, scale)
        places = bias_places = torch.empty(0, device="meta")
        if not self.weight.is_meta:  # where only shapes are asked for, nothing may be large
            places = torch.from_numpy(_fibre_places(result, source, scale, kernel_size))
            bias_places = torch.from_numpy(_moves(result, scale).argsort(1))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("bias_places", bias_places, persistent=False)
        if not self.weight.is_meta:
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Makes independent weights symmetric and keeps their size: the mean of eight is smaller."""
        assert self.bias is not None
        self.weight.copy_(self.symmetric_weight() * math.sqrt(POSITIONS))
        self.bias.copy_(self.symmetric_bias())

    def symmetric_weight(self) -> Tensor:
        """Returns what the layer computes with, of the shape and the memory format of `weight`."""
        (k, c, height, width), (a, b) = self.weight.shape, self.sizes
        fibres = self.weight.reshape(k // a, a, c // b, b, height * width).transpose(1, 2)
        mean = _mean(fibres.reshape(-1, a * b * height * width), self.places)
        mean = mean.view(k // a, c // b, a, b, height * width).transpose(1, 2).reshape(self.weight.shape)
        if self.weight.is_contiguous():
            return mean
        return mean.contiguous(memory_format=torch.channels_last)  # activations follow the weights

    def symmetric_bias(self) -> Tensor:
        """Returns the constants that it adds, of the shape of `bias`."""
        assert self.bias is not None
        return _mean(self.bias.view(-1, self.sizes[0]), self.bias_places).flatten()

    def folded(self) -> tuple[Tensor, Tensor]:
        """Returns weight and bias of the plain convolution that it is."""
        return self.symmetric_weight(), self.symmetric_bias()

    def is_symmetric(self) -> bool:
        """Returns whether weights and constants are those it computes with, to a hundredth of their size."""
        assert self.bias is not None
        pairs = (self.weight, self.symmetric_weight()), (self.bias, self.symmetric_bias())
        return all(bool((raw - mean).norm() <= 0.01 * raw.norm()) for raw, mean in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H', W'), as `Conv2d`."""
        output: Tensor = self._conv_forward(x, self.symmetric_weight(), self.symmetric_bias())
        return output


@torch.no_grad()
def is_symmetric(network: nn.Module) -> bool:
    """Returns whether all layers of `network` that compute with symmetric weights have such weights."""
    return all(layer.is_symmetric() for layer in network.modules() if isinstance(layer, SymmetricConv2d))


class SymmetricGenerator(Generator):
    """A generator with the argument `symmetric`, whose layers are `SymmetricConv2d` where it is true.

    Its model files hold the plain network that it then is; training goes on from these with that argument
    where the weights are symmetric.
    """

    training_arguments = ("symmetric",)

    def check_state(self) -> None:
        """A symmetric network has weights that learned to be."""
        if not is_symmetric(self):
            raise ConfigError(
                "the weights did not learn to be symmetric, as method.generator.symmetric wants it; set "
                "that to false."
            )

    def fine_tuning_arguments(self) -> dict[str, Any]:
        """A network that learned to be symmetric goes on so."""
        arguments = self.spec.arguments
        try:
            twin = type(self)(**(arguments | {"symmetric": True}))
            twin.load_state_dict(self.state_dict())
        except (ConfigError, RuntimeError):
            return arguments | {"symmetric": False}
        return arguments | {"symmetric": is_symmetric(twin)}


class _Mean(torch.autograd.Function):
    """The mean over the group. It is an orthogonal projection, so the gradient takes the same mean back."""

    @staticmethod
    def forward(ctx: Any, fibres: Tensor, places: Tensor) -> Tensor:
        """Fibres (N, M), and where their entries come from in each position (8, M), to (N, M)."""
        ctx.save_for_backward(places)
        return _mean_at(fibres, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The same of the gradient."""
        (places,) = ctx.saved_tensors
        return _mean_at(gradients[0], places), None


def _mean_at(fibres: Tensor, places: Tensor) -> Tensor:
    return fibres.index_select(1, places.flatten()).view(-1, *places.shape).mean(1)


def _mean(fibres: Tensor, places: Tensor) -> Tensor:
    mean: Tensor = _Mean.apply(fibres, places)
    return mean


# Places are counted in numpy: torch may be planning on tensors without values while a network is built.


def _size(kind: Channels, scale: int) -> int:
    """Returns how many channels change places with each other."""
    return {"plain": 1, "oriented": POSITIONS, "phases": scale**2}[kind]


def _moves(kind: Channels, scale: int) -> _Indices:
    """Returns (8, size): where each of such channels goes when the picture takes a position."""
    if kind == "plain":
        return np.zeros((POSITIONS, 1), np.int64)
    if kind == "oriented":
        return _after()
    cell = np.arange(scale**2).reshape(scale, scale)
    # turning tells for each place what comes there; the inverse of it where each pixel goes
    return np.stack([_turned(cell, position).ravel().argsort() for position in range(POSITIONS)])


@cache
def _after() -> _Indices:
    """Returns (8, 8): at [g, h] the position that h and then g result in."""
    corners = np.arange(4).reshape(2, 2)
    known = [_turned(corners, position).tolist() for position in range(POSITIONS)]
    return np.array(
        [[known.index(_turned(np.array(h), g).tolist()) for h in known] for g in range(POSITIONS)]
    )


def _turned(x: _Indices, position: int) -> _Indices:
    """Mirrors columns (bit 1 of the position) and rows (bit 2), then exchanges both axes (bit 4)."""
    x = np.flip(x, tuple(axis for axis, bit in ((-1, 1), (-2, 2)) if position & bit))
    return x.swapaxes(-1, -2) if position & 4 else x


@cache
def _fibre_places(result: Channels, source: Channels, scale: int, side: int) -> _Indices:
    """Returns (8, M) for the M entries of channels that change places: for each the eight equal ones."""
    to, of = _moves(result, scale), _moves(source, scale)
    shape = to.shape[1], of.shape[1], side, side
    entries = np.arange(np.prod(shape)).reshape(shape)
    places = np.empty((POSITIONS, *shape), np.int64)
    for position in range(POSITIONS):
        places[position, to[position][:, None], of[position]] = _turned(entries, position)
    return places.reshape(POSITIONS, -1)
