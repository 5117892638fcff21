"""Grids of pictures: source, output and target side by side, a row for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from img2img.image import Image, write_image
from img2img.image.channels import from_channels
from img2img.image.image import Pixels
from img2img.image.palette import Palette
from img2img.image.sheet import sheet
from img2img.image.tensor import to_pixels
from img2img.methods import Column

CELL = 256


def write_grid(
    path: Path, grid: Mapping[str, Column], keys: Sequence[str], palette: Palette | None = None
) -> Image:
    """Writes a labelled sheet, and returns it.

    Args:
        path: The PNG file.
        grid: The columns by their captions.
        keys: Names of the samples, one for each row.
        palette: The colours of the classes, for one-hot label maps.
    """
    columns = {
        name: to_pixels(torch.nan_to_num(column.values.float()), column.value_range, np.uint8)
        for name, column in grid.items()
    }
    rows = []
    for row in range(min(map(len, columns.values()))):
        first = keys[row].split(" | ")[0] if row < len(keys) else ""  # of unpaired pictures A
        key = Path(first).name
        cells = [(_shown(pixels[row], palette), name) for name, pixels in columns.items()]
        cells[0] = (cells[0][0], f"{cells[0][1]}: {key}"[:36])
        rows.append(cells)
    width = max(CELL, *(pixels[0].shape[1] for pixels in columns.values()))
    picture = sheet(rows, cell_width=min(width, 512))
    write_image(picture, path)
    return picture


def _shown(pixels: Pixels, palette: Palette | None) -> Image:
    """Returns pixels of any number of channels as a picture; one-hot labels in their colours or in grey."""
    channels = pixels.shape[2]
    ones = (pixels == 255).sum(2) + channels * ((pixels > 0) & (pixels < 255)).any(2)
    of_classes = channels != 1 and bool((ones == 1).all())
    if palette is not None and channels == len(palette) and (of_classes or channels > 4):
        colours = np.asarray(palette)
        if colours.shape[1] == 3 and colours.max() <= 255:
            return Image(colours.astype(np.uint8)[pixels.argmax(2)])
    if channels > 4 or (of_classes and channels != 3):
        levels = pixels.argmax(2) * 255 // (channels - 1)
        return Image(np.asarray(levels[..., None], np.uint8))
    return Image(*from_channels(pixels, bands=0))
