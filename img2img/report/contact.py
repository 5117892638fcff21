"""Contact sheets for papers: folders as columns, pictures as rows, details enlarged, as PNG or PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from img2img.errors import ConfigError, ImageError, UsageError, display_path
from img2img.files import replacing
from img2img.image import WRITABLE, Image, read_image, write_image
from img2img.image.sheet import displayable
from img2img.report.gallery import Gallery, GalleryRow

MOST_PIXELS = 200_000_000  # of a sheet
_FRAMES = ((220, 40, 40), (30, 110, 220), (20, 150, 70), (230, 140, 0))
_NARROWEST = 8  # pixels of an enlarged part


class Detail(NamedTuple):
    """A part of a picture: its corner and size in pixels of the first column."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class SheetStyle:
    """How a sheet looks.

    Attributes:
        cell: Width of a picture in pixels.
        gap: Space between pictures.
        font: Height of letters.
        names: Whether each row bears the name of its picture.
        boxes: Parts that are framed and shown enlarged below each picture.
        dpi: Pixels per inch, which says how large the sheet is on paper.
    """

    cell: int = 320
    gap: int = 6
    font: int = 18
    names: bool = True
    boxes: tuple[Detail, ...] = ()
    dpi: int = 300


def require_sheet(path: Path) -> None:
    """Checks the name of a sheet before anything is read.

    Raises:
        UsageError: It is no kind of file that a sheet can be, or stands for a folder.
    """
    if path.suffix.lower() not in {*WRITABLE, ".pdf"}:
        raise UsageError(f"{display_path(path)}: a sheet is a picture or a PDF; name it .png, .jpg or .pdf.")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{display_path(path)}: the folder for it does not exist, or it is one itself.")


