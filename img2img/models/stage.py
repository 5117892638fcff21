"""The steps that translation networks are made of: named layers in a row, and ways to double a resolution."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.registry import unknown

Upsampling = Literal["deconv", "resize"]


def stage(**layers: nn.Module) -> nn.Sequential:
    """Returns the layers in a row, each under its name: `stage(conv=..., norm=...)` has `conv` and `norm`."""
    return nn.Sequential(OrderedDict(layers))


class _ReflectConv2d(nn.Conv2d):
    """A convolution that reflects the border in the precision of its input.

    Autocast on a CPU would widen the image to fp32 for the copy that reflecting is, and narrow it again.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # only the CPU is asked: others keep the precision, and some (meta) have no autocast to ask about
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            output: Tensor = super()._conv_forward(input, weight, bias)
            return output
        with torch.autocast("cpu", enabled=False):
            input = F.pad(input, self._reversed_padding_repeated_twice, mode="reflect")
        return F.conv2d(input, weight, bias, self.stride, 0, self.dilation, self.groups)


def reflect_conv(
    in_channels: int, out_channels: int, kernel: int, bias: bool = True, stride: int = 1
) -> nn.Conv2d:
    """Returns a convolution that reflects the border; it keeps H and W, or halves them by a stride of 2."""
    return _ReflectConv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect"
    )


def upsampling(
    kind: Upsampling, in_channels: int, out_channels: int, kernel: Literal[3, 4], bias: bool
) -> dict[str, nn.Module]:
    """Returns the layers for a `stage` that double H and W.

    Args:
        kind: "deconv" is a transposed convolution. "resize" is a nearest-neighbour enlargement and a 3x3
            convolution: the same number of inputs reaches every output pixel, so no checkerboard appears.
        in_channels, out_channels: Channels before and after.
        kernel: Side length of the transposed kernel.
        bias: Whether a constant is added to each output channel.

    Raises:
        ConfigError: There is no such kind.

    References:
        Odena et al., Deconvolution and Checkerboard Artifacts (doi:10.23915/distill.00003).
    """
    if kind == "deconv":
        return {
            "conv": nn.ConvTranspose2d(
                in_channels, out_channels, kernel, stride=2, padding=1, output_padding=4 - kernel, bias=bias
            )
        }
    if kind == "resize":
        return {
            "enlarge": nn.Upsample(scale_factor=2, mode="nearest"),
            "conv": reflect_conv(in_channels, out_channels, 3, bias),
        }
    raise ConfigError(unknown("upsampling", kind, get_args(Upsampling)))
