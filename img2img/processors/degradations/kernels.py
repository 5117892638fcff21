"""Blur kernels: Gaussians of several kinds, plateaus, sinc, discs and motions, as formulas.

References:
    Wang et al., Real-ESRGAN (arXiv:2107.10833), sections 3.1 and 3.2; generalised Gaussians and plateaus are
    those of Liu et al. (2020), which it cites.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.processors.pixels import Values, by_channels

BlurKernel = NDArray[np.float32]  # (S,) of a separable isotropic one, or (S, S); its weights add up to 1
_LEAST = 2e-4  # of a kernel's weights: a border that holds less is left out, a twentieth of a level
_ANGLES = 128  # of the integral of a Bessel function: exact to 1e-12 up to arguments of about 60


def gaussian(size: int, sigma: float) -> BlurKernel:
    """Returns the isotropic Gaussian as a vector (size,), to be applied along both axes."""
    at = np.arange(size) - (size - 1) / 2
    return _normal(np.exp(-0.5 * (at / sigma) ** 2))


def generalised(size: int, sigmas: tuple[float, float], angle: float, shape: float = 1.0) -> BlurKernel:
    """Returns exp(-q^shape / 2) with q = x^T C^-1 x, (size, size); shape 1 is the Gaussian.

    Args:
        size: Pixels along a side, odd.
        sigmas: Standard deviations of the Gaussian along its two axes, in pixels.
        angle: Of the first axis against the horizontal, in radians.
        shape: Larger is flatter inside and steeper outside.
    """
    return _normal(np.exp(-0.5 * _distance(size, sigmas, angle) ** shape))


def plateau(size: int, sigmas: tuple[float, float], angle: float, shape: float = 1.0) -> BlurKernel:
    """Returns 1 / (1 + q^shape), with arguments as for `generalised`."""
    return _normal(1 / (1 + _distance(size, sigmas, angle) ** shape))


def sinc(size: int, cutoff: float) -> BlurKernel:
    """Returns the circular low-pass filter (size, size): it rings, as oversharpened pictures do.

    Args:
        size: Pixels along a side, odd.
        cutoff: The highest frequency that passes, in radians per pixel, up to pi.
    """
    radii, places = _radii(size)
    rings = np.full(len(radii), cutoff**2 / (4 * math.pi))
    rings[1:] = cutoff * _bessel(cutoff * radii[1:]) / (2 * math.pi * radii[1:])
    return _normal(rings[places])


def disc(radius: float) -> BlurKernel:
    """Returns the blur of a lens out of focus: an even disc whose rim is smoothed over a pixel."""
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _normal(np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def motion(length: float, angle: float, bend: float = 0.0) -> BlurKernel:
    """Returns the trace of a point that moves evenly along an arc.

    Args:
        length: Of the arc in pixels; 0 changes nothing.
        angle: Of the direction in its middle, counter-clockwise against the horizontal, in radians.
        bend: How far the direction turns from the beginning to the end, in radians.
    """
    count = max(1, math.ceil(8 * length))
    time = (np.arange(count) + 0.5) / count - 0.5
    direction = angle + bend * time
    step = length / count
    x, y = (np.cumsum(part) * step for part in (np.cos(direction), -np.sin(direction)))
    x, y = x - x.mean(), y - y.mean()
    reach = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - right - (x - left)) * np.abs(1 - down - (y - top))
            np.add.at(kernel, (top + down + reach, left + right + reach), weight)
    return _normal(kernel)


def blurred(values: Values, kernel: BlurKernel) -> Values:
    """Returns (H, W, C) correlated with `kernel`; beyond the border the picture is mirrored.

    Outer rings of next to no weight are left out: OpenCV takes several times as long from 13 pixels on.
    """
    border = cv2.BORDER_REFLECT
    kernel = _trimmed(kernel)
    if kernel.ndim == 1:
        return by_channels(lambda part: cv2.sepFilter2D(part, -1, kernel, kernel, borderType=border), values)
    return by_channels(lambda part: cv2.filter2D(part, -1, kernel, borderType=border), values)


def _trimmed(kernel: BlurKernel) -> BlurKernel:
    """Returns the middle of `kernel` without the outer rings that hold next to nothing."""
    middle = len(kernel) // 2
    if kernel.ndim == 1:
        rings = np.abs(kernel[middle:]) + np.abs(kernel[middle::-1])
    else:
        weights = np.abs(kernel).cumsum(axis=0).cumsum(axis=1)
        padded = np.pad(weights, ((1, 0), (1, 0)))
        at = np.arange(middle + 1)
        low, high = middle - at, middle + at + 1
        squares = padded[high, high] - padded[low, high] - padded[high, low] + padded[low, low]
        rings = np.diff(squares, prepend=0)
    beyond = rings[::-1].cumsum()[::-1]  # of each ring and those around it
    reach = max(0, int((beyond > _LEAST).sum()) - 1)
    if reach == middle:
        return kernel
    inside = slice(middle - reach, middle + reach + 1)
    return _normal(kernel[inside] if kernel.ndim == 1 else kernel[inside, inside])


def _normal(weights: NDArray[np.floating[Any]]) -> BlurKernel:
    return np.asarray(weights / weights.sum(), np.float32)


def _distance(size: int, sigmas: tuple[float, float], angle: float) -> NDArray[np.float64]:
    """Returns the squared distance from the middle in standard deviations."""
    y, x = _grid(size)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return np.asarray((along / sigmas[0]) ** 2 + (across / sigmas[1]) ** 2)


@lru_cache(maxsize=64)
def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.arange(size, dtype=np.float64) - (size - 1) / 2
    return at[:, None], at[None, :]


@lru_cache(maxsize=64)
def _radii(size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns the different distances from the middle, the smallest first, and which pixel has which."""
    y, x = _grid(size)
    squares, places = np.unique((x**2 + y**2).ravel(), return_inverse=True)
    return np.sqrt(squares), places.reshape(size, size)


def _bessel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns J1 by Bessel's integral, whose integrand is periodic: the midpoint rule is all but exact."""
    angles = (np.arange(_ANGLES) + 0.5) * (math.pi / _ANGLES)
    return np.asarray(np.cos(angles - x[:, None] * np.sin(angles)).mean(axis=1))
