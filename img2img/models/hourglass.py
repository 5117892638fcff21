"""The network of Deep Image Prior: encoder and decoder with thin bridges, fitted to one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.norm import BatchNorm
from img2img.models.stage import reflect_conv, stage

Enlarging = Literal["bilinear", "nearest"]


class Hourglass(nn.Module):
    """Maps noise to a picture; what it finds hard to draw is what it removes.

    With five scales of 128 channels, bridges of 4 and 32 channels of noise it has 2,217,831 parameters. It is
    always in training: batch norm goes by the statistics of the one picture.

    Args:
        in_channels: Of the noise.
        out_channels: Of the picture.
        widths: Channels of each scale, the largest first; on the way down and up alike.
        bridges: Channels that go across at each scale; 0 is no bridge.
        enlarging: How the decoder doubles H and W.

    Attributes:
        multiple_of: H and W must be multiples of this, and at least twice as much: the border of the
            smallest scale is reflected.

    Raises:
        ConfigError: There is not one bridge for each scale.

    References:
        Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (arXiv:1711.10925), supplement 1; `skip` in the authors'
        code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (128,) * 5,
        bridges: Sequence[int] = (4,) * 5,
        enlarging: Enlarging = "bilinear",
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(bridges):
            raise ConfigError(f"{len(widths)} scales need as many bridges, not {len(bridges)}.")
        self.multiple_of = 2 ** len(widths)
        before = [in_channels, *widths]
        scale: _Scale | None = None
        for place in reversed(range(len(widths))):
            scale = _Scale(before[place], widths[place], bridges[place], scale, enlarging)
        assert scale is not None
        self.scales = scale
        self.draw = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W) between 0 and 1."""
        return torch.sigmoid(self.draw(self.scales(x)))


class _Scale(nn.Module):
    """Halves, goes through the smaller scales, doubles, and joins what came across its bridge."""

    def __init__(
        self, in_channels: int, width: int, bridge: int, smaller: _Scale | None, enlarging: Enlarging
    ) -> None:
        super().__init__()
        self.width: int = width
        self.bridge = _layers(nn.Conv2d(in_channels, bridge, 1), bridge) if bridge else None
        halving = nn.Conv2d(in_channels, width, 3, 2, 1, padding_mode="reflect")
        self.down = nn.Sequential(_layers(halving, width), _layers(reflect_conv(width, width, 3), width))
        self.smaller = smaller
        self.enlarging = enlarging
        joined = bridge + (smaller.width if smaller is not None else width)
        self.norm = BatchNorm(joined)
        self.up = nn.Sequential(
            _layers(reflect_conv(joined, width, 3), width), _layers(nn.Conv2d(width, width, 1), width)
        )

    def forward(self, x: Tensor) -> Tensor:
        deep = self.down(x)
        if self.smaller is not None:
            deep = self.smaller(deep)
        deep = F.interpolate(deep, scale_factor=2, mode=self.enlarging)
        if self.bridge is not None:
            deep = torch.cat((self.bridge(x), deep), 1)
        made: Tensor = self.up(self.norm(deep))
        return made


def _layers(conv: nn.Conv2d, channels: int) -> nn.Sequential:
    return stage(conv=conv, norm=BatchNorm(channels), activation=nn.LeakyReLU(0.2, inplace=True))
