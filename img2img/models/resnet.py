"""The residual generator of CycleGAN, after the style transfer network of Johnson et al. (arXiv:1603.08155).

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks
(arXiv:1703.10593).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.dropout import Dropout
from img2img.models.norm import NormKind, make_norm
from img2img.models.stage import Upsampling, reflect_conv, stage, upsampling
from img2img.types import SYMMETRIC


class ResidualBlock(nn.Module):
    """Adds what two 3x3 convolutions make of the input to the input.

    Args:
        channels: C, before and after.
        norm: "batch", "instance" or "none".
        dropout: Whether dropout of one half stands between the convolutions.
    """

    def __init__(self, channels: int, norm: NormKind, dropout: bool) -> None:
        super().__init__()
        bias = norm == "instance"
        self.conv1 = reflect_conv(channels, channels, 3, bias)
        self.norm1 = make_norm(norm, channels, "image")
        self.activation = nn.ReLU(inplace=True)
        self.dropout = Dropout(0.5) if dropout else nn.Identity()
        self.conv2 = reflect_conv(channels, channels, 3, bias)
        self.norm2 = make_norm(norm, channels, "image")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y = self.dropout(self.activation(self.norm1(self.conv1(x))))
        output: Tensor = x + self.norm2(self.conv2(y))
        return output


@generators.register("resnet")
class Resnet(Generator):
    """Down to a quarter of the resolution, residual blocks there, and up again.

    With 9 blocks and instance norm 11,378,179 parameters, with 6 blocks 7.838 million. Batch norm uses the
    statistics of each image in evaluation; `set_norm_stats` changes it. The network is
    `last(tail(blocks(head(x))))`; `head` and `tail` are rows of stages with a `conv`, a `norm` and an
    `activation` each, so that large images can go through them in strips.

    Args:
        in_channels, out_channels: Any.
        features: Channels at full resolution; they double with every halving of it.
        blocks: Residual blocks, 9 for images of 256 and more, 6 for 128.
        downs: Halvings of the resolution: 2 in CycleGAN, 4 in the global generator of pix2pixHD
            (arXiv:1711.11585). H and W must be multiples of 2**downs.
        norm: "instance", "batch" or "none".
        dropout: Whether each block has dropout of one half, as pix2pix trains this network.
        upsample: "deconv" is the paper's transposed convolution, "resize" a nearest-neighbour enlargement and
            a convolution, which leaves no checkerboard.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        blocks: int = 9,
        downs: int = 2,
        norm: NormKind = "instance",
        dropout: bool = False,
        upsample: Upsampling = "deconv",
    ) -> None:
        super().__init__()
        if blocks < 0 or downs < 1:
            raise ConfigError(
                f"a residual generator needs blocks >= 0 and downs >= 1; they are {blocks} and {downs}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.input_range = self.output_range = SYMMETRIC
        self.multiple_of = 2**downs
        self.minimum_size = 2 ** (downs + 1)  # a reflected border needs two pixels at the lowest resolution
        self.tiling = "local" if norm == "none" else "global_statistics"
        self.receptive_field = self._radius(blocks, downs, upsample)
        self.live_features = (6 if upsample == "resize" else 3) * features + in_channels + out_channels

        widths = [features * 2**level for level in range(downs + 1)]
        self.head = nn.Sequential(
            stage(
                conv=reflect_conv(in_channels, features, 7, norm == "instance"),
                norm=make_norm(norm, features, "image"),
                activation=nn.ReLU(inplace=True),
            ),
            *(self._down(outer, inner, norm) for outer, inner in pairwise(widths)),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1], norm, dropout) for _ in range(blocks)))
        self.tail = nn.Sequential(
            *(self._up(inner, outer, norm, upsample) for inner, outer in pairwise(reversed(widths)))
        )
        self.last = stage(conv=reflect_conv(features, out_channels, 7), output=nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] to (N, out_channels, H, W) in [-1, 1]."""
        output: Tensor = self.last(self.tail(self.blocks(self.head(x))))
        return output

    def _down(self, in_channels: int, out_channels: int, norm: NormKind) -> nn.Sequential:
        """Returns the stage that halves the resolution."""
        return stage(
            conv=nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=norm == "instance"),
            norm=make_norm(norm, out_channels, "image"),
            activation=nn.ReLU(inplace=True),
        )

    def _up(self, in_channels: int, out_channels: int, norm: NormKind, kind: Upsampling) -> nn.Sequential:
        """Returns the stage that doubles the resolution."""
        return stage(
            **upsampling(kind, in_channels, out_channels, kernel=3, bias=norm == "instance"),
            norm=make_norm(norm, out_channels, "image"),
            activation=nn.ReLU(inplace=True),
        )

    def _radius(self, blocks: int, downs: int, upsample: Upsampling) -> int:
        """Returns the receptive radius in input pixels.

        Into the lowest level: 3 pixels and one of each level; there one of `cell` pixels a convolution; and
        up again, where a transposed convolution sees no more than the next pixel.
        """
        cell = 1 << downs
        return 3 + (cell - 1) + 2 * cell * blocks + (cell + 2 if upsample == "deconv" else 2 * cell)
