"""The discriminator of OASIS, which says of every pixel what class it shows, or that it is made.

Schoenfeld, Sushko, Zhang, Gall, Schiele, Khoreva: You Only Need Adversarial Supervision for Semantic Image
Synthesis (arXiv:2012.04781).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.spectral import spectral_norm

_WIDEST = 8  # times the features


class SegmentationDiscriminator(nn.Module):
    """A U-Net of residual blocks without norms.

    Blocks on the way down have 2, 2, 4, 4, 8, 8 times `features` channels and halve the resolution, those on
    the way up take what came out of their partner, too. As convolutions of single pixels and changes of
    resolution by means or repetition can change places, shortcuts convolve at the lower resolution; the
    authors' code does so in one half of the blocks.

    Args:
        in_channels: Of the picture.
        classes: How many there are.
        features: Channels at full resolution.
        downs: Halvings of the resolution. H and W must be multiples of 2**downs.
        spectral: Divides every convolution but the last by its largest singular value.

    Attributes:
        multiple_of: H and W must be multiples of this.

    Raises:
        ConfigError: There is no halving.
    """

    def __init__(
        self, in_channels: int, classes: int, features: int = 64, downs: int = 6, spectral: bool = True
    ) -> None:
        super().__init__()
        if downs < 1:
            raise ConfigError(f"a segmentation discriminator has at least one halving; downs is {downs}.")
        self.multiple_of = 2**downs
        widths = [in_channels]
        widths += [features * min(2 ** ((level + 1) // 2), _WIDEST) for level in range(1, downs + 1)]
        self.down = nn.ModuleList(
            _Down(before, after, spectral, first=level == 0)
            for level, (before, after) in enumerate(pairwise(widths))
        )
        after = [*widths[-2:0:-1], features]
        before = [widths[-1], *(2 * width for width in widths[-2:0:-1])]
        self.up = nn.ModuleList(_Up(*pair, spectral) for pair in zip(before, after, strict=True))
        self.last = nn.Conv2d(features, classes + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to logits (N, 1 + classes, H, W), before any softmax: made, then classes."""
        found: list[Tensor] = []
        for block in self.down:
            x = block(x)
            found.append(x)
        found.pop()
        x = self.up[0](x)
        for block in self.up[1:]:
            x = block(torch.cat((found.pop(), x), 1))
        output: Tensor = self.last(x)
        return output


class _ResizingBlock(nn.Module):
    """What both ways have in common."""

    def __init__(self, before: int, after: int, spectral: bool) -> None:
        super().__init__()

        def conv(fewer: int, more: int, kernel: int) -> nn.Module:
            layer = nn.Conv2d(fewer, more, kernel, padding=kernel // 2)
            return spectral_norm(layer) if spectral else layer

        self.conv1, self.conv2 = conv(before, after, 3), conv(after, after, 3)
        self.shortcut = conv(before, after, 1) if before != after else nn.Identity()
        self.activation = nn.LeakyReLU(0.2)


class _Down(_ResizingBlock):
    """Halves the resolution; the first one takes the picture as it is, without an activation."""

    def __init__(self, before: int, after: int, spectral: bool, first: bool) -> None:
        super().__init__(before, after, spectral)
        self.begin = nn.Identity() if first else self.activation
        self.halve = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.activation(self.conv1(self.begin(x))))
        output: Tensor = self.shortcut(self.halve(x)) + self.halve(y)
        return output


class _Up(_ResizingBlock):
    """Doubles the resolution."""

    def __init__(self, before: int, after: int, spectral: bool) -> None:
        super().__init__(before, after, spectral)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.activation(self.conv1(self.enlarge(self.activation(x)))))
        output: Tensor = self.enlarge(self.shortcut(x)) + y
        return output
