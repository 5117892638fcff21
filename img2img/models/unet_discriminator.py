"""The discriminator of Real-ESRGAN: a U-Net with spectral norm and a logit for every pixel.

Wang et al.: Real-ESRGAN (arXiv:2107.10833), section 3.3; Miyato et al.: Spectral Normalization for Generative
Adversarial Networks (arXiv:1802.05957).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from img2img.models.discriminators import Discriminator, discriminators


@discriminators.register("unet_spectral")
class UNetDiscriminator(Discriminator):
    """Three levels down and up with additive skip connections; 4,376,897 parameters.

    H and W must be multiples of 8. All convolutions but the first and the last are divided by their largest
    singular value.

    Args:
        in_channels: Channels of the image.
        features: Channels at full resolution; they double with every level.
    """

    multiple_of = 8

    def __init__(self, in_channels: int = 3, features: int = 64) -> None:
        super().__init__()
        self.in_channels = in_channels
        f = features
        self.first = nn.Conv2d(in_channels, f, 3, 1, 1)
        self.down = nn.ModuleList(_halving(f << level, f << level + 1) for level in range(3))
        self.up = nn.ModuleList(_conv(f << level + 1, f << level) for level in (2, 1, 0))
        self.refine = nn.ModuleList(_conv(f, f) for _ in range(2))
        self.last = nn.Conv2d(f, 1, 3, 1, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to the output of each level, last one logit a pixel, (N, 1, H, W)."""
        found = [_leaky(self.first(x))]
        for down in self.down:
            found.append(_leaky(down(found[-1])))
        for up, skip in zip(self.up, found[-2::-1], strict=True):
            x = F.interpolate(found[-1], scale_factor=2, mode="bilinear", align_corners=False)
            found.append(_leaky(up(x)) + skip)
        for refine in self.refine:
            found.append(_leaky(refine(found[-1])))
        return [*found, self.last(found[-1])]


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _halving(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False))


def _conv(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False))
