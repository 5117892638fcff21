"""Which files make a sample, and which samples are held out."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from img2img.data.config import DataConfig
from img2img.errors import PlanError, display_path
from img2img.files import read_regular
from img2img.image import list_images
from img2img.image.discovery import collision_key, sentences_not_read

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing")
_WORD = re.compile(r"\d+|[^\W\d_]+")
_NAMED = 5  # files in one message
_LARGEST_LIST = 2**30  # bytes
Entries = dict[Path, dict[str, list[str]]]
"""The names in folders, by what they are compared by."""


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
        passed: Sentences about what was passed over when searching.
        alone: The files without a partner.
        not_read: The files of kinds that are known and not read, by the name of the kind.
    """

    train: tuple[Record, ...]
    train_b: tuple[Record, ...] = ()
    validation: tuple[Record, ...] = ()
    validation_b: tuple[Record, ...] = ()
    origin: str = "nothing is held out"
    passed: tuple[str, ...] = ()
    alone: tuple[Path, ...] = ()
    not_read: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about everything that was left out."""
        notes = [*self.passed, *(f"{one} Left out." for one in sentences_not_read(self.not_read))]
        if self.alone:
            notes.append(f"{_without_partner(self.alone)}; they are left out.")
        return tuple(notes)


@dataclass
class Search:
    """How folders are searched, and what that left out.

    Attributes:
        follow_symlinks: Look into folders that links lead to.
        hidden: Take what begins with a dot.
        passed, alone, not_read: See `Records`.
    """

    follow_symlinks: bool = False
    hidden: bool = False
    passed: list[str] = field(default_factory=list)
    alone: list[Path] = field(default_factory=list)
    not_read: dict[str, list[Path]] = field(default_factory=dict)

    def files(self, folder: Path) -> list[Path]:
        """Returns the pictures below `folder` in natural order, or those that a text file names.

        Raises:
            PlanError: There is no such folder, it cannot be listed, or nothing in it is a picture.
        """
        if folder.is_file():
            lines = _text(folder).splitlines()
            names = [line.strip() for line in lines if line.strip() and line[0] != "#"]
            entries: Entries = {}
            files = [_as_stored(folder.parent / name, entries) for name in names]
            _require_files(files, folder)
            reasons = "It names none."
        elif not folder.is_dir():
            raise PlanError(f"there is no folder {display_path(folder)}.")
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
    search = Search(config.follow_symlinks, config.hidden)
    records = Records(*_unpaired(config, train, search))
    if held_out:
        validation, validation_b = _unpaired(config, held_out, search)
        records = replace(
            records,
            validation=validation,
            validation_b=validation_b,
            origin=f"held out in {_names(held_out)}",
        )
    else:
        records = _split_off(config, records)
    return replace(records, passed=tuple(search.passed), alone=tuple(search.alone), not_read=search.not_read)


def _pairs(first: Path, second: Path, search: Search) -> tuple[tuple[Record, ...], list[Path]]:
    """Matches the files of two folders by their relative names without extension.

    Names that differ in letter case or Unicode form alone match where no other file could be meant.

    Returns:
        The pairs in the order of the first folder, and the files of both that have no partner. A file whose
        partner is there and of a kind that is not read is in neither.

    Raises:
        PlanError: A name stands for several files in one folder, or nothing matches.
    """
    left, right = (_by_stem(folder, search) for folder in (first, second))
    partner = {stem: stem for stem in left if stem in right}
    partner |= _unique(left.keys() - partner.keys(), right.keys() - partner.keys())
    if not partner:
        partner = _by_what_differs(left, right)
        if partner:
            one = next(iter(partner))
            search.passed.append(
                f"Names differ in what all of a folder share: {display_path(left[one].name)} goes with "
                f"{display_path(right[partner[one]].name)}, and so on ({len(partner)} pairs)."
            )
    pairs = tuple(
        Record(_relative(path, first), path, right[partner[stem]])
        for stem, path in left.items()
        if stem in partner
    )
    unread = {
        collision_key(_stem(path, folder))
        for paths in search.not_read.values()
        for path in paths
        for folder in (first, second)
        if path.is_relative_to(folder)
    }
    taken = set(partner.values())
    alone = [path for stem, path in left.items() if stem not in partner and collision_key(stem) not in unread]
    alone += [path for stem, path in right.items() if stem not in taken and collision_key(stem) not in unread]
    if not pairs:
        why = " ".join(sentences_not_read(search.not_read))
        if alone:
            why = (
                f"There are {display_path(alone[0].name)} and {display_path(alone[-1].name)}; partners agree "
                "in their path below the folder, but for extensions and for what all names of a folder share "
                f"at their beginning or end; --list takes a table of pairs with any names. {why}"
            )
        raise PlanError(
            f"no file in {display_path(first)} has a partner of the same name in {display_path(second)}. "
            f"{why}".rstrip()
        )
    return pairs, alone


def _unique(left: Iterable[str], right: Iterable[str]) -> dict[str, str]:
    """Returns the names of `left` with those of `right` that some file system takes for the same."""
    groups: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, names in enumerate((left, right)):
        for name in names:
            groups[collision_key(name)][side].append(name)
    return {one[0]: other[0] for one, other in groups.values() if len(one) == len(other) == 1}


def _by_what_differs(left: Iterable[str], right: Iterable[str]) -> dict[str, str]:
    """Returns the names of `left` with those of `right` that are equal but for the words that a side shares.

    Words are runs of letters or of digits: of photo-1 and photo-2 both begin with "photo", of 1_mask and
    2_mask both end in "mask". Of the ways to leave these out the one that finds most pairs counts.
    """
    best: dict[str, str] = {}
    for start, end in ((False, True), (True, False), (True, True)):
        sides = [_without_shared(names, start, end) for names in (list(left), list(right))]
        found = {one: sides[1][key] for key, one in sides[0].items() if key in sides[1]}
        best = max(best, found, key=len)
    return best


def _without_shared(names: list[str], start: bool, end: bool) -> dict[tuple[str, ...], str]:
    """Returns names by their folder and their words without those that all share; no key is of two names."""
    words = {name: _WORD.findall(collision_key(PurePosixPath(name).name)) for name in names}
    if len(words) < 2:  # nothing tells what is shared
        return {}
    least = min(map(len, words.values()))
    ahead = _shared(list(words.values())) if start else 0
    behind = _shared([own[::-1] for own in words.values()]) if end else 0
    behind = min(behind, least - ahead)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, own in words.items():
        folder = collision_key(str(PurePosixPath(name).parent))
        groups[(folder, *own[ahead : len(own) - behind])].append(name)
    return {key: group[0] for key, group in groups.items() if len(group) == 1 and len(key) > 1}


def _shared(lists: Sequence[list[str]]) -> int:
    """Returns with how many words all begin."""
    first, last = min(lists), max(lists)  # what these two share, all between them do
    return next(
        (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, lists))
    )


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


def _unpaired(
    config: DataConfig, folders: tuple[Path, ...], search: Search
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Returns the samples in `folders`, or those of A and those of B."""
    if config.unpaired is not None:
        return _single(folders[:1], search), _single(folders[1:], search)
    if config.paired is None:
        return _single(folders, search), ()
    pairs, alone = _pairs(folders[0], folders[1], search)
    search.alone += alone
    if config.unmatched == "error" and (alone or search.not_read):
        sentences = sentences_not_read(search.not_read)
        if alone:
            sentences.append(f"{_without_partner(alone)}. Add the partners, or say unmatched: skip.")
        else:
            sentences.append("To leave them and their partners out, say unmatched: skip.")
        raise PlanError(" ".join(sentences))
    return pairs, ()


