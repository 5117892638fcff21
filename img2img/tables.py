"""Tables: the rows of a list, and the numbers that belong to whole pictures."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

from img2img.errors import PlanError, display_path
from img2img.files import read_regular
from img2img.image.discovery import collision_key
from img2img.registry import unknown

_LARGEST = 2**30  # bytes
_HUGE = 3.4e38  # float32 computes with the numbers
_SHOWN = 40  # characters of a cell in a message
_SIGNS = {1: 1, -1: 0, "1": 1, "-1": 0}  # yes and no, as CelebA has them
_TRUTH = {"true": 1.0, "false": 0.0}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id", "path", "name", "source")
Row = dict[str, Any]


def read_text(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        PlanError: It cannot be read, or is not UTF-8.
    """
    try:
        return read_regular(path, _LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise PlanError(f"{display_path(path)} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise PlanError(f"{display_path(path)} is not UTF-8 text; save it as UTF-8.") from None
    except ValueError:
        raise PlanError(f"{display_path(path)} is no name that a file can have.") from None


def read_rows(path: Path) -> list[tuple[int, Row]]:
    """Returns the rows of a CSV or JSON-lines file with the numbers of their lines.

    Raises:
        PlanError: It cannot be read, a line is not what it should be, or a column is there twice.
    """
    text = read_text(path)
    rows = _json_lines(text) if path.suffix.lower() in _JSON_LINES else _csv(text)
    try:
        return list(rows)
    except PlanError as error:
        raise PlanError(f"{display_path(path)}, {error}") from None


def _csv(text: str) -> Iterator[tuple[int, Row]]:
    """Yields the rows of a CSV; its columns have no blanks around their names, in Unicode's composed form."""
    delimiter = max(",;\t", key=text.lstrip("\r\n ").partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise PlanError(f"line {reader.line_num}: is no CSV ({error}).") from None
    if not lines:
        return
    header = [composed(name) for name in lines[0][1]]
    _require_once(filter(None, header), f"line {lines[0][0]}")
    for number, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise PlanError(
                f"line {number}: has {len(cells)} cells, and the first line names {len(header)} columns; a "
                "text or number with a comma in it stands in quotes."
            )
        yield number, {name: cell for name, cell in zip_longest(header, cells[: len(header)]) if name}


def _json_lines(text: str) -> Iterator[tuple[int, Row]]:
    def as_row(pairs: list[tuple[str, Any]]) -> Row:
        pairs = [(composed(name), value) for name, value in pairs]
        _require_once((name for name, _ in pairs), f"line {number}")
        return dict(pairs)

    for number, line in enumerate(text.split("\n"), 1):  # in JSON other ends of lines may stand in names
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=as_row)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise PlanError(
                f'line {number}: is not {{"file": "...", ...}}; in JSON lines every line is one such object.'
            )
        yield number, row


def composed(name: str) -> str:
    """Returns the name of a column as it is compared: composed, single plain spaces, all of it visible."""
    visible = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    return unicodedata.normalize("NFC", visible)


def _require_once(names: Iterable[str], line: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise PlanError(
            f"{line}: the column {display_path(twice[0])} is there twice; which of them counts cannot be "
            "known. Rename one, or take it out."
        )


def numbers_in(cell: object) -> tuple[float, ...] | None:
    """Returns the numbers in one cell: a number, a list, or text with commas, semicolons or spaces.

    True and false are 1 and 0, as in JSON.
    """
    if isinstance(cell, str):
        cell = cell.strip().strip("[]").replace(",", " ").replace(";", " ").split()
        cell = [_TRUTH.get(part.lower(), part) for part in cell]
    values: Sequence[Any] = cell if isinstance(cell, list | tuple) else [cell]
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found and all(abs(value) < _HUGE for value in found) else None  # nor NaN


def shown(cell: object) -> str:
    """Returns what is in a cell for a message, cut where it is long."""
    text = repr(cell)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."


def listed_files(path: Path) -> tuple[list[str], list[str]]:
    """Returns what a list of pictures names, as it stands there: the pictures, and other files beside them.

    A text file has a path on each line. Of a table the column `file` (or the first one) has the pictures, and
    any other text may be the name of a file.

    Raises:
        PlanError: It cannot be read.
    """
    if path.suffix.lower() == ".txt":
        return [line.strip() for line in read_text(path).splitlines() if line.strip()], []
    leading: list[str] = []
    others: list[str] = []
    for _, row in read_rows(path):
        column = file_column(row)
        for name, cell in row.items():
            if isinstance(cell, str) and cell.strip():
                (leading if name == column else others).append(cell.strip())
    return leading, others


def file_column(columns: Iterable[str]) -> str | None:
    """Returns which of some columns names pictures: one that is called so, or else the first."""
    columns = list(columns)
    return next((name for name in _FILE_COLUMNS if name in columns), next(iter(columns), None))


@dataclass(frozen=True)
class Table:
    """Numbers by the names of pictures.

    Attributes:
        path: The file.
        names: What the numbers are called, in order.
        rows: The numbers of each picture, by its name as the table has it.
    """

    path: Path
    names: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]

    def find(self, key: str) -> str | None:
        """Returns the name of a picture in `rows`; None where the table has none.

        Args:
            key: Its relative path. A name without folders or without extension is enough where it is of one
                picture alone.
        """
        if key in self.rows:
            return key
        place = PurePosixPath(key)
        for name in (key, place.name, place.with_suffix("").as_posix(), place.stem):
            if (found := self._by_name.get(collision_key(name))) is not None:
                return found
        return None

    @cached_property
    def _by_name(self) -> dict[str, str | None]:
        """The names of rows by all that a picture may be known by; None where that is of several."""
        found: dict[str, str | None] = {}
        for name in self.rows:
            place = PurePosixPath(name)
            for one in {name, place.name, place.with_suffix("").as_posix(), place.stem}:
                folded = collision_key(one)
                found[folded] = None if folded in found else name
        return found


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Reads numbers that belong to pictures.

    Three forms are known: CelebA's text (a count, a line of names, then a file with 1 or -1 for each, which
    become 1 and 0); CSV with a header and JSON lines, whose column `file` (or the first one) names the
    picture. Where these hold nothing but 1 and -1, as CelebA's CSV does, they become 1 and 0, too.

    Args:
        path: The file.
        columns: The names of the numbers that are wanted, in this order; None takes all.

    Raises:
        PlanError: It cannot be read, a name is not there, or a value is no number.
    """
    rows = list(named_rows(path))
    known = tuple(rows[0][2])
    names = tuple(map(composed, columns or known))
    for name in names:
        if name not in known:
            raise PlanError(f"{display_path(path)}: {unknown('column', name, known)}")
    found: dict[str, tuple[float, ...]] = {}
    for line, file, cells in rows:
        values = []
        for name in names:
            number = numbers_in(cells.get(name))
            if number is None or len(number) != 1:
                raise PlanError(
                    f"{display_path(path)}, line {line}: {name} is {shown(cells.get(name))}, which is no "
                    "number; data.attributes names the columns that are wanted."
                )
            values.append(number[0])
        if file in found:
            raise PlanError(f"{display_path(path)}, line {line}: {display_path(file)} is there twice.")
        found[file] = tuple(values)
    return Table(path, names, found)


def named_rows(path: Path, beside: str | None = None) -> Iterator[tuple[int, str, Row]]:
    """Yields the number of the line, the picture and the other cells of each row; see `read_table`.

    Args:
        path: The file.
        beside: A column that is not the one of the pictures, whatever it is called.

    Raises:
        PlanError: It cannot be read, or holds no rows.
    """
    text = path.suffix.lower() in (".txt", "")
    rows = list(_celeba(path) if text else _with_file(path, beside))
    if not rows:
        raise PlanError(f"{display_path(path)} holds no rows.")
    if not text and all(
        type(c) in (str, int) and c in _SIGNS for _, _, cells in rows for c in cells.values()
    ):
        rows = [(line, file, {n: _SIGNS[c] for n, c in cells.items()}) for line, file, cells in rows]
    yield from rows


def _celeba(path: Path) -> Iterator[tuple[int, str, Row]]:
    lines = read_text(path).splitlines()
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise PlanError(
            f"{display_path(path)} is no table of attributes in CelebA's form: a count, a line of names, "
            "then a file with its numbers on each line. Tables of other kinds are .csv or .jsonl."
        )
    names = [composed(name) for name in lines[1].split()]
    _require_once(names, f"{display_path(path)}, line 2")
    for number, line in enumerate(lines[2:], 3):
        if not line.strip():
            continue
        file, *cells = line.split()
        if len(cells) != len(names):
            raise PlanError(
                f"{display_path(path)}, line {number}: has {len(cells)} numbers, and there are {len(names)} "
                "names."
            )
        yield number, file, {n: 0 if c == "-1" else c for n, c in zip(names, cells, strict=True)}


def _with_file(path: Path, beside: str | None) -> Iterator[tuple[int, str, Row]]:
    for number, row in read_rows(path):
        column = file_column(name for name in row if name != beside)
        file = row.get(column) if column is not None else None
        if not isinstance(file, str) or not file.strip():
            raise PlanError(f"{display_path(path)}, line {number}: names no file.")
        yield number, file.strip(), {name: cell for name, cell in row.items() if name != column}
