"""The networks of StarGAN: one generator for all attributes, told which by numbers, and its discriminator.

Choi, Choi, Kim, Ha, Kim, Choo: StarGAN: Unified Generative Adversarial Networks for Multi-Domain
Image-to-Image Translation (arXiv:1711.09020), table 4 and 5 and the authors' code.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import Vector
from img2img.models.base import Generator, generators
from img2img.models.discriminators import Discriminator, discriminators, outputs
from img2img.models.norm import InstanceNorm
from img2img.models.stage import stage
from img2img.types import SYMMETRIC


class _StarGANBlock(nn.Module):
    """Adds what two 3x3 convolutions with zeros beyond the border make of the input to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = InstanceNorm(channels, affine=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = InstanceNorm(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.norm1(self.conv1(x)))
        output: Tensor = x + self.norm2(self.conv2(y))
        return output


@generators.register("stargan")
class StarGANGenerator(Generator):
    """A residual generator that sees each attribute as a further channel, which is constant over the picture.

    With the defaults 8,430,528 parameters. Borders are zeros, not reflections, on purpose: a constant channel
    becomes a constant behind a convolution with reflected borders, and instance norm takes that away.

    The authors' norms keep running statistics and never use them, as their code never leaves training mode.
    Here there are none, and every picture is normalised by its own in training and in use.

    Of two data sets that are learned together (section 3.3 of the paper), the network sees the labels of both
    and two numbers that say which of them count. What is asked for here are those of one of the two.

    Args:
        in_channels: Channels of the picture, and of the result.
        features: Channels at full resolution; 4 times as many at a quarter of it.
        blocks: Residual blocks there.
        attributes: The labels of the data set that is asked for.
        others: The labels of the other data set, which are zero; 0 where there is none.
        second: Whether it is the second of the two that is asked for.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    multiple_of = 4
    minimum_size = 8  # instance norm needs more than one value at a quarter of the resolution
    tiling = "global_statistics"
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1, "attributes": 3, "others": 2}

    def __init__(
        self,
        in_channels: int = 3,
        features: int = 64,
        blocks: int = 6,
        attributes: int = 5,
        others: int = 0,
        second: bool = False,
    ) -> None:
        super().__init__()
        if attributes < 1 or blocks < 0:
            raise ConfigError(
                f"StarGAN needs attributes >= 1 and blocks >= 0; they are {attributes} and {blocks}."
            )
        if second and not others:
            raise ConfigError("StarGAN for the second of two data sets needs the number of the others.")
        self.in_channels = self.out_channels = in_channels
        self.input_range = self.output_range = SYMMETRIC
        self.attributes, self.others, self.second = attributes, others, second
        self.conditions = {"second_attributes" if second else "attributes": Vector(size=attributes)}
        self.receptive_field = 15 + 8 * blocks
        labels = attributes + (others + 2 if others else 0)
        self.live_features = 3 * features + 2 * in_channels + labels

        def normed(conv: nn.Module, channels: int) -> nn.Sequential:
            norm = InstanceNorm(channels, affine=True)
            return stage(conv=conv, norm=norm, activation=nn.ReLU(inplace=True))

        half, low = 2 * features, 4 * features
        self.head = nn.Sequential(
            normed(nn.Conv2d(in_channels + labels, features, 7, padding=3, bias=False), features),
            normed(nn.Conv2d(features, half, 4, 2, 1, bias=False), half),
            normed(nn.Conv2d(half, low, 4, 2, 1, bias=False), low),
        )
        self.blocks = nn.Sequential(*(_StarGANBlock(low) for _ in range(blocks)))
        self.tail = nn.Sequential(
            normed(nn.ConvTranspose2d(low, half, 4, 2, 1, bias=False), half),
            normed(nn.ConvTranspose2d(half, features, 4, 2, 1, bias=False), features),
        )
        self.last = stage(conv=nn.Conv2d(features, in_channels, 7, padding=3, bias=False), output=nn.Tanh())

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [-1, 1] and (N, attributes) to (N, in_channels, H, W) in [-1, 1]."""
        (wanted,) = conditions.values()
        labels = self.labels(wanted)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        seen = torch.cat((x, labels.to(x.dtype)), 1)
        output: Tensor = self.last(self.tail(self.blocks(self.head(seen))))
        return output

    def labels(self, wanted: Tensor) -> Tensor:
        """Returns (N, L), all labels that the network sees, from (N, attributes)."""
        if not self.others:
            return wanted
        none = wanted.new_zeros(wanted.shape[0], self.others)
        no, yes = wanted.new_zeros(wanted.shape[0], 1), wanted.new_ones(wanted.shape[0], 1)
        return torch.cat((none, wanted, no, yes) if self.second else (wanted, none, yes, no), 1)


@discriminators.register("stargan")
class StarGANDiscriminator(Discriminator):
    """Judges patches as real or made, and tells which attributes a picture has.

    For 128x128 and 5 attributes 44,762,048 parameters. No norms, as the penalty on its gradient asks.

    Args:
        in_channels: Channels of the picture.
        features: Channels after the first convolution; they double with each of `layers`.
        layers: Convolutions of stride 2, at least 1.
        input_size: Side length of the pictures, a multiple of 2**layers.
        attributes: How many are told; of two data sets those of both.

    Raises:
        ConfigError: A value that is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        features: int = 64,
        layers: int = 6,
        input_size: int = 128,
        attributes: int = 5,
    ) -> None:
        super().__init__()
        if layers < 1 or input_size < 2**layers or input_size % 2**layers:
            raise ConfigError(
                f"input_size (of the training crops) is {input_size}; with {layers} layers it must be a "
                f"multiple of {2 ** max(layers, 1)}. Take such a data.crop_size, or other layers."
            )
        self.in_channels, self.input_size = in_channels, input_size
        widths = [in_channels, *(features * 2**layer for layer in range(layers))]
        self.stages = nn.Sequential(
            *(
                stage(conv=nn.Conv2d(before, after, 4, 2, 1), activation=nn.LeakyReLU(0.01, inplace=True))
                for before, after in pairwise(widths)
            )
        )
        self.source = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        self.classes = nn.Conv2d(widths[-1], attributes, input_size // 2**layers, bias=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, S, S) to the output of each stage, last one logit a patch, (N, 1, h, w)."""
        found = outputs(self.stages, x)
        return [*found, self.source(found[-1])]

    def judged(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits of "real", (N, 1, h, w), and of the attributes, (N, attributes)."""
        low = self.stages(x)
        return self.source(low), self.classes(low).flatten(1)
