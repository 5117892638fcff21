"""The discriminator of pix2pixHD: one PatchGAN for each of several resolutions of the same image.

Wang et al.: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs
(arXiv:1711.11585).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.discriminators import Discriminator, discriminators
from img2img.models.norm import NormKind
from img2img.models.patchgan import PatchGAN


@discriminators.register("multiscale")
class MultiScalePatchGAN(Discriminator):
    """Judges patches of the image at full size, at half, and so on: 2,764,737 parameters a scale.

    Args:
        in_channels: Those of the image, plus those of the condition if there is one.
        features: Channels after the first convolution; they double up to 8 times as many.
        layers: Convolutions of stride 2 in each PatchGAN, at least 1.
        scales: How many resolutions, at least 1; each is half the one before.
        norm: "batch", "instance" or "none".
        spectral: Divides every convolution by its largest singular value.
        attention: See `PatchGAN`; each of them has its own.
        padding: Pixels around what each convolution sees: 2 in the original, 1 in pix2pix.

    Raises:
        ConfigError: A value that is not allowed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        features: int = 64,
        layers: int = 3,
        scales: int = 2,
        norm: NormKind = "instance",
        spectral: bool = False,
        attention: bool | int = False,
        padding: int = 1,
    ) -> None:
        super().__init__()
        if scales < 1:
            raise ConfigError(f"a multi-scale discriminator has at least one scale; scales is {scales}.")
        self.in_channels = in_channels
        self.scales = nn.ModuleList(
            PatchGAN(in_channels, features, layers, norm, spectral, padding=padding, attention=attention)
            for _ in range(scales)
        )
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        coarsest = cast(PatchGAN, self.scales[-1]).minimum_size
        self.minimum_size = (coarsest - 1) * 2 ** (scales - 1) + 1  # halves are rounded up

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """(N, in_channels, H, W) to the outputs of all stages of each scale, the finest scale first."""
        found = []
        for place, scale in enumerate(self.scales):
            x = self.halve(x) if place else x
            found.append(cast(PatchGAN, scale).features(x))
        return found
