"""Which files make a sample, and which samples are held out."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from img2img.data.config import DataConfig
from img2img.errors import PlanError, display_path
from img2img.image import READABLE, discover

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing")
_NAMED = 5  # files in one message


@dataclass(frozen=True)
class Record:
    """The files of one sample.

    Attributes:
        key: Its name for people: the relative path below the folder that was given.
        source: The file of A; for side-by-side files the only one.
        target: The file of B, or None.
    """

    key: str
    source: Path
    target: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of it."""
        return (self.source,) if self.target is None else (self.source, self.target)

    @property
    def stem(self) -> str:
        """The name that decides on the split: the same whatever the extension."""
        return Path(self.key).with_suffix("").as_posix()


@dataclass(frozen=True)
class Records:
    """The samples of a configuration.

    Attributes:
        train: For training; for unpaired data those of A.
        train_b: For unpaired data those of B.
        validation: Held out; empty if nothing is.
        validation_b: Likewise.
        origin: Where the held-out part came from, as the end of a sentence.
        notes: Sentences about what was left out.
    """

    train: tuple[Record, ...]
    train_b: tuple[Record, ...] = ()
    validation: tuple[Record, ...] = ()
    validation_b: tuple[Record, ...] = ()
    origin: str = "nothing is held out"
    notes: tuple[str, ...] = ()


def find_records(config: DataConfig) -> Records:
    """Returns the samples that `config` names; no picture is opened.

    Raises:
        PlanError: A folder or file is missing or empty, partners are missing or ambiguous.
    """
    if config.list is not None:
        return _listed(config, config.list)
    given = config.paired or config.aligned or config.unpaired or config.images or ()
    train, held_out = _parts(config, given)
    if config.validation is not None:
        held_out = _both(config, config.validation)
    notes: list[str] = []
    records = Records(*_heaps(config, train, notes), notes=tuple(notes))
    if not held_out:
        return _split_off(config, records)
    validation, validation_b = _heaps(config, held_out, notes)
    return replace(
        records,
        validation=validation,
        validation_b=validation_b,
        origin=f"held out in {_names(held_out)}",
        notes=tuple(notes),
    )


def files_in(folder: Path) -> list[Path]:
    """Returns the pictures below `folder` in natural order, or those that a text file names.

    Raises:
        PlanError: There is no such folder, it cannot be listed, or nothing in it is a picture.
    """
    if folder.is_file():
        lines = _text(folder).splitlines()
        files = [folder.parent / line.strip() for line in lines if line.strip() and line[0] != "#"]
        _require_files(files, folder)
    elif not folder.is_dir():
        raise PlanError(f"there is no folder {display_path(folder)}.")
    else:
        found = list(discover(folder, follow_symlinks=True))
        for entry in found:
            if entry.problem:
                raise PlanError(f"{display_path(entry.path)}: {entry.problem}.")
        files = [entry.path for entry in found if entry.path.suffix.lower() in READABLE]
    if not files:
        raise PlanError(f"{display_path(folder)} holds no pictures (of kinds that are read).")
    return files


def paired_folders(first: Path, second: Path) -> tuple[tuple[Record, ...], list[Path]]:
    """Matches the files of two folders by their relative names without extension.

    Returns:
        The pairs in the order of the first folder, and the files of both that have no partner.

    Raises:
        PlanError: A name stands for several files in one folder, or nothing matches.
    """
    sides = [_by_stem(first), _by_stem(second)]
    pairs = tuple(
        Record(_relative(path, first), path, sides[1][stem])
        for stem, path in sides[0].items()
        if stem in sides[1]
    )
    alone = [path for stem, path in sides[0].items() if stem not in sides[1]]
    alone += [path for stem, path in sides[1].items() if stem not in sides[0]]
    if not pairs:
        raise PlanError(
            f"no file in {display_path(first)} has a partner of the same name in {display_path(second)} "
            f"(there are {display_path(alone[0].name)} and {display_path(alone[-1].name)}); "
            "partners agree in their path below the folder, extensions may differ."
        )
    return pairs, alone


