"""What can be told of the damage in a picture without knowing the picture that it was."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from img2img.image.image import Image, Pixels

_SIDE = 16  # of the blocks that are looked at, in pixels
_SMOOTHEST = 0.2  # of the blocks: what is there is noise rather than detail
_MOST = 2**22  # values of a channel that are looked at; rows are left out beyond that
_LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # their difference
_GAIN = 6.0  # of it for noise without correlation
_BELOW = 0.91  # the deviation in the smoothest blocks, of that in all of them, where there is noise alone
_CLIPPED = 0.1  # of the values in a block


def estimates(image: Image) -> dict[str, Any]:
    """Returns what a report says of a source: {"jpeg_quality": 35 or None, "noise": 2.8 or None}."""
    deviation = noise(image)
    rounded = None if deviation is None else round(deviation, 2)
    return {"jpeg_quality": image.jpeg_quality, "noise": rounded}


def noise(image: Image) -> float | None:
    """Estimates the standard deviation of the noise in a picture.

    The difference of two Laplacians (Immerkaer, Fast Noise Variance Estimation, 1996) leaves nothing of what
    changes linearly. Its size is taken block by block of 16 x 16 pixels, of the smoothest fifth of the
    blocks: elsewhere it is detail that remains. Blocks with much black or white, or without any change, as
    in drawings, say nothing and are left out. Noise that is correlated from pixel to pixel, as after
    enlarging or compression, counts for less.

    Args:
        image: Of any depth; each channel is looked at by itself.

    Returns:
        In levels of 8 bits, the root of the mean square over the channels; None where the picture is too
        small or has too few blocks of use.
    """
    found = []
    for channel in range(image.channels):
        band = image.pixels[..., channel]
        step = max(1, -(-band.size // _MOST))
        rows = band.shape[0] // (_SIDE * step) * _SIDE
        columns = band.shape[1] // _SIDE * _SIDE
        if not rows or not columns:
            return None
        deviations = [
            _deviations(band[top * step : top * step + _SIDE, :columns], image.white)
            for top in range(0, rows, _SIDE)
        ]
        of_use = np.concatenate(deviations)
        of_use = of_use[of_use > 0]
        if len(of_use) < 4:
            return None
        few = np.sort(of_use)[: max(4, round(len(of_use) * _SMOOTHEST))]
        found.append(float(np.median(few)) / _BELOW)
    return float(np.sqrt(np.mean(np.square(found))))


def _deviations(strip: Pixels, white: float) -> Pixels:
    """Returns for each block of a strip (16, W) the deviation of its noise, 0 where it is of no use."""
    values = strip.astype(np.float32) * np.float32(255 / white)
    remains = cv2.filter2D(values, -1, _LAPLACIANS)[1:-1, 1:-1]
    inside = np.zeros(values.shape, np.float32)
    inside[1:-1, 1:-1] = np.square(remains)
    blocks = inside[1:-1].reshape(_SIDE - 2, -1, _SIDE)[:, :, 1:-1]
    deviation = np.sqrt(blocks.mean((0, 2))) / _GAIN
    clipped = ((values <= 0) | (values >= 255)).reshape(_SIDE, -1, _SIDE).mean((0, 2))
    return np.where(clipped < _CLIPPED, deviation, 0)