def _single(folders: Iterable[Path], search: Search) -> tuple[Record, ...]:
    """Returns one sample for each file in `folders`; of several folders, their names lead the keys."""
    folders = tuple(folders)
    records = []
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        records += [Record(prefix + _relative(path, folder), path) for path in search.files(folder)]
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
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise PlanError(
                    f'{display_path(path)}, line {number}: is not {{"source": "...", "target": "..."}}.'
                )
            rows.append((number, row))
    else:
        reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
        try:
            rows = [(reader.line_num, row) for row in reader]
        except csv.Error as error:
            raise PlanError(f"{display_path(path)}, line {reader.line_num}: is no CSV ({error}).") from None
    parts: tuple[list[Record], list[Record]] = ([], [])
    entries: Entries = {}
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
        record = Record(names[0], *(_as_stored(path.parent / name, entries) for name in names))
        parts[part not in TRAIN].append(record)
    _require_files([file for part in parts for record in part for file in record.files], path)
    return parts


def _by_stem(folder: Path, search: Search) -> dict[str, Path]:
    """Returns the files below `folder` by relative name without extension."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in search.files(folder):
        found[_stem(path, folder)].append(path)
    clashes = [paths for paths in found.values() if len(paths) > 1]
    if clashes:
        raise PlanError(
            f"in {display_path(folder)} one name stands for several files: {_names(clashes[0])}"
            f"{f' (and {len(clashes) - 1} more names)' if clashes[1:] else ''}; rename or move all but one."
        )
    return {stem: paths[0] for stem, paths in found.items()}


def _stem(path: Path, folder: Path) -> str:
    return Path(_relative(path, folder)).with_suffix("").as_posix()


def _relative(path: Path, folder: Path) -> str:
    """Returns the name of `path` below `folder`, or below the folder that the list `folder` is in."""
    try:
        return path.relative_to(folder.parent if folder.is_file() else folder).as_posix()
    except ValueError:  # a list may name any place
        return path.as_posix()


def _as_stored(path: Path, entries: Entries) -> Path:
    """Returns `path` in the letter case and Unicode form that its file has, where only one can be meant."""
    if path.exists() or path == path.parent:
        return path
    folder = _as_stored(path.parent, entries)
    if folder not in entries:
        entries[folder] = defaultdict(list)
        if folder.is_dir():
            for name in os.listdir(folder):  # noqa: PTH208
                entries[folder][collision_key(name)].append(name)
    names = entries[folder].get(collision_key(path.name), ())
    return folder / names[0] if len(names) == 1 else path


def _without_partner(paths: Sequence[Path]) -> str:
    files = f"{len(paths)} files" if len(paths) > 1 else "1 file"
    return f"{files} with no partner of the same name: {_names(paths)}"


def _require_files(files: Sequence[Path], origin: Path) -> None:
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise PlanError(f"{display_path(origin)} names files that do not exist: {_names(missing)}.")


def _text(path: Path) -> str:
    try:
        return read_regular(path, _LARGEST_LIST).decode("utf-8-sig")
    except OSError as error:
        raise PlanError(f"{display_path(path)} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise PlanError(f"{display_path(path)} is not UTF-8 text; save it as UTF-8.") from None


def _names(paths: Sequence[Path]) -> str:
    """Returns the first few of `paths` for a message."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(display_path(path) for path in paths[:_NAMED]) + more
