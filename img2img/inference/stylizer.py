"""Pictures painted in a style: what is done with the results of a model besides."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from img2img.errors import ConfigError
from img2img.fields import Fields
from img2img.image import Image
from img2img.image.alpha import over_white
from img2img.image.channels import with_channels
from img2img.image.colour import BT601
from img2img.image.conversion import converted
from img2img.image.image import Pixels
from img2img.inference.translator import Translator

_ROWS = 256  # mixed at once


class Stylizer:
    """A batch processor that paints pictures with a model of style.

    Args:
        translator: Of a model that makes other pictures of its inputs, in colours and at their size.
        strength: Share of the result in each pixel, 0 to 1; the rest is the picture. Models that take any
            style have it in their features instead, see `Styles`.
        keep_colours: Whether only the brightness of the result is taken, and the colours of the picture stay:
            the luma of BT.601 changes and both differences of colour stay (arXiv:1606.05897, 5.2).

    Raises:
        ConfigError: The model is of another kind, or `strength` is no share.
    """

    def __init__(self, translator: Translator, strength: float = 1.0, keep_colours: bool = False) -> None:
        generator, info = translator.generator, translator.info
        name = generator.spec.name
        if not 0 <= strength <= 1:
            raise ConfigError(f"strength {strength!r} is not from 0 (the picture) to 1 (the style).")
        if generator.scale != 1:
            raise ConfigError(f"the model ({name}) enlarges by {generator.scale}, and paints in no style.")
        if info.output != "own" or info.palette or info.nearest:
            kind = "takes label maps" if info.palette or info.nearest else "makes no other picture"
            raise ConfigError(
                f"the model ({name}) {kind}, and paints in no style; models of johnson and adain do."
            )
        if (generator.in_channels, generator.out_channels) != (3, 3) and (strength < 1 or keep_colours):
            raise ConfigError(
                f"the model ({name}) makes {generator.out_channels} channels of {generator.in_channels}: "
                "nothing can be kept of the colours of a picture; leave strength at 1 and keep_colours out."
            )
        self._translator, self._strength, self._keep_colours = translator, strength, keep_colours

    @property
    def conditions(self) -> Fields:
        """What the model takes beside a picture."""
        return self._translator.conditions

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call."""
        return self._translator.group_key(image)

    def __call__(self, images: Sequence[Image], **conditions: Any) -> list[Image]:
        """Returns one picture for each of `images`; conditions as `Translator` takes them."""
        made = self._translator(images, **conditions)
        if self._strength == 1 and not self._keep_colours:
            return made
        return [self._mixed(image, result) for image, result in zip(images, made, strict=True)]

    def _mixed(self, image: Image, result: Image) -> Image:
        """Returns `result` with what is kept of `image`, as far as it is visible."""
        source = with_channels(over_white(converted(image)).replace(alpha=None), result.channels)
        white = result.white
        pixels: Pixels = np.empty_like(result.pixels)
        for top in range(0, result.height, _ROWS):
            rows = slice(top, top + _ROWS)
            before, after = source[rows].astype(np.float32), result.pixels[rows].astype(np.float32)
            if self._keep_colours:
                after = before + ((after - before) @ np.array(BT601, np.float32))[..., None]
            mixed = before + np.float32(self._strength) * (after - before)
            pixels[rows] = mixed if white == 1 else np.rint(np.clip(mixed, 0, white))
        return result.replace(pixels=pixels)
