"""Dividing data into training, validation and test by a seed and the names of the files."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from img2img.data.config import DataConfig
from img2img.data.places import leading_places, present, sides
from img2img.data.record import Record, Records
from img2img.data.records import find_records, held_out_share
from img2img.errors import PlanError, UsageError, display_path
from img2img.fields import Fields
from img2img.image.names import shared_start

PARTS = ("train", "val", "test")
How = Literal["copy", "link"]
_LIST = "pairs.csv"
_SPARE = 64 * 2**20  # bytes that stay free on the disk


@dataclass(frozen=True)
class Placed:
    """One file and where it goes.

    Attributes:
        part: train, val or test.
        source: The file.
        target: Its place below the output folder.
    """

    part: str
    source: Path
    target: PurePosixPath


@dataclass(frozen=True)
class Division:
    """What `divide` decided.

    Attributes:
        files: Every file with its place.
        rows: For samples of several files: the part and the files of each.
        counts: Samples of each part.
        layout: The key of data that reads the result: "paired", "aligned", "unpaired" or "images"; a list of
            its rows is read by "list".
        config: Where the samples were.
        fields: What a sample holds.
        tables: The numbers of vectors as CSV, by name.
        notes: Sentences about what was left out, and what was divided already.
    """

    files: tuple[Placed, ...]
    rows: tuple[tuple[str, Record], ...]
    counts: dict[str, int]
    layout: str
    config: DataConfig
    fields: Fields
    tables: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def places(self, output: Path, lists: bool) -> dict[str, Any]:
        """Returns the keys of the section data that read what was written into `output`."""
        further: dict[str, Any] = {
            name: place for name, place in self.config.fields.items() if isinstance(place, str)
        }
        if lists and self.rows:
            found: dict[str, Any] = {"list": output / _LIST}
            further = {name: place for name, place in further.items() if place == "random"}
        else:
            letters = ("A", "B") if self.layout in ("paired", "unpaired") else ("",)
            own = [output / f"train{letter}.txt" if lists else output / letter for letter in letters]
            found = {self.layout: own}
            if lists and self.counts["val"]:
                found["validation"] = [output / f"val{letter}.txt" for letter in letters]
            folders = {placed.target.parts[0] for placed in self.files} - {*letters, *PARTS}
            further |= {name: output / name for name in sorted(folders)}
            further |= {name: output / f"{name}.csv" for name in self.tables}
            if lists:
                leading = sides(self.config, self.fields)
                further = {name: place for name, place in self.config.fields.items() if name not in leading}
        direction = {"direction": "BtoA"} if self.config.direction == "BtoA" else {}
        attributes = {"attributes": list(self.config.attributes or ())} if lists and not self.rows else {}
        return (
            found
            | ({"fields": further} if further else {})
            | direction
            | {k: v for k, v in attributes.items() if v}
        )


def divide(
    config: DataConfig,
    validation: float,
    test: float,
    seed: int,
    group: str | None = None,
    fields: Fields | None = None,
) -> Division:
    """Decides for every sample of `config` whether it is for training, validation or test.

    The hash of seed and name decides, so other files do not matter, and the same names always fall alike;
    shares are met on average. Pairs stay together. What was divided already is taken as one.

    Args:
        config: Where the samples are.
        validation: Share for validation, from 0 to 1.
        test: Share for test.
        seed: Another number is another division.
        group: What else stays together: "folder" for the pictures of one folder, or a regular expression
            whose first group (or whole match) in the name without extension is the same for all of them.
        fields: What a sample holds; None takes what the data alone say.

    Raises:
        UsageError: The shares leave nothing for training, or the pattern is none.
        PlanError: There are no files or partners are missing.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise UsageError(f"the shares {validation:g} and {test:g} must leave something for training.")
    fields = present(config, fields)
    records = find_records(config.model_copy(update={"validation_fraction": 0.0}), fields, tests=True)
    layout = config.form
    if layout in ("list", "fields"):
        several = "unpaired" if len(records.train) > 1 else "paired"
        layout = several if len(sides(config, fields)) > 1 else "images"
    letters = {name: name for name in fields} | dict(zip(sides(config, fields), "AB", strict=False))
    key = _key(group)
    listed = config.list is not None or any(map(Path.is_file, leading_places(config, fields)))
    placed: list[Placed] = []
    rows: list[tuple[str, Record]] = []
    counts: Counter[str] = Counter()
    none = ((),) * len(records.train)
    every = zip(records.train, records.validation or none, records.test or none, strict=True)
    for own, held_out, tested in every:
        samples = (*own, *held_out, *tested)
        parts = _parts([key(record.stem) for record in samples], validation, test, seed)
        if listed and samples:
            samples = _below_their_folder(samples)
        for record, part in zip(samples, parts, strict=True):
            counts[part] += 1
            rows.append((part, record))
            main = next(iter(record.files.values()))
            for name, path in record.files.items():
                alone = path == main and layout in ("images", "aligned")
                folder = part if alone else f"{letters[name]}/{part}"
                placed.append(Placed(part, path, _place(folder, record, path)))
    placed = list(dict.fromkeys(placed))  # a file with both sides is one file
    clashes = [name for name, count in Counter(p.target for p in placed).items() if count > 1]
    if clashes:
        raise PlanError(
            f"two files would become {clashes[0]}: rename one, or name a folder that is not divided already."
        )
    single = config.images is not None and not config.fields
    in_rows = len(records.train) == 1 and config.aligned is None and not single
    kept = {name for name, place in config.fields.items() if place == "classes" and config.list is None}
    return Division(
        tuple(placed),
        tuple(rows) if in_rows else (),
        {part: counts[part] for part in PARTS},
        layout,
        config,
        fields,
        {
            name: _table(name, records, rows)
            for name, one in fields.items()
            if not one.spatial and name not in kept
        },
        (*records.notes, *_taken_as_one(records)),
    )


