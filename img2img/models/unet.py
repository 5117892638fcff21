"""The U-Net generator of pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (arXiv:1611.07004).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.dropout import Dropout
from img2img.models.joining import channels_of, join, read_further
from img2img.models.norm import NormKind, make_norm
from img2img.models.stage import Upsampling, stage, upsampling
from img2img.types import SYMMETRIC


@generators.register("unet")
class UNet(Generator):
    """An encoder and decoder with a skip connection at every resolution.

    Each level halves the image with a 4x4 convolution; the defaults reach 1x1 on a 256x256 image and have
    54,413,955 parameters (`downs=7`, for 128x128: 41.829 million). Batch norm uses the statistics of each
    image in evaluation, as the paper tests; `set_norm_stats` changes it.

    Deviations from the paper: dropout is not on the innermost level but on the next ones with 8 times
    `features` channels, as in the authors' PyTorch code, whose weights this loads; it is off in evaluation.

    Args:
        in_channels, out_channels: Any; those of the picture, without `further`.
        features: Channels of the outermost level; they double up to 8 times as many.
        downs: Levels, at least 2. H and W must be multiples of 2**downs.
        norm: "batch", "instance" or "none".
        dropout: Whether levels 5 to `downs` - 1 have dropout of one half.
        upsample: "deconv" is the paper's transposed convolution, "resize" a nearest-neighbour enlargement and
            a 3x3 convolution, which leaves no checkerboard.
        further: Conditions that become channels beside the picture, "hint:picture:3 label:vector:5"; see
            `img2img.models.joining`.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "downs": 3}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        downs: int = 8,
        norm: NormKind = "batch",
        dropout: bool = True,
        upsample: Upsampling = "deconv",
        further: str = "",
    ) -> None:
        super().__init__()
        if downs < 2:
            raise ConfigError(f"a U-Net needs at least 2 levels; downs is {downs}.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conditions = read_further(further)
        planes = in_channels + channels_of(self.conditions)
        self.input_range = self.output_range = SYMMETRIC
        self.multiple_of = 2**downs
        self.receptive_field = 2 ** (downs + 1) - 1
        self.tiling = "none"
        self.live_features = (
            (5 * features if upsample == "resize" else features * 3 // 2) + planes + out_channels
        )

        bias = (
            norm == "instance"
        )  # batch norm would subtract it again; "none" has none in the original either
        widths = [features * min(2**level, 8) for level in range(downs)]
        innermost = downs - 1
        self.down = nn.ModuleList([stage(conv=nn.Conv2d(planes, features, 4, 2, 1, bias=bias))])
        for level in range(1, downs):
            self.down.append(
                stage(
                    activation=nn.LeakyReLU(0.2),
                    conv=nn.Conv2d(widths[level - 1], widths[level], 4, 2, 1, bias=bias),
                    # one value per channel is left of an image of the trained size: nothing to normalise
                    norm=make_norm(norm if level < innermost else "none", widths[level], "image"),
                )
            )
        self.up = nn.ModuleList()  # from the innermost level outwards
        for level in range(innermost, 0, -1):
            inputs = widths[level] * (1 if level == innermost else 2)
            self.up.append(
                stage(
                    activation=nn.ReLU(inplace=True),
                    **upsampling(upsample, inputs, widths[level - 1], kernel=4, bias=bias),
                    norm=make_norm(norm, widths[level - 1], "image"),
                    dropout=Dropout(0.5) if dropout and 4 <= level < innermost else nn.Identity(),
                )
            )
        self.last = stage(
            activation=nn.ReLU(inplace=True),
            **upsampling(upsample, 2 * features, out_channels, kernel=4, bias=True),
            output=nn.Tanh(),
        )

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """(N, in_channels, H, W) and what `further` names to (N, out_channels, H, W), all in [-1, 1]."""
        if self.conditions:
            x = join(x, self.conditions, conditions, self.input_range)
        skips: list[Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()  # the innermost output has no connection but the way through
        for up in self.up:
            x = torch.cat((skips.pop(), up(x)), 1)
        output: Tensor = self.last(x)
        return output
