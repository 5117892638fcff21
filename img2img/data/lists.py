"""Samples from a list: a table with one column a field."""

from __future__ import annotations

from pathlib import Path

from img2img.data.attached import by_groups, with_further_fields
from img2img.data.config import DataConfig
from img2img.data.folders import HELD_OUT, TRAIN, Search, require_files
from img2img.data.places import sides
from img2img.data.record import Record, Records
from img2img.errors import PlanError, display_path
from img2img.fields import Fields, pictures
from img2img.image.discovery import Entries, as_stored
from img2img.registry import unknown
from img2img.tables import Row, numbers_in, read_rows


def listed_records(config: DataConfig, fields: Fields, path: Path, search: Search) -> Records:
    """Returns the samples of a list."""
    train, validation = _read_list(config, fields, path, search)
    if config.validation is not None:
        validation = [
            record
            for file in config.validation
            for part in _read_list(config, fields, file, search)
            for record in part
        ]
    if not train:
        raise PlanError(f"{display_path(path)} names no samples for training.")
    every = [*train, *validation]
    divided = [
        by_groups(with_further_fields(config, fields, tuple(fields), tuple(part), path, search), fields)
        for part in (train, validation)
    ]
    names = {
        name: own if len(own := config.attributes or ()) == len(every[0].values[name]) else ()
        for name, field in fields.items()
        if not field.spatial and name not in config.fields
    }
    return Records(divided[0], divided[1], names, f"held out by {display_path(path)}")


def _read_list(
    config: DataConfig, fields: Fields, path: Path, search: Search
) -> tuple[list[Record], list[Record]]:
    """Returns the samples of a list: those for training and those held out.

    A column is called like its field; of A and B, like what they are from A to B. Masks in a column are
    taken, also where they would be drawn at random without it.
    """
    rows = read_rows(path)
    header = rows[0][1] if rows else {}
    placed = {name for name, place in config.fields.items() if place != "random" or name not in header}
    columns = dict(zip(sides(config, fields), pictures(fields), strict=False))
    columns = {name: column for name, column in columns.items() if name not in placed}
    columns |= {name: name for name in fields if name not in columns and name not in placed}
    parts: tuple[list[Record], list[Record]] = ([], [])
    entries: Entries = {}
    lengths: dict[str, int] = {}
    used = {*columns.values(), *(config.attributes or ()), "split"}
    unknown_columns: dict[str, None] = {}
    for number, row in rows:
        where = f"{display_path(path)}, line {number}"
        spatial = {name: column for name, column in columns.items() if fields[name].spatial}
        unknown_columns |= dict.fromkeys(str(c) for c in row if c is not None and c not in used and row[c])
        lacking = [c for c in spatial.values() if not isinstance(row.get(c), str) or not row[c]]
        if lacking:
            found = ", ".join(str(name) for name in row if row[name]) or "nothing"
            raise PlanError(
                f"{where}: {' and '.join(lacking)} is missing or empty; every line names "
                f"{' and '.join(spatial.values())}, and this one has {found}."
            )
        part = str(row.get("split") or "train").lower()
        if part not in (*TRAIN, *HELD_OUT):
            raise PlanError(f"{where}: split is {part!r}, and may be train, val or test.")
        files = {name: as_stored(path.parent / row[column], entries) for name, column in spatial.items()}
        values = {name: _vector(config, row, name, where) for name in columns if name not in spatial}
        for name, vector in values.items():
            if lengths.setdefault(name, len(vector)) != len(vector):
                raise PlanError(
                    f"{where}: {name} holds {len(vector)} numbers, and the lines before {lengths[name]}."
                )
        key = row[next(iter(spatial.values()))] if spatial else str(number)
        parts[part not in TRAIN].append(Record(key, files, values))
    require_files([file for part in parts for record in part for file in record.paths], path)
    if unknown_columns:
        search.passed.append(f"{display_path(path)}: of no field and left out: {', '.join(unknown_columns)}.")
    return parts


def _vector(config: DataConfig, row: Row, name: str, where: str) -> tuple[float, ...]:
    """Returns the numbers of the vector `name` in a row: those of its column, or of `data.attributes`."""
    cell = row.get(name)
    if cell is None and config.attributes:
        if absent := [column for column in config.attributes if column not in row]:
            raise PlanError(f"{where}: {unknown('column', absent[0], [str(c) for c in row if c])}")
        cell = [row.get(column) for column in config.attributes]
    found = numbers_in(cell)
    if found is None:
        wanted = f"the columns {', '.join(config.attributes)}" if config.attributes else f"a column {name}"
        raise PlanError(
            f"{where}: {name} is no list of numbers ({_cell(cell)}); a list has {wanted}, such as 0.1 0.5 -2."
        )
    return found


def _cell(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."
