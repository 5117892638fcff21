"""Samples from a list: a table with one column a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img.data.attached import by_groups, with_further_fields
from img2img.data.config import DataConfig
from img2img.data.folders import HELD_OUT, TRAIN, VALIDATION, Search, require_files
from img2img.data.places import sides
from img2img.data.record import Record, Records
from img2img.errors import PlanError, display_path
from img2img.fields import Fields, pictures
from img2img.image.discovery import Entries, as_stored
from img2img.registry import unknown
from img2img.tables import Row, numbers_in, read_rows, shown


def listed_records(config: DataConfig, fields: Fields, path: Path, search: Search) -> Records:
    """Returns the samples of a list."""
    rows = read_rows(path)
    columns = _columns(config, fields, rows)
    train, validation, test = _read_list(config, fields, columns, path, rows, search)
    if not validation:
        validation, test = test, []
    if test:
        search.passed.append(f"{display_path(path)}: {len(test)} samples of the part test are left out.")
    if config.validation is not None:
        validation = []
        for file in config.validation:
            parts = _read_list(config, fields, columns, file, read_rows(file), search)
            validation += parts[1] or parts[2] or parts[0]
        if not validation:
            raise PlanError(f"{display_path(config.validation[0])} names no samples for validation.")
    if not train:
        raise PlanError(f"{display_path(path)} names no samples for training.")
    every = [*train, *validation]
    divided = [
        by_groups(with_further_fields(config, fields, tuple(fields), tuple(part), (path,), search), fields)
        for part in (train, validation, test)
    ]
    names = {
        name: own if len(own := config.attributes or ()) == len(every[0].values[name]) else ()
        for name, field in fields.items()
        if not field.spatial and name not in config.fields
    }
    return Records(divided[0], divided[1], names, f"held out by {display_path(path)}", test=divided[2])


def _columns(config: DataConfig, fields: Fields, rows: Sequence[tuple[int, Row]]) -> dict[str, str]:
    """Returns the column of each field that has one in the list for training; other lists have the same.

    A column is called like its field; of A and B, like what they are from A to B. Masks in a column are
    taken, also where they would be drawn at random without it.
    """
    filled = {name for _, row in rows for name, cell in row.items() if cell}
    placed = {name for name, place in config.fields.items() if place != "random" or name not in filled}
    columns = dict(zip(sides(config, fields), pictures(fields), strict=False))
    columns = {name: column for name, column in columns.items() if name not in placed}
    return columns | {name: name for name in fields if name not in columns and name not in placed}


def _read_list(
    config: DataConfig,
    fields: Fields,
    columns: Mapping[str, str],
    path: Path,
    rows: Sequence[tuple[int, Row]],
    search: Search,
) -> tuple[list[Record], list[Record], list[Record]]:
    """Returns the samples of a list: those for training, for validation and for tests."""
    spatial = {name: column for name, column in columns.items() if fields[name].spatial}
    leader = next(iter(spatial.values()), "")
    parts: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
    entries: Entries = {}
    lengths: dict[str, int] = {}
    used = {*columns.values(), *(config.attributes or ()), "split"}
    unknown_columns: dict[str, None] = {}
    left_out: list[tuple[Record, str]] = []
    missing: list[Path] = []
    problem = ""
    for number, row in rows:
        where = f"{display_path(path)}, line {number}"
        unknown_columns |= dict.fromkeys(str(c) for c in row if c is not None and c not in used and row[c])
        lacking = {name: c for name, c in spatial.items() if not isinstance(row.get(c), str) or not row[c]}
        if lacking and not problem:
            found = ", ".join(str(name) for name in row if row[name]) or "nothing"
            problem = (
                f"{where}: {' and '.join(lacking.values())} is missing or empty; every line names "
                f"{' and '.join(spatial.values())}, and this one has {found}."
            )
        part = str(row.get("split") or "train").lower()
        if part not in (*TRAIN, *HELD_OUT):
            raise PlanError(f"{where}: split is {shown(part)}, and may be train, val or test.")
        files = {
            name: as_stored(path.parent / row[column], entries)
            for name, column in spatial.items()
            if name not in lacking
        }
        absent = {name: file for name, file in files.items() if not file.is_file()}
        missing += absent.values()
        values = {}
        for name in (name for name in columns if name not in spatial):
            cell = _cell(config, row, name, where)
            if config.unmatched == "skip" and _is_empty(cell):
                lacking[name] = name
                continue
            values[name] = _numbers(config, cell, name, where)
            if lengths.setdefault(name, len(values[name])) != len(values[name]):
                raise PlanError(
                    f"{where}: {name} holds {len(values[name])} numbers, and the lines before "
                    f"{lengths[name]}."
                )
        record = Record(str(row.get(leader) or number), files, values)
        if lacking or absent:
            there = record.only(files.keys() - absent)
            without = " or ".join({**lacking, **absent})
            left_out.append((there, without) if there.files else (record, "file"))
        else:
            parts[0 if part in TRAIN else 1 if part in VALIDATION else 2].append(record)
    if left_out and (config.unmatched == "error" or not any(parts)):
        if problem:
            raise PlanError(problem)
        require_files(missing, path)
        raise PlanError(f"{display_path(path)}: {left_out[0][1]} is empty in every line.")
    for record, without in left_out:
        search.leave_out((record,), without)
    if unknown_columns:
        search.passed.append(
            f"{display_path(path)}: columns that no field takes: {', '.join(unknown_columns)}."
        )
    return parts


def _cell(config: DataConfig, row: Row, name: str, where: str) -> Any:
    """Returns the numbers of the vector `name` in a row: those of its column, or of `data.attributes`."""
    cell = row.get(name)
    if cell is None and config.attributes:
        if absent := [column for column in config.attributes if column not in row]:
            raise PlanError(f"{where}: {unknown('column', absent[0], [str(c) for c in row if c])}")
        cell = [row.get(column) for column in config.attributes]
    return cell


def _is_empty(cell: Any) -> bool:
    """Whether there is nothing in a cell, or nothing in one of several."""
    return any(one is None or (isinstance(one, str) and not one.strip()) for one in _several(cell))


def _several(cell: Any) -> Sequence[Any]:
    return cell if isinstance(cell, list | tuple) else (cell,)


def _numbers(config: DataConfig, cell: Any, name: str, where: str) -> tuple[float, ...]:
    found = numbers_in(cell)
    if found is None:
        wanted = f"the columns {', '.join(config.attributes)}" if config.attributes else f"a column {name}"
        raise PlanError(
            f"{where}: {name} is no list of numbers ({shown(cell)}); a list has {wanted}, such as 0.1 0.5 -2."
        )
    return found
