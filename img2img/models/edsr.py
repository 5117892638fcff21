"""EDSR: residual blocks without norm, with a tail that works at the input's resolution, and as published.

Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image Super-Resolution (arXiv:1707.02921).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.folding import plain_state
from img2img.models.fused import conv_add, conv_relu
from img2img.models.skip import addable, require_addable, shuffled
from img2img.models.span import MeanColour, mean_colour, require_mean
from img2img.models.srresnet import STEPS
from img2img.models.symmetric import SymmetricConv2d, SymmetricGenerator


class _EDSRBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, added to their input."""

    def __init__(self, conv1: nn.Conv2d, conv2: nn.Conv2d) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv1, conv2
        # a block begins near the identity: that takes the place of the residual scaling of the paper
        _shrink(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return conv_add(self.conv2, conv_relu(self.conv1, x), x)


@generators.register("edsr")
class EDSR(SymmetricGenerator):
    """Residual blocks, a long skip connection, and one convolution that makes all phases of the output.

    The output is a correction to the input enlarged by nearest neighbour, in (0, 1) like the input. Unlike
    the paper's it has no layer at the output's resolution, so that nearly all work is in the blocks: for x4 a
    network of the same speed has more of them. With 64 features and 16 blocks x4 has 1,248,112 parameters.
    With `unshuffle` the blocks work at a fraction of the input's resolution, as those of FFDNet do
    (arXiv:1710.04026): a network for restoring at the same size costs little that way and sees far.

    Args:
        in_channels, out_channels: Equal, or one of them 1, so that the enlarged input can be added.
        scale: Output pixels per input pixel along one side, 1 or more.
        features: Channels throughout.
        blocks: Residual blocks.
        symmetric: Whether the network is held to turn its output when its input is turned or mirrored: an
            eighth of the free weights for as much work, which few pictures suffice for. `features` is a
            multiple of 8. Model files of a training hold the plain network that it then is.
        unshuffle: 1, 2 or 4: the input is folded into unshuffle^2 times the channels first.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1, "scale": 2}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 64,
        blocks: int = 16,
        symmetric: bool = False,
        unshuffle: int = 1,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, scale, features) < 1 or blocks < 0:
            raise ConfigError("EDSR needs channels, scale and features of 1 or more.")
        if unshuffle not in (1, 2, 4):
            raise ConfigError(f"EDSR has unshuffle 1, 2 or 4, not {unshuffle}.")
        require_addable("EDSR", in_channels, out_channels)
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.symmetric = symmetric
        self.multiple_of = self.unshuffle = unshuffle
        self.receptive_field = unshuffle * (2 * blocks + 3)
        folded, phases = in_channels * unshuffle**2, out_channels * (scale * unshuffle) ** 2
        # the long skip, a block's input, its inside and its result; or at the end the phases, those with
        # the input, and the picture
        live = 2 * folded + max(4 * features, features + phases, 4 * phases)
        self.live_features = math.ceil(live / unshuffle**2)

        def conv(in_channels: int, out_channels: int, **turning: Any) -> nn.Conv2d:
            if symmetric:
                return SymmetricConv2d(in_channels, out_channels, 3, padding=1, **turning)
            return nn.Conv2d(in_channels, out_channels, 3, padding=1)

        self.first = conv(folded, features, source="plain" if unshuffle == 1 else "phases", scale=unshuffle)
        self.blocks = nn.Sequential(
            *(_EDSRBlock(conv(features, features), conv(features, features)) for _ in range(blocks))
        )
        self.after = conv(features, features)
        self.last = conv(features, phases, result="phases", scale=scale * unshuffle)
        _shrink(self.last)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) in (0, 1) to (N, out_channels, H*scale, W*scale)."""
        y = self.first(x if self.unshuffle == 1 else F.pixel_unshuffle(x, self.unshuffle))
        phases = self.last(y + self.after(self.blocks(y)))
        if self.unshuffle == 1:
            return shuffled(phases, x, self.out_channels, self.scale)
        change = F.pixel_shuffle(phases, self.scale * self.unshuffle)
        return change + F.interpolate(addable(x, self.out_channels), scale_factor=self.scale, mode="nearest")

    def exported(self) -> EDSR:
        """Returns the plain network that a symmetric one is."""
        if not self.symmetric:
            return self
        with torch.device("meta"):  # no fresh weights, which would draw from the training's random stream
            plain = EDSR(**(self.spec.arguments | {"symmetric": False}))
        plain.load_state_dict(plain_state(self), assign=True)
        return plain.train(self.training)


@generators.register("edsr_paper")
class PaperEDSR(Generator):
    """The published network: pixel shuffles behind the blocks, and a last convolution on the large picture.

    Input and output are in (0, 1). The defaults are the paper's baseline with 1,517,571 parameters; its
    large network has 256 features and 32 blocks. What the published code has beside that is a part of the
    weights here: it counts in levels of 8 bits (the first and the last layer do), and multiplies what the
    blocks of the large network add by 0.1 (the second layer of each block does).

    Args:
        in_channels, out_channels: Any.
        scale: 1, 2, 3, 4 or 8.
        features: Channels throughout.
        blocks: Residual blocks.
        mean: Whose mean colour is taken off the input and added to the output again; "div2k" as published.
            What is not RGB has the mean of the three for each channel.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    mean_in: Tensor | None
    mean_out: Tensor | None
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1, "scale": 2}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 64,
        blocks: int = 16,
        mean: MeanColour = "div2k",
    ) -> None:
        super().__init__()
        if scale not in STEPS:
            raise ConfigError(f"EDSR enlarges by {', '.join(map(str, STEPS))}; the scale is {scale}.")
        if min(in_channels, out_channels, features) < 1 or blocks < 0:
            raise ConfigError("EDSR needs channels and features of 1 or more.")
        require_mean("EDSR", mean)
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        # two 3x3 a block, two around them, and never more than two pixels for what comes after them
        self.receptive_field = 2 * blocks + (4 if scale > 1 else 3)
        # at the last shuffle: its input and output, and what went into its convolution
        wide = features * (2 * scale**2 + (scale // STEPS[scale][-1]) ** 2) if scale > 1 else 4 * features
        self.live_features = 2 * in_channels + max(wide, (features + 2 * out_channels) * scale**2)

        def conv(taken: int, made: int) -> nn.Conv2d:
            return nn.Conv2d(taken, made, 3, padding=1)

        self.first = conv(in_channels, features)
        self.blocks = nn.Sequential(
            *(_EDSRBlock(conv(features, features), conv(features, features)) for _ in range(blocks))
        )
        self.after = conv(features, features)
        self.up = nn.ModuleList(conv(features, features * step**2) for step in STEPS[scale])
        self.last = conv(features, out_channels)
        self.register_buffer("mean_in", mean_colour(mean, in_channels), persistent=False)
        self.register_buffer("mean_out", mean_colour(mean, out_channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) in (0, 1) to (N, out_channels, H*scale, W*scale)."""
        first = self.first(x if self.mean_in is None else x - self.mean_in.to(x.dtype))
        y = first + self.after(self.blocks(first))
        del first  # as large as everything at low resolution, and not needed above it
        for step, conv in zip(STEPS[self.scale], self.up, strict=True):
            y = F.pixel_shuffle(conv(y), step)
        output: Tensor = self.last(y)
        return output if self.mean_out is None else output + self.mean_out.to(output.dtype)


@torch.no_grad()
def _shrink(conv: nn.Conv2d) -> None:
    """Leaves a tenth of the fresh weights and no constant: what is added begins small."""
    conv.weight.mul_(0.1)
    if conv.bias is not None:
        conv.bias.zero_()
