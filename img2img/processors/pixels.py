"""The arithmetic that operations share: one scale for all depths, luma, curves, and opacity as a weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.image.alpha import Values as Values
from img2img.image.alpha import bleed
from img2img.image.image import Image, Pixels, white_of

Filter = Callable[[Pixels], Pixels]


def unit(pixels: Pixels) -> Values:
    """Returns `pixels` of any depth as fractions of white; float32 comes back as it is, not as a copy."""
    if pixels.dtype == np.float32:
        return pixels
    values = pixels.astype(np.float32)
    values *= np.float32(1 / white_of(pixels.dtype))
    return values


def restore(values: NDArray[np.floating[Any]] | np.floating[Any], dtype: np.dtype[Any]) -> Pixels:
    """Returns fractions of white as pixels; integers are rounded (half to even) and cut, floats are not."""
    if dtype == np.float32:
        return np.ascontiguousarray(values, np.float32)
    white = white_of(dtype)
    scaled = np.asarray(np.multiply(values, white, dtype=values.dtype))
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, white, out=scaled)
    return np.asarray(scaled, dtype)


def luma(values: Values) -> Values:
    """Returns the luma (H, W) of (H, W, C): BT.601 of three channels, the mean of any other number."""
    if values.shape[2] == 1:
        return np.asarray(values[:, :, 0])
    if values.shape[2] == 3:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2GRAY))
    return np.asarray(values.mean(axis=2, dtype=np.float32))


def spread(plane: Pixels, channels: int) -> Pixels:
    """Returns (H, W) repeated to (H, W, channels); much faster than broadcasting along so short an axis."""
    if channels in (2, 3, 4):
        return np.asarray(cv2.merge([np.ascontiguousarray(plane)] * channels))
    return np.repeat(plane[:, :, None], channels, axis=2)


def curve(pixels: Pixels, tone: Callable[[Any], Any]) -> Pixels:
    """Applies `tone`, elementwise on fractions of white; for integers it becomes a table."""
    if pixels.dtype == np.float32:
        return np.ascontiguousarray(tone(pixels), np.float32)
    table = restore(tone(np.linspace(0, 1, int(white_of(pixels.dtype)) + 1)), pixels.dtype)
    if pixels.dtype == np.uint8:
        return np.asarray(cv2.LUT(np.ascontiguousarray(pixels), table)).reshape(pixels.shape)
    return np.take(table, pixels)


def by_channels(function: Filter, pixels: Pixels, most: int = 4) -> Pixels:
    """Applies an OpenCV `function`, which takes (H, W) and up to (H, W, most), to (H, W, C) with any C."""
    parts = []
    for start in range(0, pixels.shape[2], most):
        part = np.ascontiguousarray(pixels[:, :, start : start + most])
        part = np.asarray(function(part[:, :, 0] if part.shape[2] == 1 else part))
        parts.append(part.reshape(*part.shape[:2], -1))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def sample(pixels: Pixels, seen: NDArray[np.bool_] | None = None) -> Pixels:
    """Returns about a million pixels, or all of fewer: enough to estimate from.

    Args:
        pixels: (H, W) or (H, W, C).
        seen: Which (H, W) count; None counts all.

    Returns:
        (N) or (N, C), evenly spread, at least one where one counts.
    """
    if seen is not None:
        chosen = pixels[seen]
        return chosen[:: max(1, round(len(chosen) / 1e6))]
    step = max(1, round((pixels.shape[0] * pixels.shape[1] / 1e6) ** 0.5))
    return np.ascontiguousarray(pixels[::step, ::step]).reshape(-1, *pixels.shape[2:])


def through_opacity(image: Image, function: Filter) -> Image:
    """Applies a linear `function` (a blur, a resampling) to pixels and alpha, colours weighted by their
    opacity.

    Without the weight the colours that hide under transparent pixels, often black, leak out as dark halos.
    Where next to nothing can be seen, colours are those around it.

    Args:
        image: Any image.
        function: Takes (H, W, C) of any dtype and C, returns (H', W', C) of the same dtype.
    """
    if image.alpha is None:
        return image.replace(pixels=function(image.pixels))
    if image.alpha.min() >= image.white:
        return image.replace(pixels=function(image.pixels), alpha=function(image.alpha[:, :, None])[:, :, 0])
    colours, opacity = unit(bleed(image).pixels), unit(image.alpha)
    plain = function(colours)
    weighted = function(colours * spread(opacity, image.channels))
    alpha = np.clip(function(opacity[:, :, None])[:, :, 0], 0, 1)
    enough = spread(alpha, image.channels) > 1 / 512  # below, nothing can be seen, and the quotient is noise
    np.divide(weighted, spread(alpha, image.channels), out=plain, where=enough)
    return image.replace(pixels=restore(plain, image.pixels.dtype), alpha=restore(alpha, image.pixels.dtype))