def held_out_share(names: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Returns for each name whether it is held out.

    A name is held out when its hash, as a number from 0 to 1, is below `fraction`: other names do not
    matter. Of two names and more at least one is held out and at least one is not.
    """
    numbers = [
        int.from_bytes(
            hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()[:8], "big"
        )
        for name in names
    ]
    held_out = [number < fraction * 2**64 for number in numbers]
    if fraction > 0 and len(set(numbers)) > 1:
        if not any(held_out):
            held_out = [number == min(numbers) for number in numbers]
        elif all(held_out):
            held_out = [number != max(numbers) for number in numbers]
    return held_out


def _split_off(config: DataConfig, records: Records) -> Records:
    """Returns `records` with a part of the training samples held out."""
    fraction = config.split_fraction
    if fraction == 0:
        return records

    def cut(part: tuple[Record, ...]) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
        marks = held_out_share([record.stem for record in part], fraction, config.split_seed)
        pairs = list(zip(part, marks, strict=True))
        return tuple(r for r, out in pairs if not out), tuple(r for r, out in pairs if out)

    train, validation = cut(records.train)
    train_b, validation_b = cut(records.train_b)
    if not validation or (records.train_b and not validation_b):
        return records  # a single picture cannot be divided
    return replace(
        records,
        train=train,
        validation=validation,
        train_b=train_b,
        validation_b=validation_b,
        origin=f"split off by file name (fraction {fraction:g}, seed {config.split_seed})",
    )


def _parts(config: DataConfig, given: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Returns the folders for training and those held out beside them, which may be none."""
    if len(given) == 1 and (config.paired or config.unpaired):
        (root,) = given
        train = next(filter(None, (_two(root, name) for name in TRAIN)), None)
        if train is not None:
            return train, next(filter(None, (_two(root, name) for name in HELD_OUT)), ())
    given = _both(config, given)
    trains, held_outs = (
        [tuple(root / name for root in given) for name in names] for names in (TRAIN, HELD_OUT)
    )
    folders = next((folders for folders in trains if all(map(Path.is_dir, folders))), None)
    if folders is None:
        return given, _beside(given)
    return folders, next((folders for folders in held_outs if all(map(Path.is_dir, folders))), ())


def _beside(given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Returns the held-out folders beside folders for training that were named themselves, which may be none.

    They are "testA" and "testB" beside "trainA" and "trainB", or "test" beside "train".
    """
    for train in TRAIN:
        ends = [folder.name.removeprefix(train) for folder in given if folder.name.startswith(train)]
        if len(ends) != len(given) or not set(ends) <= {"", "A", "B"}:
            continue
        for name in HELD_OUT:
            folders = tuple(folder.with_name(name + end) for folder, end in zip(given, ends, strict=True))
            if all(map(Path.is_dir, folders)):
                return folders
    return ()


def _both(config: DataConfig, given: tuple[Path, ...]) -> tuple[Path, ...]:
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


def _heaps(
    config: DataConfig, folders: tuple[Path, ...], notes: list[str]
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Returns the samples in `folders`, or those of A and those of B."""
    if config.unpaired is not None:
        return _single(folders[:1]), _single(folders[1:])
    if config.paired is None:
        return _single(folders), ()
    pairs, alone = paired_folders(*folders)
    if alone:
        count = f"{len(alone)} files" if len(alone) > 1 else "1 file"
        sentence = f"{count} in {_names(folders)} with no partner of the same name: {_names(alone)}"
        if config.unmatched == "error":
            raise PlanError(f"{sentence}. Add the partners, or say unmatched: skip.")
        notes.append(f"{sentence}; they are left out.")
    return pairs, ()


def _single(folders: Iterable[Path]) -> tuple[Record, ...]:
    """Returns one sample for each file in `folders`; of several folders, their names lead the keys."""
    folders = tuple(folders)
    records = []
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        records += [Record(prefix + _relative(path, folder), path) for path in files_in(folder)]
    return tuple(records)


def _listed(config: DataConfig, path: Path) -> Records:
    """Returns the pairs of a list."""
    train, validation = _read_list(path)
    if config.validation is not None:
        validation = [record for file in config.validation for part in _read_list(file) for record in part]
    if not train:
        raise PlanError(f"{display_path(path)} names no pairs for training.")
    records = Records(tuple(train), validation=tuple(validation), origin=f"held out by {display_path(path)}")
    return records if validation else _split_off(config, replace(records, origin=Records.origin))


def _read_list(path: Path) -> tuple[list[Record], list[Record]]:
    """Returns the pairs of a list: those for training and those held out."""
    text = _text(path)
    rows: list[tuple[int, dict[str, str]]] = []
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise PlanError(
                    f'{display_path(path)}, line {number}: is not {{"source": "...", "target": "..."}}.'
                )
            rows.append((number, row))
    else:
        reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
        rows = [(reader.line_num, row) for row in reader]
    parts: tuple[list[Record], list[Record]] = ([], [])
    for number, row in rows:
        lacking = [
            name for name in ("source", "target") if not isinstance(row.get(name), str) or not row[name]
        ]
        if lacking:
            found = ", ".join(str(name) for name in row if row[name]) or "nothing"
            raise PlanError(
                f"{display_path(path)}, line {number}: {' and '.join(lacking)} is missing or empty; every "
                f"line names source and target, and this one has {found}."
            )
        names = row["source"], row["target"]
        part = str(row.get("split") or "train").lower()
        if part not in (*TRAIN, *HELD_OUT):
            raise PlanError(
                f"{display_path(path)}, line {number}: split is {part!r}, and may be train, val or test."
            )
        record = Record(names[0], path.parent / names[0], path.parent / names[1])
        parts[part not in TRAIN].append(record)
    _require_files([file for part in parts for record in part for file in record.files], path)
    return parts


def _by_stem(folder: Path) -> dict[str, Path]:
    """Returns the files below `folder` by relative name without extension."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files_in(folder):
        found[Path(_relative(path, folder)).with_suffix("").as_posix()].append(path)
    clashes = [paths for paths in found.values() if len(paths) > 1]
    if clashes:
        raise PlanError(
            f"in {display_path(folder)} one name stands for several files: {_names(clashes[0])}"
            f"{f' (and {len(clashes) - 1} more names)' if clashes[1:] else ''}; rename or move all but one."
        )
    return {stem: paths[0] for stem, paths in found.items()}


def _relative(path: Path, folder: Path) -> str:
    """Returns the name of `path` below `folder`, or below the folder that the list `folder` is in."""
    try:
        return path.relative_to(folder.parent if folder.is_file() else folder).as_posix()
    except ValueError:  # a list may name any place
        return path.as_posix()


def _require_files(files: Sequence[Path], origin: Path) -> None:
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise PlanError(f"{display_path(origin)} names files that do not exist: {_names(missing)}.")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise PlanError(f"{display_path(path)} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise PlanError(f"{display_path(path)} is not UTF-8 text; save it as UTF-8.") from None


def _names(paths: Sequence[Path]) -> str:
    """Returns the first few of `paths` for a message."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(display_path(path) for path in paths[:_NAMED]) + more
