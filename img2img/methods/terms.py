"""Losses between two images beside the pixel loss that a configuration of any method can name."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import PixelKind, ssim_loss
from img2img.losses.perceptual import DEFAULT_LAYERS, PerceptualLoss
from img2img.methods.base import MethodConfig
from img2img.methods.extra import ExtraTerm
from img2img.metrics.ssim import WINDOW
from img2img.types import ValueRange


class PerceptualConfig(BaseModel):
    """The key `perceptual:`, a distance in the features of VGG19."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(1.0, gt=0, description="Weight of the whole term.")
    layers: dict[str, float] = Field(
        dict(DEFAULT_LAYERS), description="Convolutions that are compared, with a weight each."
    )
    criterion: PixelKind = Field("l1", description="The distance between features.")
    before_activation: bool = Field(
        True, description="Compare what convolutions return, not what the ReLU after them makes of it."
    )
    weights: Path | None = Field(
        None, description="File with VGG19's weights; where torch keeps models by default."
    )
    allow_download: bool = Field(
        False, description="Download them to there (548 MiB) if they are not at hand."
    )


class TermsConfig(MethodConfig):
    """Keys of the further terms."""

    perceptual: PerceptualConfig | None = Field(
        None, description="Distance in the features of VGG19, for example {weight: 10, layers: {conv5_4: 1}}."
    )
    ssim_weight: float = Field(0.0, ge=0, description="Weight of 1 - SSIM.")
    extra_terms: tuple[ExtraTerm, ...] = Field(
        (),
        description="Further terms between output and target, each with its weight: [{kind: symmetry, "
        "weight: 0.3}, {kind: multiscale_l1, weight: 10}, {kind: crops, weight: 3, boxes: {mouth: [0.65, "
        "0.3, 0.9, 0.7]}}, {kind: tv, weight: 0.001}].",
    )


class Terms:
    """The further terms between what a generator made and what it should have been.

    Args:
        config: The keys of the method.
        value_range: Black and white of the images.
        name: What the losses are called; {} stands for "perceptual", "ssim" or the kind of a further term.

    Raises:
        ConfigError: There is no such layer, or the weights of VGG19 are not at hand.
    """

    def __init__(self, config: TermsConfig, value_range: ValueRange, name: str = "g_{}") -> None:
        self._range, self._name = value_range, name
        self._ssim_weight = config.ssim_weight
        self._extra = config.extra_terms
        self._perceptual, self._perceptual_weight = None, 0.0
        if (wanted := config.perceptual) is not None:
            self._perceptual_weight = wanted.weight
            self._perceptual = PerceptualLoss(
                wanted.layers,
                value_range=value_range,
                criterion=wanted.criterion,
                before_activation=wanted.before_activation,
                weights=wanted.weights,
                allow_download=wanted.allow_download,
            )

    def check(self, images: Tensor) -> None:
        """Makes sure that all terms can look at images of this shape, (N, C, H, W).

        Raises:
            ConfigError: One cannot.
        """
        if self._perceptual is not None:
            self._perceptual.check(images)
        for term in self._extra:
            term.require(*images.shape[-2:])
        if self._ssim_weight and min(images.shape[-2:]) < WINDOW:
            height, width = images.shape[-2:]
            raise ConfigError(
                f"method.ssim_weight compares windows of {WINDOW} pixels, and the images are "
                f"{width}x{height}; set data.crop_size to such a size, or leave ssim_weight out."
            )

    def __call__(self, made: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Returns those that are wanted, weighted; none where there are none.

        Args:
            made, truth: (N, C, H, W) in the value range.
        """
        losses = {}
        if self._perceptual is not None:
            losses["perceptual"] = self._perceptual_weight * self._perceptual(made, truth)
        if self._ssim_weight:
            losses["ssim"] = self._ssim_weight * ssim_loss(made, truth, self._range)
        for number, term in enumerate(self._extra):
            again = sum(other.kind == term.kind for other in self._extra[:number])
            losses[term.kind + (f"_{again + 1}" if again else "")] = term.weight * term.measure(made, truth)
        return {self._name.format(name): loss for name, loss in losses.items()}
