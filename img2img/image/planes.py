"""Pictures that are none: masks, and maps of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ProcessingError
from img2img.image.image import Image

_LARGEST = 2**31 - 1  # an int32
_ROWS = 256  # looked at once: sums of channels take more memory than the levels


def mask_of(image: Image) -> tuple[NDArray[np.uint8], list[str]]:
    """Returns where a mask is white.

    Channels are averaged. What is rather transparent than opaque is not white.

    Args:
        image: Any picture.

    Returns:
        (H, W, 1): 1 where the level is above half of white, else 0; and a sentence if nothing is, although
        the picture is not black.

    Raises:
        ProcessingError: It holds values that are no finite numbers.
    """
    pixels, white = painted(image).pixels, image.white
    brightest = 0.0
    mask = np.empty((image.height, image.width, 1), np.uint8)
    for top in range(0, image.height, _ROWS):
        rows = pixels[top : top + _ROWS]
        if pixels.dtype == np.float32 and not np.isfinite(rows).all():
            raise ProcessingError(
                "the mask holds values that are not finite numbers; white marks, black does not."
            )
        kind = np.float64 if pixels.dtype == np.float32 else np.uint32
        sums = rows.sum(2, dtype=kind)
        brightest = max(brightest, float(sums.max()) / image.channels)
        mask[top : top + _ROWS, :, 0] = 2 * sums > white * image.channels
    if brightest <= 0 or mask.any():
        return mask, []
    mean = " (the mean of its channels)" if image.channels > 1 else ""
    return mask, [
        f"the mask marks nothing: its brightest level{mean} is {brightest:g} of {white:g}, and white begins "
        "above the half"
    ]


def painted(mask: Image) -> Image:
    """Returns a mask without alpha, and black where it is rather transparent than opaque."""
    if mask.alpha is None:
        return mask
    pixels = np.where((mask.alpha > mask.white / 2)[..., None], mask.pixels, np.zeros_like(mask.pixels[0, 0]))
    return mask.replace(pixels=pixels, alpha=None)


def ids_of(image: Image) -> NDArray[np.int32]:
    """Returns a map of numbers of objects as they stand in the picture, never scaled; alpha does not count.

    Args:
        image: One channel, or several that are equal, of whole numbers.

    Returns:
        (H, W, 1).

    Raises:
        ProcessingError: The channels differ, a value is not whole or too large, or it comes from a JPEG file.
    """
    first = image.pixels[..., :1]
    if image.jpeg_quality is not None:
        raise ProcessingError(
            "an id map is stored without loss, and this one as JPEG, which mixes the numbers of neighbours; "
            "store it as PNG or TIFF."
        )
    if first.dtype == np.float32 and not np.isfinite(image.pixels).all():
        raise ProcessingError("an id map holds whole numbers, and this picture values that are none (NaN).")
    if not (first == image.pixels).all():
        raise ProcessingError(
            f"an id map has one channel, and this picture has {image.channels} that differ; store the "
            "numbers as a grey picture of 8 or 16 bits."
        )
    if first.dtype == np.float32 and not (np.rint(first) == first).all():
        raise ProcessingError("an id map holds whole numbers, and this picture holds fractions.")
    return whole(first)


def whole(numbers: NDArray[np.generic]) -> NDArray[np.int32]:
    """Returns whole numbers of any type as int32.

    Raises:
        ProcessingError: One is too large.
    """
    if numbers.min() < -_LARGEST or numbers.max() > _LARGEST:
        raise ProcessingError(f"an id map holds numbers up to {_LARGEST}, and this one larger ones.")
    return numbers.astype(np.int32)
