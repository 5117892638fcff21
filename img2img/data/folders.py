"""How folders are searched, and which of them hold the part that is held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from img2img.data.config import DataConfig
from img2img.data.record import Record, some_names
from img2img.errors import PlanError, display_path
from img2img.image import READABLE, list_images
from img2img.image.discovery import Entries, as_stored, sentences_not_read
from img2img.tables import Table, read_table, read_text

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation")
HELD_OUT = (*VALIDATION, "test", "testing")


@dataclass
class Search:
    """How folders are searched, and what that left out.

    Attributes:
        follow_symlinks: Look into folders that links lead to.
        hidden: Take what begins with a dot.
        passed, alone, lacks, spare, not_read: See `Records`.
        tables: Those that were read.
    """

    follow_symlinks: bool = False
    hidden: bool = False
    passed: list[str] = field(default_factory=list)
    alone: list[Path] = field(default_factory=list)
    lacks: dict[Path, str] = field(default_factory=dict)
    spare: dict[Path, dict[str, None]] = field(default_factory=dict)
    not_read: dict[str, list[Path]] = field(default_factory=dict)
    tables: dict[Path, Table] = field(default_factory=dict)

    def take(self, place: Path, names: Iterable[str], taken: Iterable[str]) -> None:
        """Notes which of the names in a place samples have taken; the first time knows all."""
        left = self.spare.setdefault(place, dict.fromkeys(names))
        for name in taken:
            left.pop(name, None)

    def leave_out(self, records: Iterable[Record], lacking: str) -> None:
        """Notes that the files of records are left out, and what they lack."""
        for path in (path for record in records for path in record.paths):
            self.alone.append(path)
            self.lacks.setdefault(path, lacking)

    def table(self, path: Path, columns: Sequence[str] | None) -> Table:
        """Returns a table, read once."""
        if path not in self.tables:
            self.tables[path] = read_table(path, columns)
        return self.tables[path]

    def files(self, folder: Path, one: bool = False) -> list[Path]:
        """Returns the pictures below `folder` in natural order, or those that a text file names.

        Args:
            folder: A folder or a text file.
            one: Whether it may also be a picture, which is then the only one.

        Raises:
            PlanError: There is no such folder, it cannot be listed, or nothing in it is a picture.
        """
        if folder.is_file():
            if folder.suffix.lower() in READABLE:
                if one:
                    return [folder]
                raise PlanError(
                    f"{display_path(folder)} is a picture; name its folder, or a text file of pictures."
                )
            lines = read_text(folder).splitlines()
            names = [line.strip() for line in lines if line.strip() and line[0] != "#"]
            entries: Entries = {}
            files = [as_stored(folder.parent / name, entries) for name in names]
            require_files(files, folder)
            reasons = "It names none."
        elif not folder.is_dir():
            raise PlanError(f"there is no folder {'or picture ' * one}{display_path(folder)}.")
        else:
            listing = list_images(folder, self.follow_symlinks, self.hidden)
            for found in listing.problems:
                raise PlanError(f"{display_path(found.path)}: {found.problem}.")
            files = listing.files
            options = {"hidden": "data.hidden=true", "links": "data.follow_symlinks=true"}
            self.passed += [note for note in listing.passed.notes(**options) if note not in self.passed]
            for kind, paths in listing.not_read.items():
                known = self.not_read.setdefault(kind, [])
                known += [path for path in paths if path not in known]
            reasons = " ".join(sentences_not_read(listing.not_read)) or listing.passed.reasons(**options)
        if not files:
            raise PlanError(f"{display_path(folder)} holds no pictures of kinds that are read. {reasons}")
        return files


def divided_folders(
    config: DataConfig, given: tuple[Path, ...]
) -> tuple[tuple[Path, ...], list[tuple[Path, ...]]]:
    """Returns the folders for training, and all that are held out beside them, those for validation first."""
    if len(given) == 1 and (config.paired or config.unpaired):
        (root,) = given
        train = next(filter(None, (_two(root, name) for name in TRAIN)), None)
        if train is not None:
            return train, list(filter(None, (_two(root, name) for name in HELD_OUT)))
    given = both_folders(config, given)
    trains, held_outs = (
        [tuple(root / name for root in given) for name in names] for names in (TRAIN, HELD_OUT)
    )
    folders = next((folders for folders in trains if all(map(Path.is_dir, folders))), None)
    if folders is None:
        return given, _beside(given)
    return folders, [folders for folders in held_outs if all(map(Path.is_dir, folders))]


def _beside(given: tuple[Path, ...]) -> list[tuple[Path, ...]]:
    """Returns the held-out folders beside folders for training that were named themselves.

    They are "testA" and "testB" beside "trainA" and "trainB", or "test" beside "train".
    """
    for train in TRAIN:
        ends = [folder.name.removeprefix(train) for folder in given if folder.name.startswith(train)]
        if len(ends) != len(given) or not set(ends) <= {"", "A", "B"}:
            continue
        held_outs = [
            tuple(folder.with_name(name + end) for folder, end in zip(given, ends, strict=True))
            for name in HELD_OUT
        ]
        return [folders for folders in held_outs if all(map(Path.is_dir, folders))]
    return []


def both_folders(config: DataConfig, given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Returns the folders of A and B where one was given that holds both; otherwise what was given.

    Raises:
        PlanError: It holds no such folders.
    """
    if len(given) == 2 or not (config.paired or config.unpaired):
        return given
    both = next(filter(None, (_two(given[0], name) for name in ("", *HELD_OUT, *TRAIN))), None)
    if both is None:
        raise PlanError(
            f"{display_path(given[0])} holds no two folders A and B (or trainA and trainB); name two folders."
        )
    return both


def _two(root: Path, name: str) -> tuple[Path, ...] | None:
    """Returns the folders "nameA" and "nameB" in `root` if they exist."""
    folders = root / f"{name}A", root / f"{name}B"
    return folders if all(map(Path.is_dir, folders)) else None


def by_stem(folder: Path, search: Search) -> dict[str, Path]:
    """Returns the files below `folder` by relative name without extension."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in search.files(folder):
        found[stem_of(path, folder)].append(path)
    clashes = [paths for paths in found.values() if len(paths) > 1]
    if clashes:
        raise PlanError(
            f"in {display_path(folder)} one name stands for several files: {some_names(clashes[0])}"
            f"{f' (and {len(clashes) - 1} more names)' if clashes[1:] else ''}; rename or move all but one."
        )
    return {stem: paths[0] for stem, paths in found.items()}


def stem_of(path: Path, folder: Path) -> str:
    """Returns the name of `path` below `folder` without its extension."""
    return Path(relative_name(path, folder)).with_suffix("").as_posix()


def relative_name(path: Path, folder: Path) -> str:
    """Returns the name of `path` below `folder`, or below the folder that the list `folder` is in."""
    try:
        return path.relative_to(folder.parent if folder.is_file() else folder).as_posix()
    except ValueError:  # a list may name any place
        return path.as_posix()


def require_files(files: Sequence[Path], origin: Path) -> None:
    """Raises PlanError if one of `files`, which `origin` names, is not there."""
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise PlanError(f"{display_path(origin)} names files that do not exist: {some_names(missing)}.")
