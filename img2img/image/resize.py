"""Bicubic resizing as MATLAB's imresize does it: the one resize that super-resolution is measured with.

The kernel is Keys' cubic convolution with a = -0.5. When shrinking it is stretched by the factor, so that
nothing aliases. Each axis is one pass, the axis that shrinks most first and the rows first when both
shrink alike; integer pixels are rounded and limited after each pass. Beyond the border the outermost
pixel repeats.

References:
    R. Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29 (1981).
    The order, the rounding between the passes and the border are those that reproduce the low-resolution
    images of the Set5 and Set14 benchmarks, every pixel of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ProcessingError
from img2img.image.image import DTYPES, Pixels, white_of
from img2img.image.opencv import transposed

_LONGEST = 64  # times a side that was asked for: beyond it is no picture, but a line
_BLOCK = 64  # rows of output that one matrix product makes: bounds memory, keeps the products dense enough


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Returns `pixels` at another size.

    Args:
        pixels: (H, W, C) uint8, uint16 or float32.
        height: Rows of the result, at least 1; both sides may grow or shrink, each by its own factor.
        width: Columns of the result, at least 1.

    Returns:
        (height, width, C) of the same dtype, C-contiguous. float32 is neither rounded nor limited, so it
        may overshoot the input's range a little at sharp edges.

    Raises:
        ValueError: The sizes or the array are not as above.
    """
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype not in DTYPES:
        raise ValueError(f"pixels must be (H, W, C) of a pixel dtype, not {pixels.shape} {pixels.dtype}")
    if height < 1 or width < 1:
        raise ValueError(f"a picture cannot become {width} x {height} pixels")
    if width / pixels.shape[1] < height / pixels.shape[0]:
        pixels = transposed(_resize_rows(transposed(pixels), width))
        return np.ascontiguousarray(_resize_rows(pixels, height))
    pixels = _resize_rows(pixels, height)
    return np.ascontiguousarray(transposed(_resize_rows(transposed(pixels), width)))


def covering(size: tuple[int, int], least: tuple[int, int]) -> tuple[int, int]:
    """Returns the smallest (height, width) in the proportions of `size` that is `least` in both.

    Raises:
        ProcessingError: It is so long and thin that it would be a very large picture.
    """
    factor = max(least[0] / size[0], least[1] / size[1])
    height, width = (max(low, round(side * factor)) for side, low in zip(size, least, strict=True))
    if max(height, width) > _LONGEST * max(least):
        raise ProcessingError(
            f"a picture of {size[1]} x {size[0]} pixels would become {width} x {height} in its proportions; "
            "cut it, or let it be squeezed (fit: squeeze)."
        )
    return height, width


def resize_nearest(pixels: Pixels, height: int, width: int) -> Pixels:
    """Returns `pixels` (H, W, C) at another size without mixing any two of them."""
    rows = ((np.arange(height) + 0.5) * pixels.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * pixels.shape[1] / width).astype(np.int64)
    return np.ascontiguousarray(pixels[rows[:, None], columns])


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns Keys' kernel with a = -0.5 at the distances `x`."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def taps(length: int, new_length: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns which input samples make each output sample, and how much of each.

    Returns:
        Two arrays (new_length, T): indices from 0 to length - 1, and weights that add up to 1 in each row.
    """
    scale = new_length / length
    stretch = min(scale, 1.0)
    radius = 2.0 / stretch
    centre = (np.arange(new_length) + 0.5) / scale - 0.5
    index = np.floor(centre - radius)[:, None].astype(np.int64) + np.arange(int(np.ceil(2 * radius)) + 2)
    weights = cubic((centre[:, None] - index) * stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    return index.clip(0, length - 1), weights


def _resize_rows(pixels: Pixels, height: int) -> Pixels:
    """Returns `pixels` (H, W, C) with `height` rows."""
    old_height, width, channels = pixels.shape
    if height == old_height:
        return pixels
    index, weights = taps(old_height, height)
    result = np.empty((height, width, channels), pixels.dtype)
    white = white_of(pixels.dtype)
    for top in range(0, height, _BLOCK):
        rows = slice(top, min(top + _BLOCK, height))
        first, last = int(index[rows].min()), int(index[rows].max()) + 1
        matrix = np.zeros((rows.stop - rows.start, last - first))
        np.add.at(matrix, (np.arange(len(matrix))[:, None], index[rows] - first), weights[rows])
        values = matrix @ pixels[first:last].reshape(last - first, -1).astype(np.float64)
        if pixels.dtype != np.float32:
            values += 0.5  # half away from zero; the conversion below drops the fraction
            np.clip(values, 0, white, out=values)
        result[rows] = values.reshape(-1, width, channels)
    return result
