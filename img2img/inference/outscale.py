"""A super-resolution model at another factor than its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from img2img.image import Image
from img2img.image.resize import resize
from img2img.inference.translator import Translator


class Outscale:
    """Runs a translator and brings the result to `factor` times the input's size, as one batch processor.

    The second step is the exact antialiased bicubic of `img2img.image.resize`; with the model's own factor it
    does nothing.

    Args:
        translator: The model.
        factor: Output pixels per input pixel along one side, greater than 0; 1.5 of 101 pixels gives 152.
    """

    def __init__(self, translator: Translator, factor: float) -> None:
        self.translator = translator
        self.factor = factor

    def group_key(self, image: Image) -> Hashable:
        """Images with one key may share a call."""
        return self.translator.group_key(image)

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the enlarged images."""
        results = self.translator(images)
        if self.factor == self.translator.generator.scale:
            return results
        return [self._fit(result, image) for result, image in zip(results, images, strict=True)]

    def _fit(self, result: Image, source: Image) -> Image:
        height = max(1, round(source.height * self.factor))
        width = max(1, round(source.width * self.factor))
        alpha = result.alpha
        if alpha is not None:
            alpha = resize(alpha[..., None], height, width)[..., 0]
        return result.replace(pixels=resize(result.pixels, height, width), alpha=alpha)
