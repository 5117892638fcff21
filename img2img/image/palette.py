"""Label maps: colours that stand for classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError, ProcessingError
from img2img.image.channels import as_grey
from img2img.image.image import Image, Pixels

Palette = tuple[tuple[int, ...], ...]
MOST = 256  # classes: an index is one byte
_AT_ONCE = 4096  # colours that are compared with the palette in one array


def indices(count: int) -> Palette:
    """Returns the palette of label maps whose one channel holds the numbers of `count` classes, from 0 on."""
    return tuple((number,) for number in range(count))


def require_classes(image: Image, pixels: Pixels, palette: Palette) -> None:
    """Makes sure that label maps of numbers hold those of `palette` alone; a near number is another class.

    Of a palette that is not of the numbers from 0 on, other colours may be blurred ones, and pass.

    Args:
        image: The label map as it is stored.
        pixels: (H, W, C) of integers, what is taken of it.
        palette: Colours of C values.

    Raises:
        ProcessingError: There is a number beyond the last, or there are colours in place of numbers.
    """
    if len(palette[0]) == 1 and as_grey(image).channels == 3:
        raise ProcessingError(
            "the label map has colours, and numbers in one channel are needed; convert each colour to the "
            "number of its class"
        )
    if palette == indices(len(palette)) and (most := int(pixels.max())) >= len(palette):
        share = float((pixels >= len(palette)).mean())
        raise ProcessingError(
            f"the label map holds the class {most}, and there are {len(palette)}, 0 to {len(palette) - 1} "
            f"({share:.1%} of the pixels lie beyond); set them to one of these, or give data.palette all "
            "numbers that there are before training"
        )


def collect(maps: Iterable[Pixels]) -> Palette:
    """Returns the colours of some label maps, sorted.

    Args:
        maps: Arrays (H, W, C) of integers, C the same in all.

    Raises:
        ConfigError: There are more than 256, as in maps that were stored as JPEG.
    """
    colours: set[tuple[int, ...]] = set()
    for pixels in maps:
        flat = pixels.reshape(-1, pixels.shape[2])
        colours.update(tuple(int(v) for v in colour) for colour in np.unique(flat, axis=0))
        if len(colours) > MOST:
            raise ConfigError(
                f"the label maps have more than {MOST} colours, so these cannot stand for classes (JPEG "
                "blurs colours into one another); give the true ones as data.palette."
            )
    return tuple(sorted(colours))


def one_hot(pixels: Pixels, palette: Palette) -> Pixels:
    """Returns label maps as a network takes them: one channel for each colour, white where it is.

    Args:
        pixels: (H, W, C) of integers.
        palette: Up to 256 colours of C values, in the depth of `pixels`.

    Returns:
        (H, W, colours) in uint8, 0 or 255.

    Raises:
        ValueError: The colours have another number of values than the pixels.
    """
    indices = classes(pixels, palette)
    return np.where(indices == np.arange(len(palette)), np.uint8(255), np.uint8(0))


def foreign(pixels: Pixels, palette: Palette) -> float:
    """Returns the share of the pixels (H, W, C) whose colour is not in `palette`, 0 to 1."""
    known = np.asarray(palette, pixels.dtype)[classes(pixels, palette)[..., 0]]
    return float((known != pixels).any(2).mean())


def classes(pixels: Pixels, palette: Palette) -> NDArray[np.uint8]:
    """Returns which colour of `palette` each pixel has, or is nearest to.

    Args:
        pixels: (H, W, C) of integers.
        palette: Up to 256 colours of C values, in the depth of `pixels`.

    Returns:
        (H, W, 1), the place in the palette.

    Raises:
        ValueError: The colours have another number of values than the pixels.
    """
    channels = pixels.shape[2]
    if len(palette[0]) != channels:
        raise ValueError(f"a palette of {len(palette[0])} values cannot tell {channels} channels apart")
    flat = pixels.reshape(-1, channels)
    if channels <= 3:  # one number each is much faster to sort
        codes = flat.astype(np.int64) @ 65536 ** np.arange(channels)
        _, first, back = np.unique(codes, return_index=True, return_inverse=True)
        colours = flat[first].astype(np.float64)
    else:
        unique, back = np.unique(flat, axis=0, return_inverse=True)
        colours = unique.astype(np.float64)
    known = np.asarray(palette, np.float64)
    closest = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), _AT_ONCE):
        some = colours[start : start + _AT_ONCE, None]
        closest[start : start + _AT_ONCE] = ((some - known) ** 2).sum(2).argmin(1)
    result: NDArray[np.uint8] = closest[back.reshape(-1)].reshape(*pixels.shape[:2], 1)
    return result
