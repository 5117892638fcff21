"""The network of style transfer as PyTorch's examples have it, whose files many people own.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution
(arXiv:1603.08155); instance norm: arXiv:1607.08022.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from img2img.models.base import generators
from img2img.models.norm import InstanceNorm, NormKind
from img2img.models.resnet import Resnet
from img2img.models.stage import reflect_conv, stage


@generators.register("style_resnet")
class StyleResnet(Resnet):
    """The residual generator with 9x9 convolutions at both ends, weights in its norms, and no tanh.

    With 32 features and 5 blocks 1.679 million parameters. Every layer reflects the border, and what doubles
    the resolution enlarges before it convolves. The paper has 40 reflected pixels at the start instead,
    transposed convolutions, and a scaled tanh at the end.

    Args:
        in_channels, out_channels, features, blocks: As in `Resnet`.

    Raises:
        ConfigError: A value that is not allowed.
    """

    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1}
    kernel = 9
    affine = True

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, features: int = 32, blocks: int = 5
    ) -> None:
        super().__init__(in_channels, out_channels, features, blocks, upsample="resize")
        self.last = stage(conv=reflect_conv(features, out_channels, self.kernel))

    def _down(self, in_channels: int, out_channels: int, norm: NormKind) -> nn.Sequential:
        return stage(
            conv=reflect_conv(in_channels, out_channels, 3, stride=2),
            norm=InstanceNorm(out_channels, affine=True),
            activation=nn.ReLU(inplace=True),
        )
