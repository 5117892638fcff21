"""From one file to the array that is cached: everything about a picture that is not random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from img2img.errors import ImageReadError, ProcessingError
from img2img.image import Image, white_of
from img2img.image.channels import with_channels
from img2img.image.conversion import converted
from img2img.image.image import Pixels
from img2img.image.numbers import require_sound, to_unit
from img2img.image.palette import Palette, classes, require_classes, with_levels
from img2img.image.planes import ids_of, mask_of
from img2img.image.resize import covering, resize, resize_nearest
from img2img.types import ValueRange

_ASPECT = 0.02  # by which the proportions of partners may differ: rounding to whole pixels


@dataclass(frozen=True)
class Recipe:
    """How one side of a sample is prepared.

    Transparency and channels go the way of `img2img.image.channels.with_channels`, as in use. Colours are
    brought into sRGB, but not those of label maps, which are names.

    Attributes:
        size: (height, width) to resize to; None keeps the size of each picture.
        least: (height, width) that a picture has at least; a smaller one is enlarged, in its proportions.
        method: How it is resized.
        channels: Of the result; None takes what the file has.
        palette: The colours of a label map; the result is then the class of each pixel, (H, W, 1) in 8 or
            16 bits.
        labels: Whether it is a label map.
        kind: What it is: a "mask" becomes (H, W, 1) uint8 with 255 where it is white; "ids" become (H, W, 1)
            float32 with the numbers that stand in the file.
        numbers: Black and white in the numbers of the file; the result is then float32, limited to 0 and 1.
            None takes those of its depth.
        keep: Whether `size` is the least that a picture gets, in its proportions; else it is squeezed.
    """

    size: tuple[int, int] | None = None
    least: tuple[int, int] | None = None
    method: Literal["bicubic", "nearest"] = "bicubic"
    channels: int | None = None
    palette: Palette | None = None
    labels: bool = False
    numbers: ValueRange | None = None
    keep: bool = False
    kind: Literal["picture", "mask", "ids"] = "picture"

    def like(self, image: Image, path: Path) -> Recipe:
        """Returns the recipe that brings partners of `image`, from the file `path`, to its size.

        Raises:
            ImageReadError: It is much too long.
        """
        if self.size is None or not self.keep:
            return self
        try:
            size = covering((image.height, image.width), self.size)
        except ProcessingError as error:
            raise ImageReadError(str(error).rstrip("."), path) from error
        return replace(self, size=size, keep=False)

    def __call__(self, image: Image, path: Path) -> Pixels:
        """Returns the array (H, W, C) for `image`, in its own depth unless there are `numbers`.

        Raises:
            ImageReadError: Its channels cannot be brought to those that are wanted, its depth does not hold
                `numbers`, a value is not finite or stands for "no data", or it is much too long; `path` is
                named.
        """
        if self.kind != "picture":
            return self._exact(image, path)
        channels = len(self.palette[0]) if self.palette else self.channels
        try:
            if self.palette:
                image = with_levels(image)
            if self.numbers is not None:
                image = to_unit(image, self.numbers)
            pixels = seen(
                image if self.labels else converted(image), channels, path, unmixed=self.method == "nearest"
            )
            require_sound(pixels, self.numbers)
            if self.palette:
                require_classes(image, pixels, self.palette)
            if self.numbers is not None:
                pixels = np.clip(pixels, 0, 1)
            pixels = self._sized(pixels)
        except ProcessingError as error:
            raise ImageReadError(str(error).rstrip("."), path) from error
        return classes(pixels, self.palette) if self.palette else pixels

    def _sized(self, pixels: Pixels) -> Pixels:
        """Returns `pixels` at the size that is wanted."""
        height, width = self._extent(*pixels.shape[:2])
        if (height, width) == pixels.shape[:2]:
            return pixels
        resized = resize_nearest if self.method == "nearest" else resize
        return resized(pixels, height, width)

    def _extent(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size that a picture of this one gets."""
        if self.size is not None:
            return covering((height, width), self.size) if self.keep else self.size
        if self.least is not None and (height < self.least[0] or width < self.least[1]):
            return covering((height, width), self.least)
        return height, width

    def _exact(self, image: Image, path: Path) -> Pixels:
        """Returns a mask or a map of ids."""
        try:
            if self.kind == "mask":
                return self._sized(mask_of(image)[0] * np.uint8(255))
            return self._sized(ids_of(image).astype(np.float32))
        except ProcessingError as error:
            raise ImageReadError(str(error).rstrip("."), path) from error


def seen(image: Image, channels: int | None, path: Path, unmixed: bool = False) -> Pixels:
    """Returns what a network with `channels` sees of `image`; None takes as many as it has without alpha.

    Raises:
        ImageReadError: There is no way from its channels to those.
    """
    try:
        return with_channels(image, image.channels if channels is None else channels, unmixed)
    except ProcessingError as error:
        raise ImageReadError(str(error).rstrip("."), path) from error


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

    def part(columns: slice) -> Image:
        return image.replace(
            pixels=image.pixels[:, columns], alpha=None if alpha is None else alpha[:, columns]
        )

    return part(slice(None, middle)), part(slice(middle, None))


def one_view(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Returns whether pictures of two sizes (height, width) may show the same, up to whole pixels."""
    return 1 / (1 + _ASPECT) < (a[1] * b[0]) / (a[0] * b[1]) < 1 + _ASPECT


def deepest(arrays: list[Pixels]) -> list[Pixels]:
    """Returns arrays of 8 and 16 bits and of floats as the deepest of them; black and white stay."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1:
        return arrays
    if np.dtype(np.float32) in dtypes:
        return [(array / np.float32(white_of(array.dtype))).astype(np.float32) for array in arrays]
    return [array if array.dtype == np.uint16 else array.astype(np.uint16) * 257 for array in arrays]
