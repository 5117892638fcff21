"""SRResNet, the generator of SRGAN.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network
(arXiv:1609.04802).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.norm import BatchNorm
from img2img.models.prelu import PReLU
from img2img.models.stage import stage
from img2img.registry import unknown
from img2img.types import SYMMETRIC, UNIT

OutputActivation = Literal["linear", "tanh"]
TrunkEnd = Literal["norm", "prelu"]

STEPS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
"""The enlargements that make up each scale."""


class SRBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input.

    Args:
        features: C, before and after.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm1 = BatchNorm(features)
        self.activation = PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.norm2 = BatchNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y = self.activation(self.norm1(self.conv1(x)))
        output: Tensor = x + self.norm2(self.conv2(y))
        return output


@generators.register("srresnet")
class SRResNet(Generator):
    """Residual blocks at low resolution inside one long skip connection, then pixel shuffles.

    The defaults are the paper's x4 network with 1,547,350 parameters. Every PReLU has one slope, and no
    convolution before a batch norm has a bias, which the norm would subtract again.

    Args:
        in_channels, out_channels: Any.
        scale: 1, 2, 3, 4 or 8.
        features: Channels throughout.
        blocks: Residual blocks.
        trunk_end: What follows the convolution behind the blocks: batch norm as in the paper ("norm"), or
            "prelu".
        output: "linear" leaves in (0, 1); "tanh" in (-1, 1). The input is in (0, 1) in both cases, as in the
            paper; the paper's target of (-1, 1) without tanh is the same network up to its last weights.

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
        trunk_end: TrunkEnd = "norm",
        output: OutputActivation = "linear",
    ) -> None:
        super().__init__()
        if scale not in STEPS:
            raise ConfigError(f"SRResNet enlarges by {', '.join(map(str, STEPS))}; the scale is {scale}.")
        if trunk_end not in get_args(TrunkEnd):
            raise ConfigError(unknown("trunk end", trunk_end, get_args(TrunkEnd)))
        if output not in get_args(OutputActivation):
            raise ConfigError(unknown("output", output, get_args(OutputActivation)))
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.input_range, self.output_range = UNIT, SYMMETRIC if output == "tanh" else UNIT
        # 9x9, two 3x3 a block, 3x3, and never more than three pixels for the upsampling and the last 9x9
        self.receptive_field = 2 * blocks + (8 if scale > 1 else 9)
        # at the last shuffle: its input and output, the input of its stage and that of all stages
        wide = features * (2 * scale**2 + (scale // STEPS[scale][-1]) ** 2 + 1) if scale > 1 else 5 * features
        self.live_features = wide + in_channels

        self.first = stage(conv=nn.Conv2d(in_channels, features, 9, padding=4), activation=PReLU())
        self.blocks = nn.Sequential(*(SRBlock(features) for _ in range(blocks)))
        if trunk_end == "norm":
            self.trunk_end = stage(
                conv=nn.Conv2d(features, features, 3, padding=1, bias=False), norm=BatchNorm(features)
            )
        else:
            self.trunk_end = stage(conv=nn.Conv2d(features, features, 3, padding=1), activation=PReLU())
        self.up = nn.Sequential(
            *(
                stage(
                    conv=nn.Conv2d(features, features * step**2, 3, padding=1),
                    shuffle=nn.PixelShuffle(step),
                    activation=PReLU(),
                )
                for step in STEPS[scale]
            )
        )
        last = nn.Conv2d(features, out_channels, 9, padding=4)
        self.last = stage(conv=last, output=nn.Tanh()) if output == "tanh" else stage(conv=last)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [0, 1] to (N, out_channels, H*scale, W*scale) in `output_range`."""
        first = self.first(x)
        x = first + self.trunk_end(self.blocks(first))
        del first  # as large as everything at low resolution, and not needed above it
        output: Tensor = self.last(self.up(x))
        return output
