"""Transparency by one rule: what cannot be seen does not count.

A colour under alpha 0 is whatever a program left there. It reaches no network, no statistic, no metric and no
label; what takes its place depends on whether alpha goes or stays.

- Where alpha goes, the picture is laid over white (`over_white`): what a network of one or three colours
  learns from and sees, what a metric compares, what a label map means, what is left when alpha is dropped.
- Where alpha stays, the colours under alpha 0 become those of what can be seen around them (`bleed`): beside
  alpha as one more channel, and wherever neighbours are mixed, because white or black would be drawn into
  the edge as a halo that shows on any other background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2img.image.image import Image, Pixels, white_of

_ROWS = 256  # laid over white at once: bounds the memory for the products


def over_white(image: Image) -> Image:
    """Returns what `image` looks like on white paper.

    Returns:
        A picture without alpha, of the same dtype, everything else kept; `image` itself if it has no alpha.
        Opaque pixels keep their exact values, and of those under alpha 0 nothing is left, even if they were
        no numbers.
    """
    alpha = image.alpha
    if alpha is None:
        return image
    if alpha.min() >= image.white:
        return image.replace(alpha=None)
    pixels = np.empty(image.pixels.shape, image.pixels.dtype)
    for top in range(0, image.height, _ROWS):
        rows = slice(top, top + _ROWS)
        share = np.clip(alpha[rows, :, None].astype(np.float32) / np.float32(image.white), 0, 1)
        mixed = np.where(share > 0, image.pixels[rows], 0).astype(np.float32) * share
        mixed += np.float32(image.white) * (1 - share)
        pixels[rows] = mixed if pixels.dtype == np.float32 else np.rint(mixed)
    return image.replace(pixels=pixels, alpha=None)


def visible(image: Image) -> NDArray[np.bool_] | None:
    """Returns where (H, W) the picture can be seen at all, or None when that is everywhere or nowhere."""
    if image.alpha is None:
        return None
    seen = image.alpha > 0
    return None if seen.all() or not seen.any() else seen


def bleed(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Gives fully transparent pixels the colour of what is visible around them.

    Args:
        pixels: (H, W, C) of any dtype.
        alpha: (H, W); 0 is transparent.

    Returns:
        (H, W, C); a copy, except where there is nothing to fill. What cannot be seen anywhere is white.
    """
    visible = alpha > 0
    if visible.all():
        return pixels
    if not visible.any():
        return np.full_like(pixels, white_of(pixels.dtype))
    # what is nearly transparent may be nearly arbitrary as well, so opacity is the weight
    weight = (np.where(visible, alpha, 0) / alpha.max()).astype(np.float32)
    filled = _fill(np.where(visible[..., None], pixels, 0).astype(np.float32), weight)
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
