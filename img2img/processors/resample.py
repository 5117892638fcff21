"""Resampling with area, linear and Lanczos kernels, antialiased, for every depth and number of channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from img2img.image.image import Pixels
from img2img.image.resize import resize as bicubic
from img2img.processors.pixels import Values, restore, unit

Kernel = Callable[[NDArray[np.float64], float], NDArray[np.float64]]

# Each kernel takes distances and its stretch, both in source pixels; with its radius at stretch 1.
_KERNELS: dict[str, tuple[Kernel, float]] = {
    "area": (lambda x, s: np.clip((s + 1) / 2 - np.abs(x), 0, 1), 1.0),  # the overlap of the two pixels
    "linear": (lambda x, s: np.maximum(1 - np.abs(x / s), 0), 1.0),
    "lanczos": (lambda x, s: np.where(np.abs(x / s) < 3, np.sinc(x / s) * np.sinc(x / s / 3), 0), 3.0),
}


def resample(pixels: Pixels, height: int, width: int, kernel: str = "bicubic") -> Pixels:
    """Returns (H, W, C) resampled to (height, width, C), dtype kept.

    Args:
        pixels: Any contents of an `Image`.
        height: Rows of the result.
        width: Columns of the result.
        kernel: "bicubic" (as MATLAB does it), "lanczos" (three lobes), "linear", "area" or "nearest". All but
            "nearest" are stretched by the factor when a side shrinks, so that nothing aliases.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if kernel == "bicubic":
        return bicubic(pixels, height, width)
    if kernel == "nearest":
        rows = (np.arange(height) * 2 + 1) * pixels.shape[0] // (2 * height)
        columns = (np.arange(width) * 2 + 1) * pixels.shape[1] // (2 * width)
        return np.asarray(pixels[rows[:, None], columns])
    values = unit(pixels)
    rows_first = height * pixels.shape[1] <= width * pixels.shape[0]  # leaves less to do for the other axis
    for axis, length in ((0, height), (1, width)) if rows_first else ((1, width), (0, height)):
        values = _along(values, axis, length, *_KERNELS[kernel])
    return restore(values, pixels.dtype)


def _along(values: Values, axis: int, length: int, kernel: Kernel, radius: float) -> Values:
    """Resamples one axis: a weighted sum over the few source lines that each line of the result can see."""
    size = values.shape[axis]
    if size == length:
        return values
    stretch = max(size / length, 1.0)
    centre = (np.arange(length) + 0.5) * (size / length) - 0.5
    start = np.floor(centre - radius * stretch).astype(int)
    lines = start[:, None] + np.arange(math.ceil(2 * radius * stretch) + 2)
    weights = kernel(lines - centre[:, None], stretch) * ((lines >= 0) & (lines < size))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    lines = lines.clip(0, size - 1)
    shape = (length, values.shape[1]) if axis == 0 else (values.shape[0], length)
    total = np.zeros((shape[0], shape[1] * values.shape[2]), np.float32)
    for line, weight in zip(lines.T, weights.T, strict=True):
        if weight.any():
            part = np.take(values, line, axis=axis).reshape(total.shape)
            part *= weight[:, None] if axis == 0 else np.repeat(weight, values.shape[2])
            total += part
    return total.reshape(*shape, -1)
