"""Terms of a loss that a configuration names one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import PixelKind, pixel_losses
from img2img.losses.parts import (
    Box,
    Halves,
    crop_loss,
    multiscale_loss,
    symmetry_loss,
    total_variation_loss,
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