def draw_sheet(gallery: Gallery, style: SheetStyle = SheetStyle()) -> tuple[PIL.Image.Image, list[str]]:
    """Draws the rows of a gallery.

    Pictures of a row are all as high as the one of the first column that has one: results of another
    resolution lie beside it in its size. Small ones are enlarged without smoothing. They are shown in 8-bit
    sRGB over white, as everywhere.

    Args:
        gallery: What `side_by_side` returned.
        style: How the sheet looks.

    Returns:
        The sheet in RGB, and a sentence for each picture that cannot be shown; its place stays empty.

    Raises:
        ConfigError: There is nothing to show, a box lies outside of a picture, or the sheet is too large.
    """
    problems: list[str] = []
    drawn: list[tuple[GalleryRow, list[PIL.Image.Image | None]]] = []
    for row in gallery.rows:  # one after the other: the pictures may be large
        pictures = _opened(row, gallery.folders, problems)
        if any(pictures):
            drawn.append((row, [_cell(picture, pictures, style, row.name) for picture in pictures]))
    if not drawn:
        raise ConfigError("there is no picture to show. " + " ".join(problems[:3]))
    font = ImageFont.load_default(size=style.font)
    line = style.font * 3 // 2
    heights = [max(cell.height for cell in cells if cell is not None) for _, cells in drawn]
    width = len(gallery.folders) * (style.cell + style.gap) + style.gap
    height = line + style.gap + sum(heights) + len(drawn) * (style.gap + line * style.names)
    if width * height > MOST_PIXELS:
        raise ConfigError(
            f"the sheet would have {width}x{height} pixels; fewer `rows` or a smaller `cell` make it smaller."
        )
    sheet = PIL.Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(gallery.folders):
        middle = style.gap + column * (style.cell + style.gap) + style.cell // 2
        text = _cut(pen, display_path(name), font, style.cell)
        pen.text((middle, style.gap + style.font // 2), text, "black", font, anchor="mm")
    top = line + style.gap
    for (row, cells), tall in zip(drawn, heights, strict=True):
        for column, cell in enumerate(cells):
            if cell is not None:
                sheet.paste(cell, (style.gap + column * (style.cell + style.gap), top))
        top += tall
        if style.names:
            text = _cut(pen, display_path(row.name), font, width - 2 * style.gap)
            pen.text((style.gap, top + line // 2), text, "black", font, anchor="lm")
            top += line
        top += style.gap
    return sheet, problems


def write_sheet(sheet: PIL.Image.Image, path: Path, dpi: int = 300) -> None:
    """Writes a sheet, complete or not at all; as PDF one page of its size.

    Raises:
        UsageError: See `require_sheet`.
        ImageWriteError, OSError: It cannot be written.
    """
    require_sheet(path)
    if path.suffix.lower() == ".pdf":
        with replacing(path) as file:
            sheet.save(file, "PDF", resolution=float(dpi), quality=95, subsampling=0)
    else:
        write_image(Image(np.asarray(sheet)), path)


def _opened(row: GalleryRow, folders: Sequence[str], problems: list[str]) -> list[PIL.Image.Image | None]:
    pictures: list[PIL.Image.Image | None] = []
    for name in folders:
        picture = None
        if name in row.files:
            try:
                picture = displayable(read_image(row.files[name]))
            except ImageError as error:
                problems.append(str(error))
        pictures.append(picture)
    return pictures


def _cell(
    picture: PIL.Image.Image | None, row: Sequence[PIL.Image.Image | None], style: SheetStyle, name: str
) -> PIL.Image.Image | None:
    """Returns a picture in the width of a cell with its details below it."""
    if picture is None:
        return None
    first = next(each for each in row if each is not None)
    tall = max(1, round(first.height * style.cell / first.width))
    shown = _scaled(picture, (style.cell, tall))
    details, heights = [], []
    across = len(style.boxes)
    wide = (style.cell - style.gap * (across - 1)) // max(across, 1)
    if across and wide < _NARROWEST:
        raise ConfigError(
            f"{across} parts do not fit below a picture of {style.cell} pixels; a larger `cell` does."
        )
    pen = ImageDraw.Draw(shown)
    for number, box in enumerate(style.boxes):
        if box.left + box.width > first.width or box.top + box.height > first.height:
            raise ConfigError(
                f"{display_path(name)}: the part {tuple(box)} lies outside of its "
                f"{first.width}x{first.height} pixels."
            )
        # of a picture in another resolution it is the same part
        x, y = picture.width / first.width, picture.height / first.height
        part = (box.left * x, box.top * y, (box.left + box.width) * x, (box.top + box.height) * y)
        left, upper, right, lower = (round(side) for side in part)
        detail = picture.crop((left, upper, max(right, left + 1), max(lower, upper + 1)))
        detail = _scaled(detail, (wide, max(1, round(wide * box.height / box.width))))
        colour = _FRAMES[number % len(_FRAMES)]
        ImageDraw.Draw(detail).rectangle((0, 0, detail.width - 1, detail.height - 1), outline=colour, width=3)
        scale = style.cell / first.width
        frame = [
            round(side * scale) for side in (box.left, box.top, box.left + box.width, box.top + box.height)
        ]
        pen.rectangle((frame[0], frame[1], frame[2] - 1, frame[3] - 1), outline=colour, width=2)
        details.append(detail)
        heights.append(detail.height)
    if not details:
        return shown
    cell = PIL.Image.new("RGB", (style.cell, tall + style.gap + max(heights)), "white")
    cell.paste(shown, (0, 0))
    for number, detail in enumerate(details):
        cell.paste(detail, (number * (wide + style.gap), tall + style.gap))
    return cell


def _scaled(picture: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
    larger = size[0] >= picture.width
    kind = PIL.Image.Resampling.NEAREST if larger else PIL.Image.Resampling.LANCZOS
    return picture.resize(size, kind)


def _cut(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> str:
    if pen.textlength(text, font) <= width:
        return text
    while len(text) > 1 and pen.textlength(text + "...", font) > width:
        text = text[:-1]
    return text + "..."
