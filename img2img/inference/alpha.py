"""Colours under transparent pixels: what a network should see there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2img.image.image import Pixels


def bleed(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Gives fully transparent pixels the colour of what is visible around them.

    Their own colour is arbitrary, often black, and a network would draw it into the edge as a halo.

    Args:
        pixels: (H, W, C) of any dtype.
        alpha: (H, W); 0 is transparent.

    Returns:
        (H, W, C); a copy, except where there is nothing to fill or nothing to fill it with.
    """
    visible = alpha > 0
    if visible.all() or not visible.any():
        return pixels
    # what is nearly transparent may be nearly arbitrary as well, so opacity is the weight
    filled = _fill(pixels.astype(np.float32), (alpha / alpha.max()).astype(np.float32))
    if pixels.dtype != np.float32:
        filled = np.rint(filled)
    return np.where(visible[..., None], pixels, filled.astype(pixels.dtype))


def _fill(colours: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fills where the weight is 0 from a picture of half the size, whose pixels are weighted means."""
    if weight.all():
        return colours
    height, width = weight.shape
    odd = ((0, height % 2), (0, width % 2))
    total = _halved(np.pad(colours * weight[..., None], (*odd, (0, 0))))
    sums = _halved(np.pad(weight, odd))
    means = (total / np.where(sums > 0, sums, 1)[..., None]).astype(np.float32, copy=False)
    coarse = _fill(means, sums)
    enlarged = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    return np.where(weight[..., None] > 0, colours, enlarged)


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the sums of blocks of 2x2."""
    return values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2]
