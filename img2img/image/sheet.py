"""Labelled contact sheets: results that people would rather look at than read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from img2img.image.alpha import over_white
from img2img.image.conversion import converted
from img2img.image.image import Image, white_of

GAP = 6
CAPTION = 22
SheetRow = Sequence[tuple[Image, str]]
"""Pictures with their captions."""


def sheet(rows: Sequence[SheetRow], cell_width: int = 480) -> Image:
    """Lays pictures out in rows, each over its caption.

    Args:
        rows: Pictures with captions; a row may be shorter than the others. Pictures of any size, depth and
            number of channels; alpha is shown over white, and of more than three channels the first three.
        cell_width: Width of one picture on the sheet in pixels. Larger pictures are reduced to it, smaller
            ones are enlarged by whole factors with nearest neighbour, so that single pixels stay visible.

    Returns:
        An 8-bit RGB picture.

    Raises:
        ValueError: There is no picture at all.
    """
    cells = [[(_fit(displayable(image), cell_width), caption) for image, caption in row] for row in rows]
    if not any(cells):
        raise ValueError("a contact sheet needs at least one picture")
    heights = [max((picture.height for picture, _ in row), default=0) for row in cells]
    width = max(len(row) for row in cells) * (cell_width + GAP) + GAP
    height = sum(heights) + len(rows) * (CAPTION + GAP) + GAP
    canvas = PIL.Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    top = GAP
    for row, row_height in zip(cells, heights, strict=True):
        for column, (picture, caption) in enumerate(row):
            left = GAP + column * (cell_width + GAP)
            canvas.paste(picture, (left + (cell_width - picture.width) // 2, top))
            draw.text((left, top + row_height + 2), caption, fill="black", font=font)
        top += row_height + CAPTION + GAP
    return Image(np.asarray(canvas))


def hardest(truth: Image, guess: Image, height: int, width: int, step: int = 1) -> tuple[int, int]:
    """Returns where a picture differs most from the true one: what a comparison should show.

    Args:
        truth: The true picture.
        guess: Another of its size and channels.
        height: Of the part that is looked for, a multiple of `step`; at most that of the picture.
        width: The same across.
        step: The corner lies at multiples of this.

    Returns:
        The top and the left of the part of `height` x `width` pixels with the largest squared difference.
    """
    apart = truth.pixels.astype(np.float64) - guess.pixels
    error = (apart * apart).sum(2)
    rows, columns = (side - side % step for side in error.shape)
    blocks = error[:rows, :columns].reshape(rows // step, step, columns // step, step).sum((1, 3))
    sums = np.pad(blocks, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    high, wide = height // step, width // step
    parts = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    top, left = np.unravel_index(int(parts.argmax()), parts.shape)
    return int(top) * step, int(left) * step


def displayable(image: Image) -> PIL.Image.Image:
    """Returns `image` as it looks on a screen: 8-bit sRGB over white, of more than three channels three."""
    pixels = converted(over_white(image)).pixels[..., :3]
    unit = np.clip(pixels.astype(np.float32) / white_of(pixels.dtype), 0, 1)
    if unit.shape[2] != 3:
        unit = np.repeat(unit[..., :1], 3, axis=2)
    eight_bit: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8)
    return PIL.Image.fromarray(eight_bit)


def _fit(picture: PIL.Image.Image, width: int) -> PIL.Image.Image:
    factor = width / picture.width
    if factor < 1:
        size = (width, max(1, round(picture.height * factor)))
        return picture.resize(size, PIL.Image.Resampling.LANCZOS)
    times = int(factor)
    return picture.resize((picture.width * times, picture.height * times), PIL.Image.Resampling.NEAREST)
