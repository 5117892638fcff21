"""NAFNet: a U-Net of blocks without activation functions, for restoring at the same size.

Chen, Chu, Zhang, Sun: Simple Baselines for Image Restoration (arXiv:2204.04676).
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.norm import LayerNorm


def window_means(x: Tensor, reach: int) -> Tensor:
    """Returns for each place the mean of what is there within `reach` pixels along both axes.

    Args:
        x: (N, C, H, W).
        reach: Pixels in each direction; where all of them see everything, one mean is returned for all.

    Returns:
        (N, C, H, W), or (N, C, 1, 1); in fp32 at least.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if not torch.compiler.is_exporting() and reach >= max(x.shape[2:]) - 1:  # exported for any size
        return x.mean((2, 3), keepdim=True)
    return _row_means(_row_means(x, reach).mT, reach).mT


def _row_means(x: Tensor, reach: int) -> Tensor:
    """Returns the means along the last axis, in a number of steps that does not depend on `reach`.

    A window is the end of one block of its length and the beginning of the next, so that sums along blocks
    suffice (van Herk, 1992). Differences of sums along the whole row would carry the rounding of far away.
    """
    width, side = x.shape[-1], 2 * reach + 1
    count = (width + 2 * side - 1) // side  # rounded up; of negative numbers ONNX rounds the other way
    blocks = torch.unflatten(F.pad(x, (reach, count * side - width - reach)), -1, (count, side))
    ends = blocks.flip(-1).cumsum(-1).flip(-1).flatten(-2)
    beginnings = F.pad(blocks.cumsum(-1)[..., :-1], (1, 0)).flatten(-2)
    sums = ends[..., :width] + beginnings[..., side : side + width]
    places = torch.arange(width, device=x.device)
    means: Tensor = sums / ((places + reach).clamp(max=width - 1) - (places - reach).clamp(min=0) + 1)
    return means


def _gate(x: Tensor) -> Tensor:
    """(N, 2C, H, W) to (N, C, H, W): one half times the other."""
    a, b = torch.chunk(x, 2, 1)
    product: Tensor = a * b
    return product


class _NAFBlock(nn.Module):
    """Depthwise convolution, gate and channel attention; then gate alone (figure 3c of the paper)."""

    def __init__(self, channels: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Conv2d(channels, channels, 1)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        # zero in the paper; so little that a block begins near the identity, and all of it learns at once
        self.beta, self.gamma = (nn.Parameter(torch.full((1, channels, 1, 1), 0.01)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y = _gate(self.conv2(self.conv1(self.norm1(x))))
        reach = max(y.shape[2:]) if self.training else self.reach
        y = y * self.attention(window_means(y, reach).to(y.dtype))
        x = x + self.conv3(y) * self.beta
        output: Tensor = x + self.conv5(_gate(self.conv4(self.norm2(x)))) * self.gamma
        return output


@generators.register("nafnet")
class NAFNet(Generator):
    """Levels of NAF blocks, each level half as large and twice as wide, and back; what it makes is added.

    The channel attention of the paper is by the mean over the whole picture, which it learned on patches. At
    use it is by the mean over a window of about their size around each place, as Chu et al. propose
    (arXiv:2112.04491), so that large pictures are treated like the patches, and tiles like the whole.
    Deviation: at the borders the window is what is left of it, where they move it inwards.

    Args:
        in_channels, out_channels: Equal, for the input is added to the output. Both in (0, 1).
        features: Width of the first level: 32 and 64 are published.
        encoder, decoder: Blocks in each level going down, and coming up: "1-1-1-28" and "1-1-1-1" for motion
            blur (GoPro), "2-2-4-8" and "2-2-2-2" for noise (SIDD).
        middle: Blocks in the lowest level: 1 for motion blur, 12 for noise.
        window: Side of the window at use, in pixels; 1.5 times the patches as in their paper.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("ending",)
    tiny: ClassVar[dict[str, Any]] = {
        "features": 4, "encoder": "1-1", "middle": 1, "decoder": "1-1", "window": 16
    }  # fmt: skip

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 32,
        encoder: str = "2-2-4-8",
        middle: int = 12,
        decoder: str = "2-2-2-2",
        window: int = 384,
    ) -> None:
        super().__init__()
        down, up = _counts(encoder), _counts(decoder)
        if len(down) != len(up):
            raise ConfigError(f"NAFNet has as many levels down as up; {encoder!r} and {decoder!r} differ.")
        if in_channels != out_channels or min(in_channels, features, window) < 1 or middle < 0:
            raise ConfigError(
                "NAFNet needs as many channels out as in, and features and window of 1 or more."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        levels = len(down)
        self.multiple_of = 2**levels
        widths = [features * 2**level for level in range(levels + 1)]
        reaches = [window // 2 // 2**level for level in range(levels + 1)]

        def blocks(count: int, level: int) -> nn.Sequential:
            return nn.Sequential(*(_NAFBlock(widths[level], reaches[level]) for _ in range(count)))

        self.intro = nn.Conv2d(in_channels, features, 3, padding=1)
        self.encoders = nn.ModuleList(blocks(count, level) for level, count in enumerate(down))
        self.downs = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, 2) for width in widths[:-1])
        self.middle = blocks(middle, levels)
        self.ups = nn.ModuleList(nn.Conv2d(width, 2 * width, 1, bias=False) for width in widths[:0:-1])
        self.decoders = nn.ModuleList(blocks(count, levels - 1 - i) for i, count in enumerate(up))
        self.ending = nn.Conv2d(features, out_channels, 3, padding=1)

        into = [count * (1 + reach) for count, reach in zip(down, reaches, strict=False)]
        out = [count * (1 + reach) for count, reach in zip(reversed(up), reaches, strict=False)]
        below = middle * (1 + reaches[-1])
        self.receptive_field = max(_radius(into, below, out), _radius(out, below, into))
        # a block's input and what is in its wide layers; and what waits for the way up
        self.live_features = 4 * in_channels + 9 * features

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in (0, 1) to the same shape; H and W are multiples of `multiple_of`."""
        y, skips = self.intro(x), []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            skips.append(blocks(y))
            y = down(skips[-1])
        y = self.middle(y)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            y = blocks(F.pixel_shuffle(up(y), 2) + skips.pop())
        output: Tensor = self.ending(y) + x
        return output


def _counts(text: str) -> list[int]:
    if not re.fullmatch(r"\d{1,3}(-\d{1,3}){0,5}", text):
        raise ConfigError(f"blocks of levels are written as 2-2-4-8, at most six levels; {text!r} is not.")
    return [int(part) for part in text.split("-")]


def _radius(first: list[int], below: int, last: list[int]) -> int:
    """Returns how far a cell of the coarsest grid reaches, down and up again, in pixels of the picture."""
    reach = 1
    for level in first:
        reach = -(-(reach + level) // 2)
    reach += below
    for level in reversed(last):
        reach = 2 * reach + level
    return reach + 1
