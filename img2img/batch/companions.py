"""What a picture is processed with beside itself: a mask, a map, numbers; found by the picture's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from img2img.batch.outputs import is_inside
from img2img.batch.rows import CompanionRow, CompanionTable, Index
from img2img.batch.vectors import as_sentence, vector
from img2img.errors import PlanError, display_path
from img2img.fields import Field, Fields, Vector, in_full, in_words
from img2img.image import READABLE, Passed, discover
from img2img.registry import unknown
from img2img.tables import numbers_in

Companion = Path | tuple[float, ...]
"""A file with a picture, or numbers."""
Place = str | os.PathLike[str] | Sequence[float] | Mapping[str, float]
"""Where companions are: a folder, a table, one file for all, or the same numbers for all."""
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_NOT_KNOWN: Fields = MappingProxyType({})
_SHOWN = 3


class Companions:
    """The companions of all files, by the names that a processor has for them.

    Those in a folder are found by the place of the picture in its own tree: the same folders and the same
    name, whatever the extension (`birds/1.jpg` has `birds/1.png`). Names are compared in their Unicode normal
    form, since file systems differ in it; letter case counts where there are several.

    A table (CSV with a head, JSON lines, CelebA's text) has a column `file`, `source` or of a similar name,
    or else its first: the place of the picture in its tree, or its path from the table. The column of the
    companion's own name holds a path, or all numbers. Without it the numbers stand in the columns that are
    called as the field names them, in the order of the field. Where it names none they are all columns with
    numbers, as the table has them.

    Args:
        places: Where the companions of each name are.
        follow_symlinks: Look into folders that symbolic links lead to.
        hidden: Take files and folders whose names begin with a dot.
        fields: What each of them is, where that is known.

    Attributes:
        folders: Those among the places.
        files: The single pictures among them.
        tables: Those among them, and all files that they name.
        notes: Sentences about what was taken and may have been meant otherwise.

    Raises:
        PlanError: A place does not exist, cannot be read, is of another kind, or holds nothing of use.
    """

    def __init__(
        self,
        places: Mapping[str, Place],
        follow_symlinks: bool = False,
        hidden: bool = False,
        fields: Fields = _NOT_KNOWN,
    ) -> None:
        self.folders: list[Path] = []
        self.files: list[Path] = []
        self.tables: set[Path] = set()
        self.notes: list[str] = []
        self._for_all: dict[str, Companion] = {}
        self._by_file: dict[str, tuple[Path, Index[Any]]] = {}
        self._met: set[str] = set()
        for name, place in places.items():
            field = fields.get(name)
            path = Path(place) if isinstance(place, str | os.PathLike) else None
            if path is None or not os.path.lexists(path):
                self._for_all[name] = _for_all(name, field, place)
            elif path.is_dir():
                if field is not None and not field.spatial:
                    raise _of_other_kind(name, field, f"{display_path(path)} is a folder")
                self.folders.append(path)
                self._by_file[name] = path, _listed(name, path, follow_symlinks, hidden)
            elif not path.is_file():
                raise PlanError(
                    f"{display_path(path)}, which is to hold the {name}, is neither a file nor a folder."
                )
            elif path.suffix.lower() in _TABLES or isinstance(field, Vector):
                if field is not None and path.suffix.lower() in READABLE:
                    raise _of_other_kind(name, field, f"{display_path(path)} is a picture")
                table = CompanionTable(name, field, path)
                self._by_file[name] = path, table.rows
                self.tables |= table.files()
                if table.unnamed:
                    self.notes.append(
                        f"{display_path(path)}: nothing says what the numbers of {name} are called; they are "
                        f"taken in the order of the columns: {', '.join(map(display_path, table.unnamed))}."
                    )
            else:
                self.files.append(path)
                self._for_all[name] = path

    def among(self, folders: Sequence[Path]) -> Callable[[Path], bool]:
        """Returns what tells of a file in `folders` whether it is there as a companion, and no input.

        A file that a table names is not told so, as it may be an input with a companion of its own; see
        `is_named`.
        """
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

    def is_named(self, path: Path) -> bool:
        """Returns whether a table names `path`."""
        return bool(self.tables) and os.path.realpath(path) in self._named

    @cached_property
    def _named(self) -> set[str]:
        return set(map(os.path.realpath, self.tables))

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
                candidates = companions.find(key)
                if candidates:
                    break
            else:
                where = f"{place / stem}.png, or with another extension"
                where = where if place in self.folders else f"a line in {place} with the file {relative}"
                raise PlanError(f"there is no {name} for it: {display_path(where)}")
            self._met.add(name)
            if len(candidates) > 1:
                both = " and ".join(display_path(str(each)) for each in candidates[:_SHOWN])
                raise PlanError(f"it can have one {name}, and there are {len(candidates)}: {both}")
            (one,) = candidates
            found[name] = one.companion() if isinstance(one, CompanionRow) else one
        return found

    def require_met(self, sources: Sequence[str]) -> None:
        """Makes sure that a folder or table has something for at least one of those that were asked for.

        Args:
            sources: The places of several files in the tree, all of which lack a companion.

        Raises:
            PlanError: It has nothing for any: it is another one, or names other folders.
        """
        for name, (place, companions) in self._by_file.items():
            if name in self._met:
                continue
            relative = (display_path(each) for each in companions if not os.path.isabs(each))  # noqa: PTH117
            names = list(islice(relative, _SHOWN + 1))
            found = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else ".")
            how = "same folders, same name" if place in self.folders else "in its column file"
            raise PlanError(
                f"{display_path(place)} has no {name} for any of the {len(sources)} files. It is found by "
                f"the name of the file ({how}): here {display_path(sources[0])}, there {found}"
            )


def fields_of(process: object) -> Fields:
    """Returns what `process` takes beside pictures by name, as far as it says more than the names."""
    conditions = getattr(process, "conditions", None)
    return conditions if isinstance(conditions, Mapping) else _NOT_KNOWN


def _listed(name: str, folder: Path, follow_symlinks: bool, hidden: bool) -> Index[Path]:
    """Returns the files of `folder` by their places in it.

    Raises:
        PlanError: It cannot be listed, or holds none.
    """
    files: Index[Path] = Index()
    passed = Passed()
    for found in discover(folder, True, follow_symlinks, hidden, passed):
        if found.problem is not None and not found.link:
            raise PlanError(f"{display_path(found.path)}, which may hold the {name}: {found.problem}.")
        if found.path.suffix.lower() in READABLE:
            stem = found.path.relative_to(folder).with_suffix("").as_posix()
            files.add([stem], found.path)
    if not files:
        raise PlanError(f"{display_path(folder)} is to hold the {name}. {passed.reasons()}")
    return files


def _for_all(name: str, field: Field | None, place: Place) -> tuple[float, ...]:
    """Returns the numbers that are the same for all.

    Raises:
        PlanError: There is no such file, and they are no numbers.
    """
    said: object = place
    if isinstance(place, str | os.PathLike):
        said = os.fspath(place)
    elif not isinstance(place, Mapping):
        said = list(place)
    numbers = numbers_in(said)
    if field is not None and field.spatial:
        if numbers is not None or not isinstance(said, str):
            raise _of_other_kind(name, field, f"{said!r} is no place")
    elif numbers is not None or not isinstance(said, str) or "=" in said or said in _named(field):
        try:
            return vector(name, field if isinstance(field, Vector) else None, said)
        except PlanError as error:
            raise PlanError(as_sentence(str(error))) from None
    shown = display_path(str(said))
    if isinstance(field, Vector):
        near = f": {unknown('name', shown, field.names)}" if field.names else "."
        raise PlanError(
            f"{name} takes {in_full(field)}; or a table. {shown} is neither, and no such file exists{near}"
        )
    raise PlanError(f"{shown}, which is to hold the {name}, does not exist.")


def _named(field: Field | None) -> tuple[str, ...]:
    return field.names if isinstance(field, Vector) else ()


def _of_other_kind(name: str, field: Field, found: str) -> PlanError:
    allowed = (
        "a folder with a file of the same name for each, one picture for all, or a table with a column of "
        f"files called {name}"
        if field.spatial
        else f"{in_full(field)}; or a table (CSV, JSON lines, CelebA's text) with these for each file"
    )
    return PlanError(f"{name} is {in_words(field)}, and {found}. It takes {allowed}.")
