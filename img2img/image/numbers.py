"""Pictures whose numbers are measurements: 12 bits in 16-bit files, Hounsfield units, floats of 0 to 255.

What black and white are in their own numbers is said by whoever knows; here they become 0 and 1 and back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from img2img.errors import ProcessingError
from img2img.image.alpha import visible
from img2img.image.image import Image, Pixels, white_of
from img2img.types import ValueRange

_STEPS = 64  # whole numbers that are few are no shades
_NOT_FINITE = "the picture holds values that are not finite numbers; give such places a number"
FARTHEST = 1e6  # times white: beyond it a value is no brightness, but says that there is none (1e38, -2**31)


def to_unit(image: Image, numbers: ValueRange) -> Image:
    """Returns `image` in float32 with what stands for black at 0 and for white at 1; nothing is limited.

    Args:
        image: Any picture.
        numbers: Black and white in its own numbers. Alpha has those of its depth.

    Raises:
        ProcessingError: Its depth ends below white, so it is a picture of another kind.
    """
    dtype, (low, high) = image.pixels.dtype, numbers
    if dtype != np.float32 and white_of(dtype) < high:
        raise ProcessingError(
            f"the picture has {8 * dtype.itemsize} bits (0 to {white_of(dtype):.0f}), and {words(numbers)} "
            "are expected (data.range); convert it to the depth of the others"
        )
    with np.errstate(all="ignore"):  # what comes out of it is looked at afterwards
        pixels = (image.pixels.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    alpha = image.alpha
    if alpha is not None:
        alpha = np.clip(alpha.astype(np.float32) / np.float32(image.white), 0, 1)
    return image.replace(pixels=pixels, alpha=alpha)


def from_unit(image: Image, numbers: ValueRange, dtype: np.dtype[Any]) -> Image:
    """Returns a float32 picture with black at 0 and white at 1 in numbers of its own.

    Args:
        image: The picture.
        numbers: What black and white become.
        dtype: Of the result. Integers are rounded and limited to `numbers`, floats are not.
    """
    low, high = numbers
    pixels, alpha = image.pixels * np.float32(high - low) + np.float32(low), image.alpha
    if dtype != np.float32:
        white = white_of(dtype)
        pixels = np.clip(np.rint(pixels), max(low, 0), min(high, white)).astype(dtype)
        alpha = None if alpha is None else np.clip(np.rint(alpha * white), 0, white).astype(dtype)
    return image.replace(pixels=pixels, alpha=alpha)


def depth_of(numbers: ValueRange, like: np.dtype[Any], same: bool) -> np.dtype[Any]:
    """Returns the dtype that holds `numbers`: `like` if it can, otherwise the one that is usual for them.

    Args:
        numbers: Black and white.
        like: Of the picture that went in.
        same: Whether `numbers` are those of that picture, too; then floats stay floats.
    """
    low, high = numbers
    if same and like == np.float32:
        return like
    for dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        if (low, high) == (0, white_of(dtype)):
            return dtype
    holds = like != np.float32 and low >= 0 and _STEPS <= high <= white_of(like)
    return like if holds else np.dtype(np.float32)


def require_sound(pixels: Pixels, numbers: ValueRange | None = None) -> None:
    """Makes sure that a network can be shown pixels whose black is 0, and white 1 if they are floats.

    Args:
        pixels: Of any depth; integers are always sound.
        numbers: What they were before `to_unit`, for the message.

    Raises:
        ProcessingError: A value is no finite number, or so large that it stands for something else.
    """
    if pixels.dtype != np.float32:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if low >= -FARTHEST and high <= FARTHEST:
        return
    if not np.isfinite([low, high]).all():
        raise ProcessingError(_NOT_FINITE)
    black, white = numbers or (0.0, 1.0)
    far = (low if low < -FARTHEST else high) * (white - black) + black
    raise ProcessingError(
        f"the picture holds the value {far:.3g}, as files do where there is no data; give such places a "
        f"number near the others{'' if numbers else ', or say with data.range what black and white are'}"
    )


def limits(image: Image) -> tuple[float, float]:
    """Returns the least and the greatest of what can be seen and of alpha; NaN where one of them is none."""
    seen = visible(image)
    planes = [image.pixels if seen is None else image.pixels[seen]]
    planes += [] if image.alpha is None else [image.alpha]
    return float(np.min([plane.min() for plane in planes])), float(np.max([plane.max() for plane in planes]))


def require_finite(image: Image) -> None:
    """Makes sure that one can compute with a picture of any depth.

    Raises:
        ProcessingError: A value that can be seen, or one of alpha, is no finite number.
    """
    if image.pixels.dtype == np.float32 and not np.isfinite(limits(image)).all():
        raise ProcessingError(_NOT_FINITE)


def words(numbers: ValueRange) -> str:
    """Returns "-1000 to 3000"."""
    return f"{numbers.low:g} to {numbers.high:g}"
