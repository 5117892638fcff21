"""Which classes label maps tell apart: as a model, a table or the maps themselves say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from img2img.errors import ConfigError, ImageError, ProcessingError, display_path
from img2img.evaluation.labels import LabelsProtocol
from img2img.image import Image, read_image
from img2img.image.channels import with_channels
from img2img.image.image import Pixels
from img2img.image.matching import File
from img2img.image.palette import MOST, LabelSet, collect, with_levels
from img2img.interop import open_checkpoint
from img2img.tables import numbers_in, read_rows, shown
from img2img.weights import find_model

TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
_COLOUR = ("color", "colour", "level", "id")
_NAME = ("name", "class", "label")
_RGB = (("r", "g", "b"), ("red", "green", "blue"))


def labels_protocol(
    targets: Sequence[File],
    trained: LabelSet | None = None,
    palette: str | PathLike[str] | LabelSet | None = None,
    ignore: Sequence[str] = (),
) -> LabelsProtocol:
    """Returns the protocol for label maps.

    Args:
        targets: The truth. Where nothing else says it, its colours are the classes.
        trained: The classes of the model that is measured.
        palette: Instead, a model file or a table of colours; or classes that are known.
        ignore: Classes that do not count, by their names or colours, and at most one colour that is no class.

    Raises:
        ConfigError: There is no such class, or there are too many colours.
        ModelError: The palette is no model, or one that makes no label maps.
        PlanError: It is no table of colours.
    """
    labels = palette if isinstance(palette, LabelSet) else trained
    if isinstance(palette, str | PathLike):
        labels = read_label_set(palette)
    if labels is None:
        labels = _collected(targets)
    left_out = set()
    for word in ignore:
        try:
            left_out.add(labels.number(word))
        except ConfigError:
            colour = numbers_in(word)
            if colour is None or len(colour) != len(labels.palette[0]) or any(v != int(v) for v in colour):
                raise
            labels = replace(labels, ignore=tuple(map(int, colour)))
    if len(left_out) == len(labels):
        raise ConfigError("every class is ignored; leave one of them to be measured.")
    return LabelsProtocol(labels, frozenset(left_out))


def read_label_set(place: str | PathLike[str]) -> LabelSet:
    """Returns the classes of a model that makes label maps, or those of a table.

    A table (CSV, JSON lines) has a row for each class, in the order of their numbers: its column `color`
    holds a colour as three levels ("128 0 64") or as #804000, or one level of grey; or the columns r, g and b
    do; its column `name` what the class is called.

    Raises:
        ModelError: It is no model, or one that makes no label maps.
        PlanError: It is no table of colours.
        ConfigError: The colours are none, or one is there twice.
    """
    path = Path(place)
    if path.suffix.lower() not in TABLES:
        labels = open_checkpoint(find_model(place))[1].labels
        if labels is None:
            raise ConfigError(
                f"{display_path(path)} makes pictures and no label maps; name a model that does, or a table "
                f"of colours ({', '.join(TABLES[:2])})."
            )
        return labels
    palette, names = [], []
    for line, row in read_rows(path):
        cells = {str(key).lower(): cell for key, cell in row.items()}
        colour = _colour(cells)
        if colour is None:
            found = ", ".join(f"{key} {shown(cell)}" for key, cell in row.items()) or "nothing"
            raise ConfigError(
                f"{display_path(path)}, line {line}: there is no colour; a column color holds one as 128 0 "
                f"64, #804000 or one level, or the columns r, g and b do. There is {found}."
            )
        palette.append(colour)
        names.append(next((str(cells[key]) for key in _NAME if cells.get(key)), ""))
    if len({len(colour) for colour in palette}) != 1 or len(set(palette)) < len(palette):
        raise ConfigError(
            f"{display_path(path)}: the colours of classes differ from each other, and are all of 3 levels "
            "or all of 1."
        )
    if len(palette) > MOST:
        raise ConfigError(f"{display_path(path)}: label maps tell up to {MOST} classes apart.")
    known = all(names) and len(set(names)) == len(names)
    return LabelSet(tuple(palette), tuple(names) if known else ())


def _colour(cells: dict[str, object]) -> tuple[int, ...] | None:
    """Returns the colour in a row of a table."""
    for columns in _RGB:
        if all(cells.get(column) not in (None, "") for column in columns):
            return _levels([cells[column] for column in columns])
    cell = next((cells[column] for column in _COLOUR if cells.get(column) not in (None, "")), None)
    if isinstance(cell, str) and cell.strip().startswith("#") and len(cell.strip()) == 7:
        try:
            return tuple(bytes.fromhex(cell.strip()[1:]))
        except ValueError:
            return None
    return _levels(cell)


def _levels(cell: object) -> tuple[int, ...] | None:
    numbers = numbers_in(cell)
    if numbers is None or len(numbers) not in (1, 3):
        return None
    if any(value != int(value) or not 0 <= value < 65536 for value in numbers):
        return None
    return tuple(map(int, numbers))


def _collected(targets: Sequence[File]) -> LabelSet:
    """Returns the colours that all targets together have; what cannot be read is told when its turn comes."""

    def images() -> Iterator[Image]:
        for file in targets:
            try:
                yield read_image(file.path)
            except ImageError:
                continue

    channels = max((min(image.channels, 3) for image in images()), default=3)

    def maps() -> Iterator[Pixels]:
        for image in images():
            try:
                pixels = with_channels(with_levels(image), 1 if channels == 1 else 3, unmixed=True)
            except ProcessingError:
                continue
            yield pixels

    palette = collect(maps(), "`palette`")
    if not palette:
        raise ConfigError("none of the targets is a label map that can be read.")
    return LabelSet(palette)
