"""Sources that are made of targets by a degradation, the same for the same seed, epoch and index.

The arithmetic and its parameters are `img2img.processors.degradations`, which `img2img process` shares; here
is where the random numbers come from, and what a network with alpha gets.
"""

from __future__ import annotations

import numpy as np

from img2img.data.sampler import DEGRADE, random_stream
from img2img.image.image import Pixels
from img2img.image.resize import resize
from img2img.processors.degradations import Degradation, named_stream, sharpened
from img2img.processors.pixels import restore, unit


class Degrader:
    """Makes the sources of a data set.

    Training draws each patch from (seed, epoch, index); validation draws each picture from its name, so
    numbers of different runs can be compared.

    Args:
        degradation: What happens.
        scale: How many times smaller the result is.
        alpha: Whether the last channel is alpha, which is only made smaller.
        seed: Of the run.
    """

    def __init__(self, degradation: Degradation, scale: int, alpha: bool = False, seed: int = 0) -> None:
        self.degradation, self.scale, self.alpha, self.seed = degradation, scale, alpha, seed

    @property
    def margin(self) -> int:
        """Source pixels around a patch that have an influence on it, roughly."""
        return -(-self.degradation.reach // self.scale)

    def target(self, pixels: Pixels) -> Pixels:
        """Returns what training wants of a whole picture (H, W, C): sharpened, if the degradation says so."""
        if not self.degradation.sharpen:
            return pixels
        colours, alpha = self._split(pixels)
        crisp = restore(sharpened(np.clip(unit(colours), 0, 1), self.degradation.sharpen), pixels.dtype)
        return np.concatenate((crisp, alpha), axis=2)

    def patch(self, pixels: Pixels, epoch: int, index: int) -> Pixels:
        """Returns the source of a patch with its surroundings; both sides are multiples of the scale."""
        return self._made(pixels, random_stream(DEGRADE, self.seed, epoch, index))

    def whole(self, pixels: Pixels, key: str) -> Pixels:
        """Returns the source of a picture, as the operation `degrade` makes it of a file with that name."""
        name, _, extension = key.rpartition(".")
        return self._made(pixels, named_stream(key if "/" in extension or not name else name))

    def _made(self, pixels: Pixels, stream: np.random.Generator) -> Pixels:
        colours, alpha = self._split(pixels)
        made = self.degradation(colours, stream, self.scale)
        if not alpha.shape[2]:
            return made
        return np.concatenate((made, resize(alpha, *made.shape[:2])), axis=2)

    def _split(self, pixels: Pixels) -> tuple[Pixels, Pixels]:
        """Returns colours and alpha, of which there may be no channel."""
        place = -1 if self.alpha and pixels.shape[2] in (2, 4) else pixels.shape[2]
        return pixels[..., :place], pixels[..., place:]
