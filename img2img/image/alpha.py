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

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.image.image import Image

Values = NDArray[np.float32]  # 0 is black, 1 is white
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


def bleed(image: Image) -> Image:
    """Returns `image` with the colours that cannot be seen replaced by those around them.

    Returns:
        Alpha, dtype and everything that can be seen are the same, so it looks like `image` on any background;
        `image` itself if nothing is hidden. If nothing can be seen it is white.
    """
    alpha = image.alpha
    if alpha is None or not (hidden := alpha <= 0).any():
        return image
    if hidden.all():
        return image.replace(pixels=np.full_like(image.pixels, image.white))
    # what is nearly transparent may be nearly arbitrary as well, so opacity is the weight
    weight = np.maximum(alpha, 0).astype(np.float32)
    weight /= weight.max()
    pixels = image.pixels.copy()
    for channel in range(image.channels):  # plane by plane: one of floats is enough memory
        plane = pixels[..., channel].astype(np.float32)
        plane[hidden] = 0
        filled = _fill(plane * weight, weight)[hidden]
        pixels[..., channel][hidden] = filled if pixels.dtype == np.float32 else np.rint(filled)
    return image.replace(pixels=pixels)


def within(alpha: NDArray[Any], source: NDArray[Any]) -> NDArray[Any]:
    """Returns enlarged alpha without holes in what is opaque and specks in what is clear.

    A network that draws edges rings beside those of a mask, which are harder than any in a photograph.

    Args:
        alpha: (H * s, W * s) of a whole factor s.
        source: (H, W) of the same dtype, from which it was made.

    Returns:
        A new array: each value lies between the least and the greatest of the 3x3 around its pixel in
        `source`.
    """
    around = np.ones((3, 3), np.uint8)
    least, greatest = cv2.erode(source, around), cv2.dilate(source, around)
    factor = alpha.shape[0] // source.shape[0]
    bounded = np.empty_like(alpha)
    for y in range(factor):
        for x in range(factor):
            np.clip(alpha[y::factor, x::factor], least, greatest, out=bounded[y::factor, x::factor])
    return bounded


def _fill(total: Values, weight: Values) -> Values:
    """Returns total / weight (H, W); where the weight is 0, that of the next larger block that has weight."""
    if weight.all():
        return total / weight
    coarse = _fill(_halved(total), _halved(weight))
    height, width = weight.shape
    size = (2 * coarse.shape[1], 2 * coarse.shape[0])
    means = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST), np.float32)[:height, :width]
    return np.divide(total, weight, out=means, where=weight > 0)


def _halved(values: Values) -> Values:
    """Returns the means of blocks of 2x2; beyond an odd border there are zeros."""
    height, width = values.shape
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2)))
    size = (values.shape[1] // 2, values.shape[0] // 2)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
