"""What a picture is processed with beside itself: a mask, a map, numbers; found by the picture's name."""

from __future__ import annotations

import csv
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img.batch.outputs import is_inside
from img2img.errors import PlanError, UsageError, display_path
from img2img.files import read_regular
from img2img.image import READABLE, Passed, discover
from img2img.registry import unknown

Companion = Path | tuple[float, ...]
"""A file with a picture, or numbers."""
Place = str | os.PathLike[str] | Sequence[float]
"""Where companions are: a folder, a table, one file for all, or the same numbers for all."""
_JSON_LINES, _TABLES = (".jsonl", ".ndjson", ".json"), (".csv", ".jsonl", ".ndjson", ".json")
_FILE_COLUMNS = ("file", "source")
_LARGEST_TABLE = 2**28  # bytes
_SHOWN = 3


class Companions:
    """The companions of all files, by the names that a processor has for them.

    Those in a folder are found by the place of the picture in its own tree: the same folders and the same
    name, whatever the extension (`birds/1.jpg` has `birds/1.png`). Names are compared in their Unicode normal
    form, since file systems differ in it.

    A table (CSV with a head, or JSON lines) has a column `file`, or `source` as the tables of trainings: the
    place of the picture in its tree, or its path from the table. The column of the companion's own name
    holds numbers or a path; without such a column, all other columns that hold numbers are the numbers.

    Args:
        places: Where the companions of each name are.
        follow_symlinks: Look into folders that symbolic links lead to.
        hidden: Take files and folders whose names begin with a dot.

    Attributes:
        folders: Those among the places.
        files: The single pictures among them.

    Raises:
        PlanError: A place does not exist, cannot be read, or holds nothing of use.
    """

    def __init__(
        self, places: Mapping[str, Place], follow_symlinks: bool = False, hidden: bool = False
    ) -> None:
        self.folders: list[Path] = []
        self.files: list[Path] = []
        self._for_all: dict[str, Companion] = {}
        self._by_file: dict[str, tuple[Path, dict[str, list[Companion]]]] = {}
        for name, place in places.items():
            if not isinstance(place, str | os.PathLike):
                self._for_all[name] = tuple(map(float, place))
                continue
            path = Path(place)
            if path.is_dir():
                self.folders.append(path)
                self._by_file[name] = path, _listed(name, path, follow_symlinks, hidden)
            elif path.is_file() and path.suffix.lower() in _TABLES:
                self._by_file[name] = path, _tabled(name, path)
            elif path.is_file():
                self.files.append(path)
                self._for_all[name] = path
            else:
                found = "is neither a file nor a folder" if os.path.lexists(path) else "does not exist"
                raise PlanError(f"{display_path(path)}, which is to hold the {name}, {found}.")

    def among(self, folders: Sequence[Path]) -> Callable[[Path], bool]:
        """Returns what tells of a file in `folders` whether it is there as a companion, and no input."""
        real = [os.path.realpath(folder) for folder in folders]
        inner = [
            place
            for place in map(os.path.realpath, self.folders)
            if any(place != folder and is_inside(place, folder) for folder in real)
        ]
        files = set(map(os.path.realpath, self.files))
        known = {"": False}  # asked once for each folder

        def is_companion(path: Path) -> bool:
            folder = os.path.dirname(path)  # noqa: PTH120
            if inner and folder not in known:
                known[folder] = any(is_inside(os.path.realpath(folder), place) for place in inner)
            return bool(inner and known[folder]) or bool(files and os.path.realpath(path) in files)

        return is_companion

    def of(self, source: Path, relative: str) -> dict[str, Companion]:
        """Returns the companions of one file.

        Args:
            source: The file.
            relative: Its place in the tree of the inputs, written with "/".

        Raises:
            PlanError: One is missing, or there are two candidates; the message is no sentence by itself.
        """
        found = dict(self._for_all)
        stem = os.path.splitext(relative)[0]  # noqa: PTH122  a Path for each of 100,000 names is slow
        for name, (place, companions) in self._by_file.items():
            # results for a.gif are called a.gif.png, and may be what others are processed with
            for key in (os.path.abspath(source), relative, stem):  # noqa: PTH100
                candidates = companions.get(_key(key))
                if candidates:
                    break
            else:
                where = f"{place / stem}.png, or with another extension"
                where = where if place in self.folders else f"a line in {place} with the file {relative}"
                raise PlanError(f"there is no {name} for it: {display_path(where)}")
            if len(candidates) > 1:
                both = " and ".join(display_path(str(each)) for each in candidates[:_SHOWN])
                raise PlanError(f"it can have one {name}, and there are {len(candidates)}: {both}")
            found[name] = candidates[0]
        return found


