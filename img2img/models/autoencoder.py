"""An autoencoder whose halves can be exchanged: an encoder that domains share, a decoder for each of them.

The network of the face swapping programs that began as "deepfakes" (2017), for which there is no paper:
pictures of two kinds go through one narrow layer, so the encoder learns what both have in common.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.stage import stage
from img2img.types import UNIT


class _Encoder(nn.Module):
    """Halvings, then a narrow layer that sees the whole picture, then the first doubling."""

    def __init__(self, channels: int, widths: list[int], grid: int, latent: int) -> None:
        super().__init__()
        self.grid = grid
        self.down = nn.Sequential(
            *(
                stage(conv=nn.Conv2d(before, after, 5, 2, 2), activation=_leaky())
                for before, after in pairwise([channels, *widths])
            )
        )
        low = widths[-1] * grid**2
        self.narrow = nn.Sequential(nn.Linear(low, latent), nn.Linear(latent, low))
        self.up = _doubling(widths[-1], widths[-1] // 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.down(x)
        seen = F.adaptive_avg_pool2d(features, self.grid)  # at the size of the training nothing changes
        made = self.narrow(seen.flatten(1)).unflatten(1, (-1, self.grid, self.grid))
        if made.shape[-2:] != features.shape[-2:]:
            made = F.interpolate(made, features.shape[-2:], mode="bilinear", align_corners=False)
        output: Tensor = self.up(made)
        return output


@generators.register("autoencoder")
class Autoencoder(Generator):
    """`decoder(encoder(picture))`; with the defaults 75.9 million parameters, of which 6.2 are the decoder's.

    Pictures of another size than `grid` * 2**`downs` go through the narrow layer reduced to that, and their
    features are enlarged behind it.

    Args:
        in_channels, out_channels: Any.
        features: Channels after the first halving; they double with each, and halve on the way back.
        downs: Halvings, at least 2. H and W must be multiples of 2**downs.
        grid: Side length of the features at the narrow layer: 4 for pictures of 64 with 4 halvings.
        latent: Numbers in the narrow layer.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("decoder.last",)
    tiling = "none"
    input_range = output_range = UNIT
    tiny: ClassVar[dict[str, Any]] = {"features": 8, "downs": 2, "grid": 2, "latent": 8}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 128,
        downs: int = 4,
        grid: int = 4,
        latent: int = 1024,
    ) -> None:
        super().__init__()
        if downs < 2 or min(grid, latent) < 1 or features < 2 or features % 2:
            raise ConfigError(
                "an autoencoder needs downs >= 2, grid >= 1, latent >= 1 and an even number of features; "
                f"here are {downs}, {grid}, {latent} and {features}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.multiple_of = self.minimum_size = 2**downs
        self.receptive_field = 2**16  # the narrow layer sees everything
        self.live_features = 3 * features // 2 + in_channels + out_channels
        widths = [features * 2**level for level in range(downs)]
        self.encoder = _Encoder(in_channels, widths, grid, latent)
        back = [widths[-1] // 2**level for level in range(1, downs + 1)]
        self.decoder = stage(
            up=nn.Sequential(*(_doubling(before, after) for before, after in pairwise(back))),
            last=stage(conv=nn.Conv2d(back[-1], out_channels, 5, padding=2), output=nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [0, 1] to (N, out_channels, H, W) in [0, 1]."""
        output: Tensor = self.decoder(self.encoder(x))
        return output


def _doubling(before: int, after: int) -> nn.Sequential:
    """Returns a convolution that makes four times the channels, and the pixels that come of them."""
    return stage(
        conv=nn.Conv2d(before, 4 * after, 3, padding=1), activation=_leaky(), shuffle=nn.PixelShuffle(2)
    )


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1, inplace=True)
