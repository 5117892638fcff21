"""What cameras and websites do to pictures, on purpose."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np

from img2img.errors import ProcessingError
from img2img.image.alpha import bleed
from img2img.image.image import Image
from img2img.processors.base import Operation, processors
from img2img.processors.degradations.codec import LONGEST, Sampling, jpeg
from img2img.processors.pixels import restore, unit
from img2img.processors.values import parameter


@processors.register("jpeg")
class Jpeg(Operation):
    """Stores the picture as JPEG in memory and reads it again: the artefacts without the file.

    JPEG has 8 bits: deeper pictures keep their depth but have 256 levels afterwards, and say so in a warning.
    Pictures that have not three channels are stored channel by channel, as gray. Alpha is not touched, and
    colours that cannot be seen are first replaced by those around them, so that no block smears them.
    """

    bare: ClassVar = ("quality",)
    examples: ClassVar = ("jpeg=75", "jpeg=quality:30,sampling:4:4:4")

    quality: Annotated[int, parameter("From 1 (blocks) to 100 (almost as it was).", ge=1, le=100)] = 75
    sampling: Annotated[Sampling, parameter("Resolution of the colours: full, half, or a quarter.")] = "4:2:0"

    def apply(self, image: Image) -> Image:
        """Returns the picture as JPEG leaves it.

        Raises:
            ProcessingError: A side is longer than JPEG can store.
        """
        if max(image.height, image.width) > LONGEST:
            raise ProcessingError(
                f"JPEG cannot hold {image.width} x {image.height} pixels; its longest side is {LONGEST}. "
                "Resize the picture first."
            )
        stored = restore(unit(bleed(image).pixels), np.dtype(np.uint8))
        read = jpeg(stored, self.quality, self.sampling)
        result = image.replace(pixels=restore(unit(read), image.pixels.dtype))
        if image.pixels.dtype != np.uint8:
            result = result.warn(
                f"JPEG reduced the {image.pixels.dtype} picture to 256 levels in each channel."
            )
        return result
