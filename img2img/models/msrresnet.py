"""SRResNet without batch norm (MSRResNet), with which the authors of ESRGAN start their training.

Wang et al.: ESRGAN, Enhanced Super-Resolution Generative Adversarial Networks (arXiv:1809.00219), section
3.1, on the harm of batch norm; the network itself is that of the authors' code.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.fused import conv_add, conv_relu
from img2img.models.skip import addable, require_addable
from img2img.models.srresnet import STEPS


class MSRBlock(nn.Module):
    """Two 3x3 convolutions, added to their input; their weights start at a tenth of the usual size."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return conv_add(self.conv2, conv_relu(self.conv1, x), x)


@generators.register("msrresnet")
class MSRResNet(Generator):
    """Residual blocks without norm, pixel shuffles, and the bilinearly enlarged input added at the end.

    The defaults have 1,517,571 parameters. In (0, 1) at both ends. Unlike the paper's SRResNet it has no long
    skip connection between features.

    Args:
        in_channels, out_channels: Equal, or one of them 1, because the input is added to the output.
        scale: 1, 2, 3, 4 or 8.
        features: Channels throughout.
        blocks: Residual blocks.

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
    ) -> None:
        super().__init__()
        if scale not in STEPS:
            raise ConfigError(f"MSRResNet enlarges by {', '.join(map(str, STEPS))}; the scale is {scale}.")
        require_addable("MSRResNet", in_channels, out_channels)
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.receptive_field = 2 * blocks + 3
        # at the last shuffle: its input and output, and the features that the convolution before it read
        wide = features * (2 * scale**2 + (scale // STEPS[scale][-1]) ** 2) if scale > 1 else 4 * features
        # or at the end: the features, the last layer's result, the enlarged input and their sum
        last = features * scale**2 + 3 * out_channels * scale**2
        self.live_features = max(wide, last) + in_channels

        self.first = nn.Conv2d(in_channels, features, 3, padding=1)
        self.blocks = nn.Sequential(*(MSRBlock(features) for _ in range(blocks)))
        self.up = nn.ModuleList(
            nn.Conv2d(features, features * step**2, 3, padding=1) for step in STEPS[scale]
        )
        self.before_last = nn.Conv2d(features, features, 3, padding=1)
        self.last = nn.Conv2d(features, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H*scale, W*scale), both in [0, 1]."""
        base = addable(x, self.out_channels)
        y = self.blocks(conv_relu(self.first, x, 0.1))
        for step, conv in zip(STEPS[self.scale], self.up, strict=True):
            y = F.leaky_relu(F.pixel_shuffle(conv(y), step), 0.1, inplace=True)
        y = conv_relu(self.before_last, y, 0.1)
        output: Tensor = self.last(y) + F.interpolate(
            base, scale_factor=self.scale, mode="bilinear", align_corners=False
        )
        return output
