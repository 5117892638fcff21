"""The colours of an input for what a network has made of it."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from img2img.image.alpha import bleed
from img2img.image.image import Image, Pixels
from img2img.image.resize import resize

ColourFix = Literal["off", "lowfreq", "wavelet"]
_LOWPASS = 8.0  # standard deviation in input pixels of what counts as a low frequency
_LEVELS = 5  # of the wavelets
_ROWS = 64  # corrected at once


def with_colours_of(source: Image, result: Image, method: ColourFix) -> Image:
    """Gives a result the low frequencies of what it was made from, which networks trained with a GAN shift.

    Both methods add a smooth correction to `result`, and nothing where it agrees with `source` already.
    "lowfreq" compares at the size of the input: the result is made as small as `source`, and of the
    difference what a Gaussian of 8 input pixels leaves is enlarged and added. "wavelet" takes the coarsest of
    five levels of wavelets from the input (the way of StableSR, arXiv:2305.07015): of the difference to the
    bicubic enlargement, what a binomial kernel leaves whose holes double five times, 63 pixels in all.

    Args:
        source: The input, with as many channels as `result`.
        result: What the model made of it.
        method: "off" returns `result`.

    Returns:
        A picture like `result`, with its alpha.
    """
    if method == "off":
        return result
    height, width = result.height, result.width
    plain = bleed(source).pixels
    white = np.float32(result.white)
    if method == "lowfreq":
        made = resize(result.pixels, source.height, source.width)
        difference = (plain.astype(np.float32) - made.astype(np.float32)) / white
        change = resize(_smoothed(difference), height, width)
    else:
        enlarged = resize(plain, height, width)
        change = _coarse((enlarged.astype(np.float32) - result.pixels.astype(np.float32)) / white)
    fixed = np.empty(result.pixels.shape, result.pixels.dtype)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        values = result.pixels[rows].astype(np.float32) + change[rows] * white
        fixed[rows] = values if fixed.dtype == np.float32 else np.rint(np.clip(values, 0, white))
    return result.replace(pixels=fixed)


def _smoothed(difference: Pixels) -> Pixels:
    """Returns (H, W, C) after a Gaussian, mirrored at the borders."""
    blurred = [
        cv2.GaussianBlur(np.ascontiguousarray(band), (0, 0), _LOWPASS, borderType=cv2.BORDER_REFLECT)
        for band in np.moveaxis(difference, 2, 0)
    ]
    return np.stack(blurred, 2)


def _coarse(difference: Pixels) -> Pixels:
    """Returns the coarsest level of (H, W, C): each level is smoothed by a kernel with wider holes."""
    bands = []
    for band in np.moveaxis(difference, 2, 0):
        smooth = np.ascontiguousarray(band)
        for level in range(_LEVELS):
            kernel = np.zeros(2 * 2**level + 1, np.float32)
            kernel[:: 2**level] = 0.25, 0.5, 0.25
            smooth = cv2.sepFilter2D(smooth, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        bands.append(smooth)
    return np.stack(bands, 2)
