"""JPEG in memory, by the codec itself.

A real codec and no differentiable stand-in: nobody needs the gradient of a source, and what is to be undone
is exactly what files hold, with the encoder's rounding and the decoder's smoothing of colours. OpenCV brings
libjpeg-turbo as Pillow does and takes arrays without a file object: a patch of 160 x 160 takes 0.4 ms there
and back.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from img2img.image.image import Pixels
from img2img.processors.pixels import Values, by_channels, restore, unit

Sampling = Literal["4:4:4", "4:2:2", "4:2:0"]
LONGEST = 65500
"""The longest side in pixels."""
BLOCK = 16
"""Side of what JPEG codes together at most, in pixels."""
_SAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


def jpeg(pixels: Pixels, quality: int, sampling: Sampling) -> Pixels:
    """Returns what is left of (H, W, C) uint8 in RGB; unless there are three, channels are stored one by one.

    Args:
        pixels: With no side longer than `LONGEST`.
        quality: 1 to 100.
        sampling: Resolution of the colours: full, half, or a quarter.
    """

    def round_trip(part: Pixels) -> Pixels:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        if part.ndim == 3:
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[sampling]]
            part = part[:, :, ::-1]
        _, data = cv2.imencode(".jpg", part, options)
        read = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
        return read[:, :, ::-1] if part.ndim == 3 else read

    return by_channels(round_trip, pixels, most=3 if pixels.shape[2] == 3 else 1)


def jpeg_values(values: Values, quality: int, sampling: Sampling, shift: tuple[int, int] = (0, 0)) -> Values:
    """Returns fractions of white (H, W, C) as JPEG leaves them.

    Args:
        values: They are limited to 0 and 1 and rounded to 8 bits.
        quality, sampling: See `jpeg`.
        shift: How far up and left of the picture the grid of blocks begins, in pixels below `BLOCK`: as in a
            picture that was cut out of a larger one.
    """
    stored = restore(values, np.dtype(np.uint8))
    top, left = shift
    if top or left:
        mirrored = by_channels(
            lambda part: cv2.copyMakeBorder(part, top, 0, left, 0, cv2.BORDER_REFLECT), stored
        )
        return unit(np.ascontiguousarray(jpeg(mirrored, quality, sampling)[top:, left:]))
    return unit(jpeg(stored, quality, sampling))