def _taken_as_one(records: Records) -> list[str]:
    """Returns a sentence about samples that were divided already."""
    parts = dict(zip(PARTS, (records.train, records.validation, records.test), strict=True))
    counts = {part: sum(map(len, groups)) for part, groups in parts.items()}
    if not counts["val"] + counts["test"]:
        return []
    found = " and ".join(f"{count} for {part}" for part, count in counts.items() if count)
    return [f"They were divided already, {found}; all are divided anew, as one."]


def _below_their_folder(samples: Sequence[Record]) -> tuple[Record, ...]:
    """Returns samples of a list, named below the folder that all lie in: A/1.png and A/2.png are 1 and 2."""
    names = [PurePosixPath(record.key).parts for record in samples]
    shared = shared_start([parts[:-1] for parts in names])
    return tuple(
        replace(record, key=PurePosixPath(*parts[shared:]).as_posix())
        for record, parts in zip(samples, names, strict=True)
    )


def _table(name: str, records: Records, rows: Sequence[tuple[str, Record]]) -> str:
    """Returns the numbers of the vector `name` as CSV, by the names that files have in the folders."""
    found = [record for _, record in rows if name in record.values]
    size = len(found[0].values[name]) if found else 0
    names = records.names.get(name) or [f"{name} {number}" for number in range(size)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", *names))
    for record in found:
        path = _place("", record, record.paths[0])
        writer.writerow((path, *(f"{value:.9g}" for value in record.values[name])))
    return text.getvalue()


def write_folders(
    division: Division, output: Path, how: How, advance: Callable[[], None] = lambda: None
) -> int:
    """Makes the folder `output` with all files in their places, in one step; inputs are not touched.

    Args:
        division: From `divide`.
        output: The folder, which must not exist or be empty.
        how: "copy", or "link": hard links, and symbolic ones where the disk is another.
        advance: Called after each file.

    Returns:
        How many files are symbolic links.

    Raises:
        UsageError: There is something already, or the disk is too small, or it lies among the pictures.
    """
    _require_free(output, division)
    if how == "copy":
        needed = sum(placed.source.stat().st_size for placed in division.files) + _SPARE
        free = shutil.disk_usage(_existing(output)).free
        if free < needed:
            raise UsageError(
                f"{display_path(output)}: {needed / 2**30:.1f} GiB are needed and {free / 2**30:.1f} GiB are "
                "free; choose another disk, or link instead of copying."
            )
    symbolic = 0

    def fill(folder: Path) -> None:
        nonlocal symbolic
        for placed in division.files:
            target = folder / placed.target
            target.parent.mkdir(parents=True, exist_ok=True)
            source = placed.source.resolve()
            if how == "copy":
                shutil.copyfile(source, target)
                shutil.copystat(source, target)
                target.chmod(0o644)
            else:
                try:
                    os.link(source, target)
                except OSError:
                    target.symlink_to(source)
                    symbolic += 1
            advance()
        for name, text in division.tables.items():
            (folder / f"{name}.csv").write_text(text, "utf-8", "surrogateescape")

    _in_one_step(output, fill)
    return symbolic


def write_lists(division: Division, output: Path) -> list[str]:
    """Writes lists into the new folder `output`: pairs.csv for pairs, else one text file for each part.

    Paths in them are relative to the folder, where they can be.

    Returns:
        The names of the lists.

    Raises:
        UsageError: There is something already, or fields come from columns for which lists of unpaired
            pictures have no place.
    """
    _require_free(output, division)
    leading = sides(division.config, division.fields)
    further = [n for n in division.fields if n not in leading and n not in division.config.fields]
    if not division.rows and division.config.list is not None and further:
        raise UsageError(
            f"lists of pictures without partners have no column for {' and '.join(further)}; divide into "
            "folders."
        )
    base = output.resolve()
    lists: dict[str, list[str]] = {}
    if division.rows:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        files, numbers = division.rows[0][1].files, division.rows[0][1].values
        columns = ("source", "target", *list(files)[2:]) if division.layout == "paired" else tuple(files)
        writer.writerow((*columns, *numbers, "split"))
        for part, record in division.rows:
            paths = [_relative(path, base) for path in record.files.values()]
            vectors = [" ".join(f"{value:.9g}" for value in values) for values in record.values.values()]
            writer.writerow((*paths, *vectors, part))
        lists[_LIST] = [text.getvalue()]
    else:
        letters = ("A", "B") if division.layout == "unpaired" else PARTS
        for placed in (placed for placed in division.files if placed.target.parts[0] in letters):
            line = _relative(placed.source, base) + "\n"
            letter = placed.target.parts[0] if division.layout == "unpaired" else ""
            lists.setdefault(f"{placed.part}{letter}.txt", []).append(line)

    def fill(folder: Path) -> None:
        for name, lines in lists.items():
            (folder / name).write_text("".join(lines), "utf-8", "surrogateescape")

    _in_one_step(output, fill)
    return sorted(lists)


def _key(group: str | None) -> Callable[[str], str]:
    if group is None:
        return lambda stem: stem
    if group == "folder":
        return lambda stem: str(PurePosixPath(stem).parent)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise UsageError(f"{group!r} is neither folder nor a regular expression ({error}).") from None

    def matched(stem: str) -> str:
        match = pattern.search(stem)
        return stem if match is None else match[1] if pattern.groups else match[0]

    return matched


def _parts(names: Sequence[str], validation: float, test: float, seed: int) -> list[str]:
    """Returns the part of each name; equal names fall alike."""
    distinct = sorted(set(names))
    in_test = held_out_share(distinct, test, seed)
    rest = [name for name, out in zip(distinct, in_test, strict=True) if not out]
    # Of the same hash: what is below test + validation, and not below test.
    in_validation = held_out_share(rest, validation + test, seed) if validation else [False] * len(rest)
    part = dict.fromkeys(distinct, "test") | {
        name: "val" if out else "train" for name, out in zip(rest, in_validation, strict=True)
    }
    return [part[name] for name in names]


def _place(folder: str, record: Record, path: Path) -> PurePosixPath:
    """Returns the place of a file: its key below `folder`, with its own extension."""
    stem = PurePosixPath(record.stem)
    if stem.is_absolute() or ".." in stem.parts:  # from a list
        stem = PurePosixPath(*(part for part in stem.parts if part not in ("..", stem.anchor)))
    return folder / stem.with_name(stem.name + path.suffix)


def _require_free(output: Path, division: Division) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{display_path(output)} is there already; name a new folder.")
    inside = output.resolve()
    for folder in division.config.folders:
        if inside.is_relative_to(folder.resolve()):
            raise UsageError(
                f"{display_path(output)} lies inside of {display_path(folder)}, and would be taken for more "
                "pictures of it; choose a folder beside it."
            )
    for placed in division.files[:1]:
        if inside in placed.source.resolve().parents:
            raise UsageError(f"{display_path(output)} holds the inputs; name a new folder.")


def _in_one_step(output: Path, fill: Callable[[Path], None]) -> None:
    """Fills a folder beside `output` and gives it that name."""
    stage = output.with_name(f".img2img-dividing-{os.getpid()}")
    try:
        try:
            stage.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"{display_path(output)} cannot be made: {error.strerror}.") from None
        fill(stage)
        if output.is_dir():
            output.rmdir()
        stage.rename(output)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.resolve().parents) if folder.is_dir())


def _relative(path: Path, base: Path) -> str:
    real = path.absolute()
    try:
        return Path(os.path.relpath(real, base)).as_posix()
    except ValueError:  # another drive
        return real.as_posix()


__all__ = ["PARTS", "Division", "How", "Placed", "divide", "write_folders", "write_lists"]
