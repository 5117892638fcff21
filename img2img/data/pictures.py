"""From one file to the array that is cached: everything about a picture that is not random."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from img2img.errors import ImageReadError
from img2img.image import Image, read_image, white_of
from img2img.image.alpha import over_white
from img2img.image.image import Pixels
from img2img.image.palette import Palette, classes
from img2img.image.resize import resize

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601


@dataclass(frozen=True)
class Recipe:
    """How one side of a sample is prepared.

    Transparent pictures are laid over white, unless the network takes alpha as its fourth channel. Grey
    becomes colour by repetition, and colour becomes grey as BT.601 luma.

    Attributes:
        size: (height, width) to resize to, whatever the proportions; None keeps the size of each picture.
        least: (height, width) that a picture has at least; a smaller one is enlarged, in its proportions.
        method: How it is resized.
        channels: Of the result; None takes what the file has.
        palette: The colours of a label map; the result is then the class of each pixel, (H, W, 1) uint8.
    """

    size: tuple[int, int] | None = None
    least: tuple[int, int] | None = None
    method: Literal["bicubic", "nearest"] = "bicubic"
    channels: int | None = None
    palette: Palette | None = None

    def __call__(self, image: Image, path: Path) -> Pixels:
        """Returns the array (H, W, C) for `image`, in its own depth.

        Raises:
            ImageReadError: Its channels cannot be brought to those that are wanted; `path` is named.
        """
        pixels = flat(image, len(self.palette[0]) if self.palette else self.channels, path)
        height, width = pixels.shape[:2]
        if self.size is not None:
            height, width = self.size
        elif self.least is not None and (height < self.least[0] or width < self.least[1]):
            factor = max(self.least[0] / height, self.least[1] / width)
            height = max(self.least[0], round(height * factor))
            width = max(self.least[1], round(width * factor))
        if (height, width) != pixels.shape[:2]:
            pixels = (
                nearest(pixels, height, width) if self.method == "nearest" else resize(pixels, height, width)
            )
        return classes(pixels, self.palette) if self.palette else pixels


def flat(image: Image, channels: int | None, path: Path) -> Pixels:
    """Returns the pixels of `image` without transparency, with the number of channels that is wanted.

    Raises:
        ImageReadError: There is no way from its channels to those.
    """
    pixels = image.pixels
    if image.alpha is not None:
        if channels == image.channels + 1 == 4:
            return np.concatenate((pixels, image.alpha[..., None]), 2)
        pixels = over_white(image).pixels
    elif channels == image.channels + 1 == 4:
        opaque = np.full((*pixels.shape[:2], 1), image.white, pixels.dtype)
        return np.concatenate((pixels, opaque), 2)
    if channels is None or channels == pixels.shape[2]:
        return pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, channels, 2)
    if channels == 1 and pixels.shape[2] == 3:
        luma = pixels.astype(np.float32) @ LUMA
        return (luma if pixels.dtype == np.float32 else np.rint(luma)).astype(pixels.dtype)[..., None]
    raise ImageReadError(
        f"the picture has {pixels.shape[2]} channels and {channels} are wanted; what can be converted is "
        "grey to any number, and colour to grey",
        path,
    )


def nearest(pixels: Pixels, height: int, width: int) -> Pixels:
    """Returns `pixels` (H, W, C) at another size; each pixel is the one whose centre is nearest."""
    rows = ((np.arange(height) + 0.5) * pixels.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * pixels.shape[1] / width).astype(np.int64)
    return np.ascontiguousarray(pixels[rows[:, None], columns])


def halves(image: Image, path: Path) -> tuple[Image, Image]:
    """Returns the left and the right half of a side-by-side file.

    Raises:
        ImageReadError: Its width is odd, so it is not two pictures of one size.
    """
    if image.width % 2:
        raise ImageReadError(
            f"a side-by-side file has an even width, and this one has {image.width} columns", path
        )
    middle = image.width // 2
    alpha = image.alpha
    left = Image(image.pixels[:, :middle], None if alpha is None else alpha[:, :middle])
    return left, Image(image.pixels[:, middle:], None if alpha is None else alpha[:, middle:])


def read(path: Path) -> Image:
    """Returns the picture in a file.

    Raises:
        ImageReadError: It cannot be read; without enough memory, too.
    """
    return read_image(path)


def deepest(arrays: list[Pixels]) -> list[Pixels]:
    """Returns arrays of 8 and 16 bits and of floats as the deepest of them; black and white stay."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1:
        return arrays
    if np.dtype(np.float32) in dtypes:
        return [(array / np.float32(white_of(array.dtype))).astype(np.float32) for array in arrays]
    return [array if array.dtype == np.uint16 else array.astype(np.uint16) * 257 for array in arrays]
