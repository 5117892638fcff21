"""The U-Net of partial convolutions, which fills holes in pictures.

Liu, Reda, Shih, Wang, Tao, Catanzaro: Image Inpainting for Irregular Holes Using Partial Convolutions
(arXiv:1804.07723).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.fields import Mask
from img2img.models.base import Generator, generators
from img2img.models.norm import BatchNorm, make_norm
from img2img.types import UNIT

_KERNELS = (7, 5, 5)  # of the outermost levels of the encoder; 3 in all others
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, channels in [0, 1]


class PartialConv2d(nn.Module):
    """A convolution that sees known values only, and makes up for those that it does not see.

    With X the window, M its mask (1 is known), W the weights and b the bias, the result is
    W(X * M) * sum(1) / sum(M) + b where the window holds anything known, and 0 elsewhere. Beyond the border
    nothing is known. sum(1) counts all values of the window, its channels included.

    All channels of one origin share their mask, which is what the paper's mask with a channel for each comes
    to: so a mask has one channel for each tensor that was concatenated to the input.

    Args:
        in_channels: Channels of each tensor that is concatenated to the input.
        out_channels: Channels of the result.
        kernel: Side length, odd.
        stride: Input pixels per output pixel.
        bias: Whether a constant is added to each output channel.

    References:
        Liu et al. (arXiv:1804.07723), equations 1 and 2.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        out_channels: int,
        kernel: int,
        stride: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv = nn.Conv2d(sum(in_channels), out_channels, kernel, stride, kernel // 2, bias=bias)

    def forward(self, parts: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the result (N, out_channels, H', W') and its mask (N, 1, H', W'), 1 where it is known.

        Args:
            parts: (N, C, H, W) each, with the channels that the constructor was told.
            masks: (N, 1, H, W) fp32 each, 1 where the part is known and 0 where it is not.
        """
        seen = torch.cat([part * mask.to(part.dtype) for part, mask in zip(parts, masks, strict=True)], 1)
        # fp32 by itself: half a precision cannot count the thousands of values of a window
        shares = [channels / sum(self.in_channels) for channels in self.in_channels]
        known = sum(share * mask for share, mask in zip(shares, masks, strict=True))
        kernel, stride, padding = self.conv.kernel_size, self.conv.stride, self.conv.padding
        assert isinstance(known, Tensor) and not isinstance(padding, str)
        known = F.avg_pool2d(known, kernel, stride, padding)  # sum(M) / sum(1)
        mask = (known > 0).to(known.dtype)
        weight = mask / torch.where(known > 0, known, 1)
        result = F.conv2d(seen.to(self.conv.weight.dtype), self.conv.weight, None, stride, padding)
        result = result * weight.to(result.dtype)
        if self.conv.bias is not None:
            result = result + self.conv.bias[:, None, None].to(result.dtype) * mask.to(result.dtype)
        return result, mask


class _PartialLevel(nn.Module):
    """A partial convolution, its norm and its activation."""

    def __init__(self, conv: PartialConv2d, norm: bool, activation: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.norm = make_norm("batch" if norm else "none", conv.conv.out_channels)
        self.activation = activation

    def forward(self, parts: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
        x, mask = self.conv(parts, masks)
        return self.activation(self.norm(x)), mask


@generators.register("partial_unet")
class PartialUNet(Generator):
    """An encoder and decoder of partial convolutions; masks go through it along with the features.

    Each level halves the picture (kernels 7, 5, 5 and then 3); the way back enlarges features and masks by
    nearest neighbour, joins them with those of the encoder at the same resolution, the picture itself at
    last, and convolves with 3x3. The defaults are the paper's for 512x512 with 32.9 million parameters;
    `downs=7` is for 256x256.

    Deviations from the paper, which does not say it: values enter and leave in units of ImageNet's mean and
    deviation, as in the implementation that people have checkpoints of; zero, which stands for a hole, is an
    average colour then.

    Args:
        in_channels: Channels of the picture, and of the result.
        features: Channels of the outermost level; they double with every level.
        downs: Levels, at least 2. H and W must be multiples of 2**downs.
        growth: How many times `features` they double up to.

    Attributes:
        freeze_encoder_norm: Whether batch norms of the encoder keep their averages in training: the paper's
            fine-tuning, since holes bias the statistics of a batch. Not part of the weights.

    Raises:
        ConfigError: A value that is not allowed.
    """

    conditions = MappingProxyType({"mask": Mask()})
    output_layers = ("decoder.0",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "downs": 3, "growth": 2}
    mean: Tensor
    deviation: Tensor

    def __init__(self, in_channels: int = 3, features: int = 64, downs: int = 8, growth: int = 8) -> None:
        super().__init__()
        if downs < 2:
            raise ConfigError(f"a U-Net needs at least 2 levels; downs is {downs}.")
        channels = self.in_channels = self.out_channels = in_channels
        self.input_range = self.output_range = UNIT
        self.multiple_of = 2**downs
        self.receptive_field = 2 ** (downs + 3)
        self.tiling = "none"
        self.live_features = 5 * features + 8 * channels
        self.freeze_encoder_norm = False
        colour = channels == 3
        mean = torch.tensor(_MEAN if colour else (0.45,) * channels)
        deviation = torch.tensor(_DEVIATION if colour else (0.226,) * channels)
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.view(-1, 1, 1), persistent=False)

        widths = [channels, *(features * min(2**level, growth) for level in range(downs))]
        self.encoder = nn.ModuleList()
        for level in range(downs):
            kernel = _KERNELS[level] if level < len(_KERNELS) else 3
            conv = PartialConv2d((widths[level],), widths[level + 1], kernel, stride=2, bias=level == 0)
            self.encoder.append(_PartialLevel(conv, level > 0, nn.ReLU(inplace=True)))
        self.decoder = nn.ModuleList()  # in the order of the encoder: level 0 makes the picture
        for level in range(downs):
            above = widths[downs] if level == downs - 1 else widths[level + 1]
            conv = PartialConv2d((above, widths[level]), widths[level], 3, bias=level == 0)
            activation = nn.LeakyReLU(0.2, inplace=True) if level else nn.Identity()
            self.decoder.append(_PartialLevel(conv, level > 0, activation))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns pictures with the holes filled; what was known comes out as the network sees it.

        Args:
            x: (N, in_channels, H, W) in [0, 1]; what it holds in holes does not matter if it is finite.
            mask: (N, 1, H, W) in [0, 1]; above one half is a hole.

        Returns:
            (N, in_channels, H, W) in [0, 1], not clamped.
        """
        known = (mask <= 0.5).float()
        x = (x - self.mean.to(x.dtype)) / self.deviation.to(x.dtype)
        levels = [(x, known)]
        for down in self.encoder:
            x, known = down([x], [known])
            levels.append((x, known))
        levels.pop()
        for up, (skip, skip_known) in zip(reversed(self.decoder), reversed(levels), strict=True):
            x, known = (F.interpolate(value, scale_factor=2.0, mode="nearest") for value in (x, known))
            x, known = up([x, skip], [known, skip_known])
        return x * self.deviation.to(x.dtype) + self.mean.to(x.dtype)

    def train(self, mode: bool = True) -> PartialUNet:
        """Switches to training or evaluation; norms that are frozen stay in evaluation."""
        super().train(mode)
        if self.freeze_encoder_norm:
            for module in self.encoder.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self
