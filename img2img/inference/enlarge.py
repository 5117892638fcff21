"""What follows a model: the exact final size, and the blend with the plain bicubic enlargement."""

from __future__ import annotations

import numpy as np

from img2img.image import Image
from img2img.image.alpha import bleed
from img2img.image.image import Pixels
from img2img.image.resize import resize

ROWS = 64  # blended at once: the products are in double precision, which 16-bit levels need


def resized(image: Image, height: int, width: int) -> Image:
    """Returns `image` and its alpha at another size, by the exact bicubic of `img2img.image.resize`.

    What has that size already is returned as it is.
    """
    if (image.height, image.width) == (height, width):
        return image
    alpha = image.alpha
    if alpha is not None:
        alpha = resize(alpha[..., None], height, width)[..., 0]
    return image.replace(pixels=resize(image.pixels, height, width), alpha=alpha)


def toward_bicubic(result: Image, source: Image, strength: float) -> Image:
    """Blends what a model made with the bicubic enlargement of what it was made from.

    Args:
        result: What the model made, at its final size.
        source: What it was made from, with as many channels.
        strength: Share of the model, 0 to 1. At 1 the result is `result`, at 0 the bicubic enlargement,
            exactly; between them every level is the weighted mean, rounded to the nearest.

    Returns:
        A picture like `result`; alpha is blended, too. Colours under transparent pixels of `source` are those
        around them, as the model sees them.
    """
    if strength == 1:
        return result
    pixels = _blended(result.pixels, resize(bleed(source).pixels, result.height, result.width), strength)
    alpha = result.alpha
    if alpha is not None and source.alpha is not None:
        plain = resize(source.alpha[..., None], result.height, result.width)
        alpha = _blended(alpha[..., None], plain, strength)[..., 0]
    return result.replace(pixels=pixels, alpha=alpha)


def _blended(pixels: Pixels, plain: Pixels, strength: float) -> Pixels:
    """Returns the weighted mean of two pictures (H, W, C) of one dtype."""
    if strength == 0:
        return plain
    mean = np.empty(plain.shape, plain.dtype)
    for top in range(0, len(plain), ROWS):
        rows = slice(top, top + ROWS)
        values = strength * pixels[rows].astype(np.float64)
        values += (1 - strength) * plain[rows].astype(np.float64)
        mean[rows] = values if plain.dtype == np.float32 else np.rint(values)
    return mean
