"""What can be told of the damage in a picture without knowing the picture that it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal
from weakref import WeakKeyDictionary

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
_GRID = 8  # pixels of a block of JPEG
_MIDDLE = 1024  # pixels along a side of the part in which its borders are looked for
_SMALLEST = 49  # side of a picture that tells of them; icons have up to 48
_STEP, _EDGE = 8.0, 32.0  # levels that one place counts at most, and from which on it is an edge

VisibleDamage = Literal["compression", "noise"]
VISIBLE = {"jpeg_quality": 80, "blocks": 0.5, "noise": 4.5}
"""From where on damage counts as visible: below that quality, at or above the other two."""
_known: WeakKeyDictionary[Image, Mapping[str, Any]] = WeakKeyDictionary()


def estimates(image: Image) -> Mapping[str, Any]:
    """Returns what a report says of a source, to be asked as often as one likes.

    Returns:
        {"jpeg_quality": 35, "blocks": 1.31, "noise": 2.8}: see `Image`, `blocks` and `noise`; None for what
        the picture does not tell.
    """
    found = _known.get(image)
    if found is None:
        with np.errstate(all="ignore"):  # what is not finite tells nothing
            told = {"blocks": blocks(image), "noise": noise(image)}
        rounded = {
            name: None if value is None or not math.isfinite(value) else round(value, 2)
            for name, value in told.items()
        }
        found = _known[image] = {"jpeg_quality": image.jpeg_quality, **rounded}
    return found


def damages(found: Mapping[str, Any]) -> frozenset[VisibleDamage]:
    """Returns what is visible of the damage that `estimates` has found."""
    quality, steps, deviation = (found.get(name) for name in ("jpeg_quality", "blocks", "noise"))
    seen: set[VisibleDamage] = set()
    if (quality is not None and quality < VISIBLE["jpeg_quality"]) or (steps or 0) >= VISIBLE["blocks"]:
        seen.add("compression")
    if (deviation or 0) >= VISIBLE["noise"] and steps is not None:  # icons are all detail
        seen.add("noise")
    return frozenset(seen)


def blocks(image: Image) -> float | None:
    """Estimates how much the borders of JPEG's blocks stand out, whatever file the picture is in.

    Differences between neighbours are compared with those beside them. Where they are larger at one of the
    eight places that a grid of 8 pixels can have, across as well as down, the picture was compressed; by how
    much they exceed those at every other place is the estimate. The grid may begin anywhere. It is gone when
    a picture has been resized since, and is hidden by noise that came later.

    Args:
        image: Of any depth; of a large one the middle is looked at.

    Returns:
        In levels of 8 bits, for most photographs 0 to 0.2 without a grid, 0.3 to 0.6 after quality 75, 2
        after 10. None where the picture is too small.
    """
    if min(image.height, image.width) < _SMALLEST:
        return None
    top, left = (max(0, (side - _MIDDLE) // 2) for side in (image.height, image.width))
    band = image.pixels[..., image.channels // 2]  # green, or all there is
    values = band[top : top + _MIDDLE, left : left + _MIDDLE].astype(np.float32)
    values *= np.float32(255 / image.white)
    return max(0.0, min(_excess(values), _excess(values.T)))


def _excess(values: Pixels) -> float:
    """Returns by how much differences along the rows of (H, W) are larger at the worst of eight places."""
    apart = np.abs(np.diff(values, axis=1))
    here = apart[:, 1:-1]
    more = np.clip(here - (apart[:, :-2] + apart[:, 2:]) / 2, -_STEP, _STEP)
    columns = np.where(here > _EDGE, 0, more).mean(0)
    second, largest = np.sort([columns[place::_GRID].mean() for place in range(_GRID)])[-2:]
    return float(largest - second)


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
