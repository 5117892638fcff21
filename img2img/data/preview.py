"""Pictures for people: what the network will see, and what `check` complains about."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np

from img2img.data.datasets import Dataset, Part
from img2img.data.findings import Case, Checked
from img2img.errors import ImageError
from img2img.image import Image, read_image
from img2img.image.channels import from_channels
from img2img.image.image import Pixels

Cell = tuple[Image, str]
_IN_A_ROW = 6
_CAPTION = 32  # characters below a picture that is 256 pixels wide


def preview(dataset: Dataset, samples: int, epochs: int) -> list[list[Cell]]:
    """Returns the pictures of some samples as training gets them: resized, augmented, cut and mirrored.

    Args:
        dataset: `Data.train` of `open_data`.
        samples: How many samples, evenly spread over the pictures: one row each.
        epochs: How many of their random versions, side by side: every field of each.

    Raises:
        ProcessingError: None of the pictures can be read.
    """
    samples = min(samples, len(dataset))
    places = np.arange(samples) * max(dataset.count, samples) // samples
    rows = []
    for index in places.tolist():
        row = []
        for epoch in range(epochs):
            sample = dataset[epoch, index]
            for number, (name, part) in enumerate(sample.fields.items()):
                caption = _short(sample.key) if number == 0 else f"{name}, epoch {epoch}"
                row.append((_shown(dataset, name, part), caption))
        rows.append(row)
    return rows


def seen(part: Part, classes: int = 0) -> Pixels:
    """Returns what the network gets of a part: its window, turned. Classes are shown as colours."""
    pixels = part.cut().pixels
    axes = tuple(axis for axis, bit in ((1, 1), (0, 2)) if part.turn & bit)
    pixels = np.flip(pixels, axes) if axes else pixels
    pixels = pixels.swapaxes(0, 1) if part.turn & 4 else pixels
    return _wheel(classes)[pixels[..., 0]] if classes else pixels


def offenders(checked: Checked, most: int = 60) -> list[list[Cell]]:
    """Returns pictures of what was found, some of each finding first; what cannot be read is grey.

    Args:
        checked: From `check`.
        most: Pictures on the sheet.
    """
    groups: list[tuple[str, list[Case]]] = [(f.kind, list(f.cases)) for f in checked.findings if f.cases]
    rows: list[list[Cell]] = []
    left = most
    while left > 0 and any(cases for _, cases in groups):
        for kind, cases in groups:
            row: list[Cell] = []
            while cases and left > 0 and (not row or len(row) + len(cases[0].files) <= _IN_A_ROW):
                case = cases.pop(0)
                cells = [_cell(path, kind) for path in case.files[:_IN_A_ROW]]
                row += cells
                left -= len(cells)
            rows += [row] if row else []
    return rows


def _shown(dataset: Dataset, name: str, part: Part) -> Image:
    """Returns one field of a sample as a picture: ids in colours, a vector as bars."""
    kind = dataset.fields[name].kind
    if kind == "vector":
        return _bars(part.pixels)
    pixels = seen(part, dataset.classes.get(name, 0))
    if kind == "ids":
        _, places = np.unique(pixels, return_inverse=True)
        return Image(_wheel(int(places.max()) + 1)[places.reshape(pixels.shape[:2])])
    return _picture(pixels)


def _bars(values: Pixels) -> Image:
    """Returns numbers as bars from a line in the middle, the longest at full height; few in a square."""
    height, width = 64, max(2, 129 // len(values))
    chart = np.full((2 * height + 1, width * len(values), 1), 255, np.uint8)
    chart[height] = 128
    most = float(np.abs(values).max()) or 1.0
    for place, value in enumerate(values):
        end = height - round(height * float(value) / most)
        rows = slice(min(end, height), max(end, height) + 1 if value else height)
        chart[rows, place * width + (width > 3) : (place + 1) * width - 1] = 0
    return Image(chart)


def _picture(pixels: Pixels) -> Image:
    """Returns what a network gets as a picture, of four or two channels with alpha."""
    return Image(*from_channels(pixels, bands=0))


def _cell(file: Path, kind: str) -> Cell:
    try:
        image = read_image(file)
    except ImageError:
        image = Image(np.full((32, 128, 1), 128, np.uint8))
    return image, _short(f"{kind}: {file.parent.name}/{file.name}")


def _short(text: str) -> str:
    """Returns `text` with its middle left out where a caption has no room for it."""
    return text if len(text) <= _CAPTION else f"{text[: _CAPTION // 2]}...{text[3 - _CAPTION // 2 :]}"


def _wheel(classes: int) -> Pixels:
    """Returns one colour for each class (classes + 1, 3), neighbours far apart; the last one is black."""
    colours = [
        colorsys.hsv_to_rgb(i * 0.618 % 1, 0.4 + 0.6 * (i % 2), 1 - 0.5 * (i // 2 % 2))
        for i in range(classes)
    ]
    wheel: Pixels = np.rint(np.array([*colours, (0, 0, 0)]) * 255).astype(np.uint8)
    return wheel
