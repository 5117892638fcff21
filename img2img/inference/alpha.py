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
    filled = _fill(pixels.astype(np.float32), visible)
    if pixels.dtype != np.float32:
        filled = np.rint(filled)
    return np.where(visible[..., None], pixels, filled.astype(pixels.dtype))


def _fill(colours: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fills from a picture of half the size, whose pixels are means of the known ones: as far as needed."""
    if known.all():
        return colours
    height, width = known.shape
    odd = ((0, height % 2), (0, width % 2))
    weight = np.pad(known, odd).astype(np.float32)
    total = np.pad(colours * known[..., None], (*odd, (0, 0)))
    count = weight[0::2, 0::2] + weight[1::2, 0::2] + weight[0::2, 1::2] + weight[1::2, 1::2]
    total = total[0::2, 0::2] + total[1::2, 0::2] + total[0::2, 1::2] + total[1::2, 1::2]
    coarse = _fill(total / np.maximum(count, 1)[..., None], count > 0)
    enlarged = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    return np.where(known[..., None], colours, enlarged)
