"""Noise: Gaussian, of counted events (Poisson), and of a sensor; in colour, or grey, the same everywhere."""

from __future__ import annotations

import numpy as np

from img2img.processors.pixels import Values, luma

_FEW = 8.0  # expected events below which they are drawn one by one


def gaussian_noise(values: Values, sigma: float, grey: bool, stream: np.random.Generator) -> Values:
    """Returns `values` with white noise.

    Args:
        values: (H, W, C).
        sigma: Standard deviation, as a part of white.
        grey: Whether all channels get the same.
        stream: Where it comes from.
    """
    return values + np.float32(sigma) * _normal(values, grey, stream)


def poisson_noise(
    values: Values, strength: float, grey: bool, stream: np.random.Generator, levels: float = 255
) -> Values:
    """Returns `values` with the noise of counted events: a variance of strength^2 * value / levels.

    Real-ESRGAN's code counts the levels of each picture and rounds up to a power of two, which is 256 for
    nearly every photograph; here they are given.

    Args:
        values: (H, W, C), at least 0.
        strength: By which the noise is multiplied.
        grey: Whether all channels get the noise of the luma.
        stream: Where it comes from.
        levels: How many events are white.
    """
    base = luma(values)[:, :, None] if grey else values
    expected = base * np.float32(levels)
    noise = (_events(expected, stream) - expected) * np.float32(strength / levels)
    return np.asarray(values + noise, np.float32)


def sensor_noise(
    values: Values, sigma: float, floor: float, grey: bool, stream: np.random.Generator
) -> Values:
    """Returns `values` with noise that grows with brightness, as that of cameras.

    The variance is sigma^2 * (floor + (1 - floor) * 2 * value): at middle grey the noise is as strong as
    `gaussian_noise` would be.

    Args:
        values: (H, W, C), at least 0.
        sigma: Standard deviation at middle grey, as a part of white.
        floor: Portion of the variance that does not depend on brightness, from 0 to 1.
        grey: Whether all channels get the same, by the luma.
        stream: Where it comes from.
    """
    base = luma(values)[:, :, None] if grey else values
    spread = np.sqrt(np.float32(sigma**2 * floor) + np.float32(2 * sigma**2 * (1 - floor)) * base)
    return np.asarray(values + spread * _normal(values, grey, stream), np.float32)


def _normal(values: Values, grey: bool, stream: np.random.Generator) -> Values:
    height, width, channels = values.shape
    return stream.standard_normal((height, width, 1 if grey else channels), np.float32)


def _events(expected: Values, stream: np.random.Generator) -> Values:
    """Returns whole numbers whose expectation, variance and skewness are those of Poisson's distribution.

    Where many are expected, they come from a normal number by the expansion of Cornish and Fisher; its square
    and the rounding add 1/18 and 1/12 to the variance, which are taken off. That is ten times as fast as
    drawing them all one by one.
    """
    normal = stream.standard_normal(expected.shape, np.float32)
    spread = np.sqrt(np.maximum(expected - np.float32(1 / 18 + 1 / 12), 0))
    events = np.rint(expected + spread * normal + (normal * normal - 1) * np.float32(1 / 6))
    few = expected < _FEW
    if few.any():
        events[few] = stream.poisson(np.maximum(expected[few], 0))
    return np.asarray(events, np.float32)
