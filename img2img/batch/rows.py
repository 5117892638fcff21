"""The rows of a table that says what pictures are processed with."""

from __future__ import annotations

import contextlib
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from img2img.batch.vectors import as_sentence, from_row
from img2img.errors import PlanError, display_path
from img2img.fields import Field, Vector
from img2img.image import READABLE
from img2img.image.discovery import Entries, as_stored, collision_key
from img2img.registry import unknown
from img2img.tables import Row, named_rows, numbers_in

T = TypeVar("T")
_NO_NUMBERS = ("split",)  # columns that tables of trainings have beside these
_NO_PICTURE = "is to name a picture, and numbers were given"


class Index(Generic[T]):
    """Things by the names of pictures, of which several may lead to one."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, T]]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[str]:
        return (name for alike in self._found.values() for name, _ in alike)

    def add(self, names: Iterable[str], thing: T) -> None:
        """Files `thing` under `names`."""
        for name in {unicodedata.normalize("NFC", name) for name in names}:
            self._found.setdefault(collision_key(name), []).append((name, thing))

    def find(self, name: str) -> list[T]:
        """Returns what is under just this name, else what is under names of another letter case."""
        alike = self._found.get(collision_key(name), [])
        exact = [thing for own, thing in alike if own == unicodedata.normalize("NFC", name)]
        return exact or [thing for _, thing in alike]


@dataclass(frozen=True)
class CompanionRow:
    """One row; `str` says where it stands."""

    table: CompanionTable
    line: int
    cells: Row

    def __str__(self) -> str:
        return f"{self.table.path}, line {self.line}"

    def companion(self) -> Path | tuple[float, ...]:
        """Returns what it holds.

        Raises:
            PlanError: It is not there, or of another kind; the message is no sentence by itself.
        """
        try:
            return self.table.companion(self.cells)
        except PlanError as error:
            raise PlanError(f"{display_path(str(self))}: {error}") from None


class CompanionTable:
    """A table of what pictures are processed with. What no picture asks for may be wrong.

    Args:
        name: Of the companion.
        field: What it is, where that is known.
        path: CSV, JSON lines, or CelebA's text.

    Attributes:
        rows: By all that their pictures may be called: the place in the tree with or without extension, or
            the path.

    Raises:
        PlanError: It cannot be read, or no row holds what it is to hold.
    """

    def __init__(self, name: str, field: Field | None, path: Path) -> None:
        self.path = path
        self._folder = os.path.abspath(path.parent)  # noqa: PTH100
        self._name, self._field = name, field
        self._entries: Entries = {}
        self.rows: Index[CompanionRow] = Index()
        found = [(CompanionRow(self, line, cells), file) for line, file, cells in named_rows(path, name)]
        self._cells = [row.cells for row, _ in found]
        for row, file in found:
            self.rows.add(self._names(file), row)
        problems = []
        for row, _ in found:
            try:
                row.companion()
            except PlanError as error:
                problems.append(str(error))
            else:
                break  # what is wrong with another one is the failure of its picture
        else:
            every = f" So it is in all {len(found)} lines." if len(found) > 1 else ""
            raise PlanError(as_sentence(problems[0]) + every)

    @cached_property
    def unnamed(self) -> list[str]:
        """The columns that are the numbers where nothing says what these are called."""
        field = self._field
        told = field is not None and (field.spatial or (isinstance(field, Vector) and bool(field.names)))
        if told or any(self._name in cells for cells in self._cells):
            return []
        columns = dict.fromkeys(column for cells in self._cells for column in cells)
        return [
            column
            for column in columns
            if column not in _NO_NUMBERS and any(numbers_in(cells.get(column)) for cells in self._cells)
        ]

    def files(self) -> set[Path]:
        """Returns the files that rows name, and the table itself."""
        found = {self.path}
        for cells in () if isinstance(self._field, Vector) else self._cells:
            with contextlib.suppress(PlanError):
                value = self.companion(cells)
                if isinstance(value, Path):
                    found.add(value)
        return found

    def companion(self, cells: Row) -> Path | tuple[float, ...]:
        """Returns what a row holds; see `CompanionRow.companion`."""
        name, field = self._name, self._field
        value = cells.get(name)
        said = value.strip() if isinstance(value, str) else ""
        if isinstance(field, Vector) or (field is None and (not said or numbers_in(said) is not None)):
            return from_row(name, field, cells, self.unnamed)
        if name not in cells:
            raise PlanError(unknown("column", name, cells))
        if not said:
            raise PlanError(f"{name} {'is empty' if value in (None, '') else _NO_PICTURE}")
        if "\0" in said:
            raise PlanError(f"{name} is {display_path(said)!r}, which is no name that a file can have")
        for place in (said, said.replace("\\", "/")):  # as it is there, or from Windows
            path = as_stored(self.path.parent / place, self._entries)
            if os.path.exists(path):  # noqa: PTH110  whatever may be wrong with it
                return path
        if numbers_in(said) is not None:
            raise PlanError(f"{name} {_NO_PICTURE}: {said}")
        raise PlanError(f"{name} is {display_path(self.path.parent / said)}, which does not exist")

    def _names(self, file: str) -> Iterator[str]:
        """Yields all that a picture may be called; by strings, since a Path for each of 100,000 is slow."""
        for name in {posixpath.normpath(each) for each in (file, file.replace("\\", "/"))}:
            yield name
            yield os.path.abspath(os.path.join(self._folder, name))  # noqa: PTH100, PTH118
            stem, extension = posixpath.splitext(name)
            if extension.lower() in READABLE:
                yield stem