def require_conditions(process: object, names: Iterable[str]) -> None:
    """Checks that `process` gets what it needs, and nothing that it does not know.

    Args:
        process: With an attribute `conditions`, the names of what it needs, unless it needs nothing.
        names: What there is.

    Raises:
        UsageError: Something is missing or unknown.
    """
    needed, given = list(getattr(process, "conditions", ())), list(names)
    for name in given:
        if not needed:
            raise UsageError(f"there is nothing here that takes a {name}: it works on the picture alone.")
        if name not in needed:
            raise UsageError(f"{unknown('condition', name, needed)} The model takes {' and '.join(needed)}.")
    missing = [name for name in needed if name not in given]
    if missing:
        how = " ".join(f"`companions` {name}=DIR" for name in missing)
        raise UsageError(f"it needs {' and '.join(missing)} for each picture; give {how}.")


def _listed(name: str, folder: Path, follow_symlinks: bool, hidden: bool) -> dict[str, list[Companion]]:
    """Returns the files of `folder` by their places in it.

    Raises:
        PlanError: It cannot be listed, or holds none.
    """
    files: dict[str, list[Companion]] = {}
    passed = Passed()
    for found in discover(folder, True, follow_symlinks, hidden, passed):
        if found.problem is not None and not found.link:
            raise PlanError(f"{display_path(found.path)}, which may hold the {name}: {found.problem}.")
        if found.path.suffix.lower() in READABLE:
            stem = found.path.relative_to(folder).with_suffix("").as_posix()
            files.setdefault(_key(stem), []).append(found.path)
    if not files:
        raise PlanError(f"{display_path(folder)} is to hold the {name}. {passed.reasons()}")
    return files


def _tabled(name: str, table: Path) -> dict[str, list[Companion]]:
    """Returns what the lines of `table` hold by all that their files may be called.

    Raises:
        PlanError: It cannot be read, or a line lacks the file or the companion.
    """
    found: dict[str, list[Companion]] = {}
    for number, row in _rows(table):
        place = f"{display_path(table)}, line {number}"
        file = next((row[column] for column in _FILE_COLUMNS if isinstance(row.get(column), str)), None)
        if not file:
            raise PlanError(f"{place}: has no file; a column `file` says which picture the line is for.")
        companion = _companion(name, row, table)
        if companion is None:
            raise PlanError(f"{place}: has neither a column `{name}` nor numbers in other columns.")
        file = file.replace(os.sep, "/")
        for key in {os.path.abspath(table.parent / file), file, os.path.splitext(file)[0]}:  # noqa: PTH100, PTH122
            found.setdefault(_key(key), []).append(companion)
    if not found:
        raise PlanError(f"{display_path(table)} is to hold the {name}, and has no lines.")
    return found


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the lines of a table with their numbers.

    Raises:
        PlanError: It is no table.
    """
    try:
        lines = read_regular(table, _LARGEST_TABLE).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PlanError(f"{display_path(table)} cannot be read: {reason}.") from None
    number = 0
    try:
        if table.suffix.lower() in _JSON_LINES:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, dict(json.loads(line))
        else:
            reader = csv.DictReader(lines, skipinitialspace=True)
            for row in reader:
                number = reader.line_num
                yield number, row
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        raise PlanError(f"{display_path(table)}, line {number}: cannot be read ({error}).") from None


def _companion(name: str, row: Mapping[str, Any], table: Path) -> Companion | None:
    value = row.get(name)
    if value is None or value == "":
        others = [each for column, each in row.items() if column not in _FILE_COLUMNS]
        return tuple(number for each in others for number in _numbers(each) or ()) or None
    numbers = _numbers(value)
    return table.parent / value if numbers is None and isinstance(value, str) else numbers


def _numbers(value: Any) -> tuple[float, ...] | None:
    """Returns the numbers in a cell, of which there may be several; None for anything else."""
    parts = re.split(r"[\s,;]+", value.strip(" []")) if isinstance(value, str) else value
    try:
        return tuple(map(float, parts if isinstance(parts, list) else [parts]))
    except (TypeError, ValueError):
        return None


def _key(relative: str) -> str:
    return unicodedata.normalize("NFC", relative)
