"""The residual generator of CUT: that of CycleGAN, with a blur wherever the resolution changes.

Park, Efros, Zhang, Zhu: Contrastive Learning for Unpaired Image-to-Image Translation (arXiv:2007.15651); the
blur is that of Zhang, Making Convolutional Networks Shift-Invariant Again (arXiv:1904.11486).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.models.base import generators
from img2img.models.norm import NormKind, make_norm
from img2img.models.resnet import Resnet
from img2img.models.stage import Upsampling, stage
from img2img.models.strips import StripStep


class BlurDown(nn.Module):
    """Halves H and W through the binomial filter 1 2 1 in both directions, with reflected borders.

    Args:
        channels: C.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        kernel = (line[:, None] * line).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("filt", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, ceil(H/2), ceil(W/2))."""
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filt, stride=2, groups=x.shape[1])

    def as_step(self) -> StripStep:
        """What strips have to know of it."""
        return StripStep(self, halo=2, down=2)


class BlurUp(nn.Module):
    """Doubles H and W through the binomial filter 1 3 3 1 in both directions, with repeated borders.

    On twice the resolution that filter weighs the two nearest pixels of each direction by 3/4 and 1/4: it is
    bilinear interpolation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 2H, 2W)."""
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def as_step(self) -> StripStep:
        """What strips have to know of it."""
        return StripStep(self, halo=1, up=2)


@generators.register("cut_resnet")
class CutResnet(Resnet):
    """The residual generator with anti-aliased changes of resolution, by default as CUT uses it.

    As many parameters as `Resnet`. All filters are constants and not part of the weights.

    Args:
        in_channels, out_channels, features, blocks, norm, dropout, attention: As in `Resnet`.
        blur_down: Convolve at the full resolution, then blur and halve; otherwise the strided convolution.
        blur_up: Enlarge with a blur, then convolve; otherwise the transposed convolution.

    Raises:
        ConfigError: A value that is not allowed.
    """

    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        blocks: int = 9,
        norm: NormKind = "instance",
        dropout: bool = False,
        blur_down: bool = True,
        blur_up: bool = True,
        attention: bool | int = False,
    ) -> None:
        self.blur_down, self.blur_up = blur_down, blur_up
        super().__init__(
            in_channels, out_channels, features, blocks, norm=norm, dropout=dropout, attention=attention
        )
        self.live_features = (6 if blur_down else 4) * features + in_channels + out_channels

    def _down(self, in_channels: int, out_channels: int, norm: NormKind) -> nn.Sequential:
        if not self.blur_down:
            return super()._down(in_channels, out_channels, norm)
        return stage(
            conv=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=norm == "instance"),
            norm=make_norm(norm, out_channels, "image"),
            activation=nn.ReLU(inplace=True),
            blur=BlurDown(out_channels),
        )

    def _up(self, in_channels: int, out_channels: int, norm: NormKind, kind: Upsampling) -> nn.Sequential:
        if not self.blur_up:
            return super()._up(in_channels, out_channels, norm, kind)
        return stage(
            blur=BlurUp(),
            conv=nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=norm == "instance"),
            norm=make_norm(norm, out_channels, "image"),
            activation=nn.ReLU(inplace=True),
        )

    def _radius(self, blocks: int, downs: int, upsample: Upsampling) -> int:
        cell = 1 << downs
        radius = super()._radius(blocks, downs, upsample)
        return radius + self.blur_down * (cell - 1) + self.blur_up * (2 * cell - 1)
