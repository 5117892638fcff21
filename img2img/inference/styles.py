"""The style of pictures, for networks that take any: what of it they take, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch

from img2img.errors import ConfigError, ProcessingError
from img2img.image import Image
from img2img.image.alpha import over_white
from img2img.image.channels import with_channels
from img2img.image.conversion import converted
from img2img.image.resize import covering, resize
from img2img.image.tensor import to_tensor
from img2img.models import AdaIN, Generator
from img2img.models.adain import Moments

SIDE = 512  # pixels, of the shorter side of a style: that of the authors of AdaIN
_LONGEST = 8  # times as long as wide; more of a strip is not looked at
_LEAST = 16  # pixels: smaller pictures have no texture that could be taken


def takes_style(generator: Generator) -> TypeGuard[AdaIN]:
    """Returns whether a network paints in any style."""
    return isinstance(generator, AdaIN) and generator.adain is not None


@dataclass(frozen=True)
class Styles:
    """One style or a mixture.

    Args:
        pictures: Of any size, depth and kind.
        weights: How much each counts beside the others; None for all alike.
        size: Pixels of the shorter side at which a style is looked at, or fewer where it has no more: of a
            larger one the strokes are larger.
        strength: Share of the style in the features of the result, 0 to 1.

    Raises:
        ConfigError: There is no picture, one is too small, or a number makes no sense.
    """

    pictures: Sequence[Image]
    weights: Sequence[float] | None = None
    size: int = SIDE
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Checks all of it."""
        weights = self.weights
        if not self.pictures:
            raise ConfigError("a mixture of styles needs a picture or more.")
        if weights is not None and len(weights) != len(self.pictures):
            raise ConfigError(f"there are {len(self.pictures)} styles and {len(weights)} weights for them.")
        if weights is not None and not (all(0 <= each < float("inf") for each in weights) and any(weights)):
            found = ", ".join(map(str, weights))
            raise ConfigError(f"the weights of styles are {found}; they must be 0 or more, not all 0.")
        if self.size < _LEAST:
            raise ConfigError(f"the size of styles is {self.size} pixels; it must be {_LEAST} or more.")
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength {self.strength!r} is not from 0 (the picture) to 1 (the style).")
        for picture in self.pictures:
            if min(picture.width, picture.height) < _LEAST:
                called = f"the style {picture.name}" if picture.name else "a style"
                raise ConfigError(
                    f"{called} has {picture.width}x{picture.height} pixels, which hold no strokes to paint "
                    f"with; it needs {_LEAST}x{_LEAST} at least."
                )

    def choose(self, generator: Generator) -> None:
        """Makes `generator` paint in this style.

        Raises:
            ConfigError: It takes none, or a picture holds values that are not finite numbers.
        """
        if not takes_style(generator):
            raise ConfigError(
                f"the model ({generator.spec.name}) paints in the one style that it has learned, or in none; "
                "leave the style out, or take a model that takes any (adain)."
            )
        found = [generator.moments(self._seen(picture, generator)) for picture in self.pictures]
        weights = torch.tensor(self.weights or [1.0] * len(found), dtype=torch.float64)
        weights = (weights / weights.sum()).float().view(-1, 1, 1)
        mean, deviation = ((weights * torch.stack(some)).sum(0) for some in zip(*found, strict=True))
        generator.set_style(Moments(mean, deviation), self.strength)

    def _seen(self, picture: Image, generator: AdaIN) -> torch.Tensor:
        """Returns a style as the encoder sees it, (1, 3, h, w)."""
        image = over_white(converted(picture, role="the style"))
        try:
            pixels = with_channels(image, generator.in_channels)
        except ProcessingError as error:
            raise ConfigError(f"a style cannot be taken: {error}") from error
        height, width = pixels.shape[:2]
        most = _LONGEST * min(height, width)
        top, left = (max(0, side - most) // 2 for side in (height, width))
        pixels = pixels[top : top + most, left : left + most]
        side = min(self.size, height, width)  # enlarged it would be a style of blurs
        pixels = resize(pixels, *covering(pixels.shape[:2], (side, side)))
        if not np.isfinite(pixels).all():
            raise ConfigError("a style holds values that are not finite numbers.")
        return to_tensor([pixels], generator.input_range)
