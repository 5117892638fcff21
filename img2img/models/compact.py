"""The compact network of Real-ESRGAN (SRVGGNetCompact): a plain stack of convolutions, and one pixel shuffle.

References:
    Wang et al., Real-ESRGAN (arXiv 2107.10833): its release brought the network for video and anime; it has
    no paper of its own.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.prelu import PReLU
from img2img.models.skip import require_addable, shuffled

Activation = Literal["prelu", "relu", "leakyrelu"]


@generators.register("compact")
class Compact(Generator):
    """SRVGGNetCompact: all work at the input's resolution; the last convolution makes scale^2 phases.

    The output is a correction to the input enlarged by nearest neighbour, in (0, 1) like the input. With 64
    features and x4 it has 621,424 parameters at 16 convolutions (realesr-animevideov3) and 1,213,296 at 32
    (realesr-general-x4v3).

    Args:
        in_channels, out_channels: Equal, or one of them 1, so that the enlarged input can be added.
        scale: Output pixels per input pixel along one side, 1 or more.
        features: Width of every hidden layer.
        convs: Convolutions between the first and the last one.
        activation: "prelu" (one slope a channel, as published), "relu" or "leakyrelu" (slope 0.1).

    Raises:
        ConfigError: An argument is outside of what is allowed.
    """

    tiny: ClassVar[dict[str, Any]] = {"features": 4, "convs": 2, "scale": 2}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 64,
        convs: int = 16,
        activation: Activation = "prelu",
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, scale, features) < 1 or convs < 0:
            raise ConfigError("the compact network needs channels, scale and features of 1 or more.")
        require_addable("the compact network", in_channels, out_channels)
        if activation not in get_args(Activation):
            raise ConfigError(f"activation {activation!r} is not one of {', '.join(get_args(Activation))}.")
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.receptive_field = convs + 2

        def act() -> nn.Module:
            if activation == "prelu":
                return PReLU(features)
            return nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(0.1, inplace=True)

        layers: list[nn.Module] = [nn.Conv2d(in_channels, features, 3, padding=1), act()]
        for _ in range(convs):
            layers += [nn.Conv2d(features, features, 3, padding=1), act()]
        layers.append(nn.Conv2d(features, out_channels * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)
        self.output_layers = (f"body.{len(layers) - 1}",)
        # a layer's input and output; at the end the phases before, with the input, and after the shuffle
        phases = out_channels * scale**2
        self.live_features = 2 * in_channels + max(2 * features, features + phases, 4 * phases)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) in (0, 1) to (N, out_channels, H*scale, W*scale)."""
        phases = self.body(x)
        return shuffled(phases, x, self.out_channels, self.scale)
