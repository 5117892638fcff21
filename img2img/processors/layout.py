"""Several pictures on one sheet."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from img2img.errors import ProcessingError
from img2img.image.conversion import converted, meaning
from img2img.image.image import Image, Pixels
from img2img.image.numbers import require_finite
from img2img.processors.base import Operation, processors
from img2img.processors.pixels import restore, spread, through_opacity, unit
from img2img.processors.resample import resample
from img2img.processors.values import Fill, FillColour, Reference, parameter


@processors.register("side-by-side")
class JoinedSideBySide(Operation):
    """Puts the picture as it was beside the result of the operations before, for comparison.

    The other picture comes first, scaled (bicubic) to the height of the result, or to its width when one
    stands above the other. The sheet has the depth, the metadata and the colour space of the result, into
    which the other picture is brought.
    """

    bare: ClassVar = ("direction", "reference")
    examples: ClassVar = ("side-by-side", "side-by-side=vertical,gap:0")

    direction: Annotated[
        Literal["horizontal", "vertical"], parameter("Beside each other, or one above the other.")
    ] = "horizontal"
    reference: Annotated[
        Reference | None, parameter("Compare with this picture instead of the original.")
    ] = None
    gap: Annotated[int, parameter("Space between the two.", unit="pixels", ge=0, le=1000)] = 8
    fill: Annotated[Fill, parameter("Colour of that space.")] = FillColour(1, 1, 1)

    def __call__(self, image: Image, original: Image | None = None) -> Image:
        """Returns reference or `original` beside `image`.

        Raises:
            ProcessingError: Their numbers of channels cannot stand on one sheet.
        """
        if self.reference:
            other, notes = self.reference.in_colours(meaning(image))
        else:
            other = converted(original or image, meaning(image), "the original")
            notes = other.warnings[len((original or image).warnings) :]
        if self.direction == "vertical":
            height, width = max(1, round(other.height * image.width / other.width)), image.width
        else:
            height, width = image.height, max(1, round(other.width * image.height / other.height))
        if (height, width) != (other.height, other.width):
            require_finite(other)
            other = through_opacity(other, lambda pixels: resample(pixels, height, width))
        channels = max(image.channels, other.channels)
        for picture in (image, other):
            if picture.channels not in (1, channels):
                raise ProcessingError(
                    f"pictures with {other.channels} and {image.channels} channels cannot stand side by side."
                )
        if image.alpha is not None or other.alpha is not None or self.fill.alpha < 1:
            image, other = _with_alpha(image), _with_alpha(other)
        dtype, along = image.pixels.dtype, 1 if self.direction == "horizontal" else 0
        shape = (image.height, self.gap) if along else (self.gap, image.width)
        gap = np.broadcast_to(restore(self.fill.of(channels), dtype), (*shape, channels))
        parts = [_as(other, dtype, channels), gap, _as(image, dtype, channels)]
        alpha = None
        if image.alpha is not None and other.alpha is not None:
            opacity = np.full(shape, restore(np.float32(self.fill.alpha), dtype), dtype)
            opacities = [restore(unit(other.alpha), dtype), opacity, image.alpha]
            alpha = np.ascontiguousarray(np.concatenate(opacities, axis=along))
        sheet = np.ascontiguousarray(np.concatenate(parts, axis=along))
        return image.moved().replace(pixels=sheet, alpha=alpha).warn(*notes)

    def apply(self, image: Image) -> Image:
        """Returns the picture beside itself or the reference."""
        return self(image)


def _with_alpha(image: Image) -> Image:
    if image.alpha is not None:
        return image
    return image.replace(alpha=np.full(image.pixels.shape[:2], image.white, image.pixels.dtype))


def _as(image: Image, dtype: np.dtype[Any], channels: int) -> Pixels:
    """Returns the pixels in another depth, gray repeated to so many channels."""
    pixels = image.pixels if image.pixels.dtype == dtype else restore(unit(image.pixels), dtype)
    return pixels if image.channels == channels else spread(pixels[:, :, 0], channels)
