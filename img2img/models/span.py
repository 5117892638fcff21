"""SPAN: plain 3x3 convolutions whose results are weighed by themselves, fast where attention usually is not.

Wan, Yu, Wang, Chen, Li, Yu: Swift Parameter-free Attention Network for Efficient Super-Resolution
(arXiv:2311.12770).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import generators
from img2img.models.folding import BranchedConv2d, plain_state
from img2img.models.skip import require_addable, shuffled
from img2img.models.symmetric import SymmetricConv2d, SymmetricGenerator
from img2img.registry import unknown

MeanColour = Literal["div2k", "imagenet", "none"]
MEANS = {
    "div2k": (0.4488, 0.4371, 0.4040),
    "imagenet": (0.485, 0.456, 0.406),
}  # published, and some that learned on
IMG_RANGE = 255.0


def require_mean(network: str, mean: str) -> None:
    """Raises ConfigError unless `mean` is the name of a mean colour, or "none"."""
    if mean not in get_args(MeanColour):
        raise ConfigError(unknown(f"mean of {network}", mean, get_args(MeanColour)))


def mean_colour(mean: MeanColour, channels: int) -> Tensor | None:
    """Returns the colour (1, channels, 1, 1), of channels that are not RGB its mean; None for "none"."""
    colour: tuple[float, ...] = MEANS.get(mean, ())
    if colour and channels != 3:
        colour = (sum(colour) / 3,) * channels
    return torch.tensor(colour).view(1, -1, 1, 1) if colour else None


class _SPAB(nn.Module):
    """Three convolutions, the last one weighed by an odd function of itself (section 3.2)."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, conv3: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv1, conv2, conv3

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) to the result and what follows the first convolution, both of the same shape."""
        early = F.silu(self.conv1(x), inplace=True)
        y = self.conv3(F.silu(self.conv2(early), inplace=True))
        if torch.is_grad_enabled():
            return (y + x) * (y.sigmoid() - 0.5), early
        weight = y.sigmoid().sub_(0.5)
        return y.add_(x).mul_(weight), early


@generators.register("span")
class SPAN(SymmetricGenerator):
    """Blocks of three 3x3 convolutions at the input's resolution, four maps joined, and a pixel shuffle.

    The published network makes the picture alone; with `skip` it makes a correction to the input enlarged by
    nearest neighbour. Input and output are in (0, 1). With 48 features x4 has 426,288 parameters in use.

    Args:
        in_channels, out_channels: Any; with `skip` equal, or one of them 1.
        scale: Output pixels per input pixel along one side, 1 or more.
        features: Channels throughout.
        blocks: Attention blocks, 1 or more; 6 as published.
        mean: Whose mean colour is taken off the input, the rest then being counted in levels of 8 bits;
            "div2k" as published. What is not RGB has the mean of the three for each channel.
        skip: Whether the enlarged input is added. Not so in the paper; it learns sooner, and half precision
            then rounds only the correction.
        branches: Whether it learns as in the paper: each 3x3 convolution but the last is the sum of a 1x1 and
            of three in a row through twice the width. Model files of a training hold them folded into one.
        symmetric: Whether the network is held to turn its output when its input is turned or mirrored; see
            `EDSR`. `features` is a multiple of 8.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    mean: Tensor | None
    tiny: ClassVar[dict[str, Any]] = {"features": 8, "blocks": 2, "scale": 2}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 48,
        blocks: int = 6,
        mean: MeanColour = "div2k",
        skip: bool = False,
        branches: bool = False,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, scale, features, blocks) < 1:
            raise ConfigError("SPAN needs channels, scale, features and blocks of 1 or more.")
        if branches and symmetric:
            raise ConfigError("SPAN learns with branches or symmetric weights, not both; set one to false.")
        require_mean("SPAN", mean)
        if skip:
            require_addable("SPAN with skip", in_channels, out_channels)
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.skip = skip
        self.branches, self.symmetric = branches, symmetric
        self.receptive_field = 3 * blocks + 3
        phases = out_channels * scale**2
        # four maps, joined, and their mix; or the phases, those with the input, and the picture
        self.live_features = 3 * in_channels + max(9 * features, features + phases, 4 * phases)

        def conv(taken: int, made: int, side: int = 3, **turning: Any) -> nn.Module:
            if symmetric:
                return SymmetricConv2d(taken, made, side, padding=side // 2, **turning)
            if branches and side == 3 and "result" not in turning:
                return BranchedConv2d(taken, made)
            return nn.Conv2d(taken, made, side, padding=side // 2)

        self.first = conv(in_channels, features, source="plain")
        self.blocks = nn.ModuleList(
            _SPAB(*(conv(features, features) for _ in range(3))) for _ in range(blocks)
        )
        self.after = conv(features, features)
        self.join = conv(4 * features, features, 1)
        self.last = conv(features, phases, result="phases", scale=scale)
        self.register_buffer("mean", mean_colour(mean, in_channels), persistent=False)
        with torch.no_grad():  # the picture begins dark and even, whatever the features are
            next(self.last.parameters()).mul_(0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) in (0, 1) to (N, out_channels, H*scale, W*scale)."""
        first = self.first(x if self.mean is None else (x - self.mean.to(x.dtype)) * IMG_RANGE)
        y = early = first
        below: list[Tensor] = []  # what the first block makes
        for block in self.blocks:
            y, early = block(y)
            below = below or [y]
        phases = self.last(self.join(torch.cat([first, self.after(y), *below, early], 1)))
        if self.skip:
            return shuffled(phases, x, self.out_channels, self.scale)
        return F.pixel_shuffle(phases, self.scale)

    def exported(self) -> SPAN:
        """Returns the network of plain convolutions that one with branches or symmetric weights is."""
        if not (self.branches or self.symmetric):
            return self
        with torch.device("meta"):  # no fresh weights, which would draw from the training's random stream
            plain = SPAN(**(self.spec.arguments | {"branches": False, "symmetric": False}))
        plain.load_state_dict(plain_state(self), assign=True)
        plain.mean = self.mean
        return plain.train(self.training)
