"""Losses between two images beside the pixel loss that a configuration of any method can name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import PixelKind, pixel_losses, ssim_loss
from img2img.losses.parts import (
    Box,
    Halves,
    crop_loss,
    multiscale_loss,
    symmetry_loss,
    total_variation_loss,
)
from img2img.losses.perceptual import DEFAULT_LAYERS, PerceptualLoss
from img2img.methods.base import MethodConfig
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


class _Term(BaseModel, ABC):
    """One term: its kind, its weight, and what the kind takes besides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(gt=0, description="Its weight.")

    @abstractmethod
    def measure(self, made: Tensor, truth: Tensor) -> Tensor:
        """Returns it, unweighted; 0-dim fp32. Both are (N, C, H, W)."""

    def require(self, height: int, width: int) -> None:
        """Makes sure that it can look at pictures of this size.

        Raises:
            ConfigError: It cannot.
        """


class SymmetryTerm(_Term):
    """The two halves of what is made should mirror each other: for faces and other things seen from front."""

    kind: Literal["symmetry"] = Field(description="symmetry.")
    side: Halves = Field("both", description="Which half learns: both, left or right.")

    def measure(self, made: Tensor, truth: Tensor) -> Tensor:
        """See `symmetry_loss`."""
        return symmetry_loss(made, self.side)

    def require(self, height: int, width: int) -> None:
        """Two columns at least."""
        if width < 2:
            raise ConfigError("method.extra_terms: symmetry needs pictures of two columns and more.")


class MultiscaleTerm(_Term):
    """The distance to the target at several sizes."""

    kind: Literal["multiscale_l1"] = Field(description="multiscale_l1.")
    scales: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (1.0, 1.0, 1.5),
        min_length=1,
        max_length=12,
        description="Weights at full size, a half, a quarter, ...; those of TP-GAN's code by default.",
    )
    criterion: PixelKind = Field("l1", description="The distance.")

    def measure(self, made: Tensor, truth: Tensor) -> Tensor:
        """See `multiscale_loss`."""
        return multiscale_loss(made, truth, self.scales, pixel_losses[self.criterion])

    def require(self, height: int, width: int) -> None:
        """A pixel is left at the smallest size."""
        if min(height, width) < 2 ** (len(self.scales) - 1):
            raise ConfigError(
                f"method.extra_terms: multiscale_l1 halves pictures {len(self.scales) - 1} times, and they "
                f"are {width}x{height}; give fewer scales, or a larger data.crop_size."
            )


class CropsTerm(_Term):
    """The distance to the target within parts that matter, each as much as the others."""

    kind: Literal["crops"] = Field(description="crops.")
    boxes: dict[str, Box] = Field(
        min_length=1,
        description="The parts: top, left, bottom and right as shares of the picture, such as {mouth: "
        "[0.65, 0.3, 0.9, 0.7]}. They do not move with the crop or the flip: take aligned pictures, a "
        "load_size that is the crop_size, and flip: false, or boxes that mirror each other.",
    )
    criterion: PixelKind = Field("l1", description="The distance.")

    @model_validator(mode="after")
    def _inside(self) -> CropsTerm:
        for name, (top, left, bottom, right) in self.boxes.items():
            if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
                raise ValueError(
                    f"the box {name} is [{top:g}, {left:g}, {bottom:g}, {right:g}], and is to be top, left, "
                    "bottom and right as shares from 0 to 1, such as [0.2, 0.1, 0.5, 0.5]"
                )
        return self

    def measure(self, made: Tensor, truth: Tensor) -> Tensor:
        """See `crop_loss`."""
        return crop_loss(made, truth, self.boxes, pixel_losses[self.criterion])


class TotalVariationTerm(_Term):
    """What is made should be smooth."""

    kind: Literal["tv"] = Field(description="tv.")

    def measure(self, made: Tensor, truth: Tensor) -> Tensor:
        """See `total_variation_loss`."""
        return total_variation_loss(made)


ExtraTerm = Annotated[
    SymmetryTerm | MultiscaleTerm | CropsTerm | TotalVariationTerm, Field(discriminator="kind")
]


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
