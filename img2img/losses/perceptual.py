"""How far apart two images are in the eyes of a network that was trained to recognise things.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution
(arXiv:1603.08155).
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType

import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses.pixel import PixelKind, pixel_losses
from img2img.losses.vgg import VGG19, VGGFeatures
from img2img.types import ValueRange

DEFAULT_LAYERS: Mapping[str, float] = MappingProxyType({"conv5_4": 1.0})
"""That of SRGAN and ESRGAN."""


class PerceptualLoss:
    """Compares features of VGG19 at chosen convolutions; the distances are fp32.

    Args:
        layers: A weight for each layer that is looked at; names as in `VGG19.layers`.
        value_range: What stands for black and white in the images.
        criterion: The distance between features, averaged over each layer: "l1", "l2" or "charbonnier".
        before_activation: Compares what the convolutions return (ESRGAN), not what the ReLU after them makes
            of it (SRGAN, with "l2" and a weight of 0.006).
        weights, allow_download, standardised: See `VGGFeatures`; the download is 548 MiB.

    Raises:
        ConfigError: A layer or criterion does not exist, or no weights are at hand.
        ModelError: The file does not hold the weights.
        DownloadError: The download failed.

    References:
        SRGAN (arXiv:1609.04802), ESRGAN (arXiv:1809.00219), Real-ESRGAN (arXiv:2107.10833) for usual layers.
    """

    def __init__(
        self,
        layers: Mapping[str, float] = DEFAULT_LAYERS,
        *,
        value_range: ValueRange,
        criterion: PixelKind = "l1",
        before_activation: bool = True,
        weights: str | PathLike[str] | None = None,
        allow_download: bool = False,
        standardised: bool = True,
    ) -> None:
        if not layers:
            raise ConfigError("the perceptual loss looks at no layer; name one or more, for example conv5_4.")
        self.layers = dict(layers)
        self.distance = pixel_losses[criterion]
        self._features = VGGFeatures(
            VGG19, tuple(layers), value_range, before_activation, weights, allow_download, standardised
        )
        self.check = self._features.check

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the weighted sum of the layers' distances, a 0-dim fp32 tensor.

        Args:
            output: (N, 1 or 3, H, W); gradients pass through it.
            target: The same shape; none pass through it.

        Raises:
            ConfigError: The images have another number of channels, or are too small for the deepest layer.
            ValueError: The shapes differ.
        """
        with torch.no_grad():
            expected = self._features(target)
        found = self._features(output)
        terms = [weight * self.distance(found[name], expected[name]) for name, weight in self.layers.items()]
        return torch.stack(terms).sum()
