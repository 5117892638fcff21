"""Which files make a sample, and which samples are held out."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from img2img.data.config import DataConfig, guessed
from img2img.data.tables import Row, Table, numbers_in, read_rows, read_table, read_text
from img2img.errors import ConfigError, PlanError, display_path
from img2img.fields import Fields, Vector, groups, pictures, scale_of
from img2img.image import READABLE, list_images
from img2img.image.discovery import collision_key, sentences_not_read
from img2img.registry import unknown

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "test", "testing")
_WORD = re.compile(r"\d+|[^\W\d_]+")
_NAMED = 5  # files in one message
Entries = dict[Path, dict[str, list[str]]]
"""The names in folders, by what they are compared by."""


@dataclass(frozen=True)
class Record:
    """The files and numbers of one sample, or of those of its fields that belong together.

    Attributes:
        key: Its name for people: the relative path below the folder that was given.
        files: The file of each field that has one, in the order A, B, then the others.
        values: The numbers of each vector.
        aligned: The file that holds A and B side by side, if one does.
    """

    key: str
    files: Mapping[str, Path]
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    aligned: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of it, once."""
        return tuple(dict.fromkeys(self.files.values()))

    @property
    def stem(self) -> str:
        """The name that decides on the split: the same whatever the extension."""
        return Path(self.key).with_suffix("").as_posix()

    def only(self, names: Iterable[str]) -> Record:
        """Returns it with some of its fields."""
        names = set(names)
        return Record(
            self.key,
            {name: path for name, path in self.files.items() if name in names},
            {name: values for name, values in self.values.items() if name in names},
            self.aligned,
        )


@dataclass(frozen=True)
class Records:
    """The samples of a configuration.

    Attributes:
        train: For training: for each group of fields that belong together its records; of unpaired data
            those of A, then those of B.
        validation: Likewise what is held out; every group is empty if nothing is.
        names: What the numbers of each vector are called; empty where nobody knows.
        origin: Where the held-out part came from, as the end of a sentence.
        passed: Sentences about what was passed over when searching.
        alone: The files without a partner.
        lacks: What those of them have not that lack something else than the partner of a pair.
        spare: Names in the folders and tables of further fields that are of no sample, by their place.
        not_read: The files of kinds that are known and not read, by the name of the kind.
    """

    train: tuple[tuple[Record, ...], ...]
    validation: tuple[tuple[Record, ...], ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origin: str = "nothing is held out"
    passed: tuple[str, ...] = ()
    alone: tuple[Path, ...] = ()
    lacks: Mapping[Path, str] = field(default_factory=dict)
    spare: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    not_read: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def has_validation(self) -> bool:
        """Whether anything is held out."""
        return bool(self.validation) and all(self.validation)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about everything that was left out."""
        notes = [*self.passed, *(f"{one} Left out." for one in sentences_not_read(self.not_read))]
        if self.alone:
            notes.append(f"{_without_partner(self.alone, self.lacks)}; they are left out.")
        notes += [
            f"{len(names)} of the names in {display_path(place)} are of no sample: {_names(names)}."
            for place, names in self.spare.items()
        ]
        return tuple(notes)


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

    def files(self, folder: Path) -> list[Path]:
        """Returns the pictures below `folder` in natural order, or those that a text file names.

        Raises:
            PlanError: There is no such folder, it cannot be listed, or nothing in it is a picture.
        """
        if folder.is_file():
            lines = read_text(folder).splitlines()
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


def find_records(config: DataConfig, fields: Fields | None = None) -> Records:
    """Returns the samples that `config` names; no picture is opened.

    Args:
        config: Where they are.
        fields: What a sample holds; None takes what the data alone say.

    Raises:
        ConfigError: The data do not have these fields.
        PlanError: A folder or file is missing or empty, partners are missing or ambiguous.
    """
    fields = declared(config) if fields is None else fields
    require_places(config, fields)
    search = Search(config.follow_symlinks, config.hidden)
    if config.list is not None:
        records = _listed(config, fields, config.list, search)
    else:
        given = _leading_places(config, fields)
        train, held_out = _parts(config, given)
        if config.validation is not None:
            held_out = _both(config, config.validation)
        records = Records(_found(config, fields, train, search))
        if held_out:
            records = replace(
                records,
                validation=_found(config, fields, held_out, search),
                origin=f"held out in {_names(held_out)}",
            )
    records = _with_classes(config, fields, records, search)
    if not records.has_validation:
        records = _split_off(config, replace(records, validation=(), origin=Records.origin))
    return replace(
        records,
        passed=tuple(search.passed),
        alone=tuple(dict.fromkeys(search.alone)),
        lacks=search.lacks,
        spare={place: tuple(names) for place, names in search.spare.items() if names},
        not_read=search.not_read,
    )


def declared(config: DataConfig) -> Fields:
    """Returns the fields that the data are of where no method says it; of a list those of its columns.

    Raises:
        PlanError: A list cannot be read.
    """
    fields = config.declared
    if config.list is None:
        return fields
    row = next((row for _, row in read_rows(config.list)), {})
    found = {name: one for name, one in fields.items() if name in row or name in config.fields}
    if not found:
        return fields  # what is missing is told where the list is read
    for name, cell in row.items():
        if name in fields or name in ("split", None) or name in (config.attributes or ()):
            continue
        if isinstance(cell, str) and PurePosixPath(cell).suffix.lower() in READABLE:
            found[name] = guessed(name, None, next(iter(found), None))
        elif isinstance(cell, list) or numbers_in(cell) is not None:
            found[name] = Vector()
    if config.attributes and not any(not one.spatial for one in found.values()):
        found["attributes"] = Vector()
    return found


def sides(config: DataConfig, fields: Fields) -> tuple[str, ...]:
    """Returns the fields that the places A and B of `config` hold, in this order; one for single pictures."""
    names = pictures(fields)[:2]
    if config.images is not None:  # of a picture and its enlargement the large one is there
        return tuple(names[-1:] if scale_of(fields) is not None else names[:1])
    return tuple(names if config.direction == "AtoB" else names[::-1])


def require_places(config: DataConfig, fields: Fields) -> None:
    """Checks that every field has a place, and that the kind of data is the one that they are of.

    Besides their own kind of data, all methods take pairs from two folders or a list: low- and
    high-resolution pictures, or two domains.

    Raises:
        ConfigError: A field has none, or the places are for other fields.
    """
    if unknown_ := [name for name in config.fields if name not in fields]:
        raise ConfigError(
            f"data.fields: {unknown('field', unknown_[0], fields)} A sample holds what the method says."
        )
    names, together = pictures(fields), groups(fields)
    if not names:
        raise ConfigError(
            f"the fields {', '.join(fields)} hold no picture; name its place as well, such as "
            "data.fields.source."
        )
    kind = config.form
    first = set(names[:2])
    paired = len(names) > 1 and any(first <= set(group) for group in together)
    fits = {
        "paired": len(names) > 1,
        "list": True,
        "aligned": paired and scale_of(fields) is None,
        "unpaired": len(names) > 1 and not paired,
        "images": len(names) == 1 or scale_of(fields) is not None,
        "fields": True,
    }[kind]
    if not fits:
        wanted = "single pictures (images)"
        if scale_of(fields) is not None:
            wanted = "sharp pictures (images), or pairs (paired or list)"
        elif paired:
            wanted = "pairs (paired, aligned or list)"
        elif len(names) > 1:
            wanted = "two folders without partners (unpaired)"
        raise ConfigError(
            f"the method is trained on {wanted}, and data names {_FORMS[kind]}; choose another method or "
            "other data."
        )
    twice = set(config.fields) & (first if kind not in ("fields", "list") else set())
    if twice:
        raise ConfigError(
            f"data.fields.{min(twice)}: data.{kind} says already where the {min(twice)} is; name both in "
            "data.fields, or neither."
        )
    placed = {*config.fields, *(sides(config, fields) if kind not in ("fields", "list") else ())}
    if config.images is not None and scale_of(fields) is not None:
        placed |= first  # the small one is made of the large one
    columns = kind == "list"
    lacking = [name for name in fields if name not in placed and not columns]
    if lacking:
        raise ConfigError(
            f"the method needs the {fields[lacking[0]].kind} {lacking[0]!r}, and data does not say where it "
            f"is: name its place as data.fields.{lacking[0]}, {_PLACES[fields[lacking[0]].kind]}."
        )
    for name, place in config.fields.items():
        kinds = {"random": "mask", "classes": "vector"}
        if isinstance(place, str) and fields[name].kind != kinds[place]:
            raise ConfigError(
                f"data.fields.{name}: {place} is for a {kinds[place]}, and {name} is of the kind "
                f"{fields[name].kind}; {_PLACES[fields[name].kind]}."
            )
        if isinstance(place, Path) and place.is_dir() and not fields[name].spatial:
            raise ConfigError(
                f"data.fields.{name}: {display_path(place)} is a folder, and the numbers of a vector come "
                f"from {_PLACES['vector']}."
            )


_FORMS = {
    "paired": "pairs (paired)",
    "aligned": "pairs side by side (aligned)",
    "list": "a list (list)",
    "unpaired": "two folders without partners (unpaired)",
    "images": "single pictures (images)",
    "fields": "fields (fields)",
}
_PLACES = {
    "picture": "a folder",
    "ids": "a folder of maps without loss (PNG or TIFF)",
    "mask": "a folder, or random",
    "vector": "a table (CSV, JSON lines, or CelebA's text), or classes for one folder a class",
}


def _leading_places(config: DataConfig, fields: Fields) -> tuple[Path, ...]:
    """Returns the folders that samples are found by."""
    given = config.paired or config.aligned or config.unpaired or config.images
    if given is not None:
        return given
    places = [config.fields[name] for name in _leaders(config, fields)]
    return tuple(place for place in places if isinstance(place, Path))


def _leaders(config: DataConfig, fields: Fields) -> tuple[str, ...]:
    """Returns the fields by whose folders samples are found where `data.fields` alone places them."""
    names = sides(config, fields)
    pair = len(names) == 2 and any(set(names) <= set(group) for group in groups(fields))
    return names if pair else tuple(group[0] for group in groups(fields))


def _found(
    config: DataConfig, fields: Fields, folders: tuple[Path, ...], search: Search
) -> tuple[tuple[Record, ...], ...]:
    """Returns the samples in `folders`, group by group of the fields that belong together."""
    parts = groups(fields)
    names = sides(config, fields)
    leaders = names if config.form != "fields" else _leaders(config, fields)
    apart = not any(set(leaders) <= set(group) for group in parts)
    if config.unpaired is not None or (config.form == "fields" and apart):
        found = {}
        for leader, folder in zip(leaders, folders, strict=True):
            group = next(group for group in parts if leader in group)
            found[group] = _attached(
                config, fields, group, _single((folder,), leader, search), folder, search
            )
        return tuple(found[group] for group in parts)
    if config.paired is not None or (config.form == "fields" and len(leaders) > 1):
        pairs, alone = _pairs(folders[0], folders[1], names, search)
        search.alone += alone
        _require_partners(config, alone, search)
    elif config.aligned is not None:
        pairs = tuple(
            Record(record.key, dict.fromkeys(names, path), aligned=path)
            for record in _single(folders, names[0], search)
            for path in record.paths
        )
    else:
        pairs = _single(folders, leaders[0], search)
    every = tuple(fields)
    return _apart(_attached(config, fields, every, pairs, folders[0], search), fields)


def _apart(records: Iterable[Record], fields: Fields) -> tuple[tuple[Record, ...], ...]:
    """Returns records of all fields as those of each group of fields."""
    parts = groups(fields)
    if len(parts) == 1:
        return (tuple(records),)
    return tuple(tuple(record.only(group) for record in records) for group in parts)


def _require_partners(config: DataConfig, alone: Sequence[Path], search: Search) -> None:
    if config.unmatched == "error" and (alone or search.not_read):
        sentences = sentences_not_read(search.not_read)
        if alone:
            sentences.append(f"{_without_partner(alone)}. Add the partners, or say unmatched: skip.")
        else:
            sentences.append("To leave them and their partners out, say unmatched: skip.")
        raise PlanError(" ".join(sentences))


def _attached(
    config: DataConfig,
    fields: Fields,
    group: Sequence[str],
    records: tuple[Record, ...],
    beside: Path,
    search: Search,
) -> tuple[Record, ...]:
    """Returns records with the files and numbers of those of `config.fields` that belong to them.

    Args:
        config: Says where these are.
        fields: What a sample holds.
        group: The names of the fields that the records are to have.
        records: By names.
        beside: The folder of the records; where it is a part (train, val), so may be that of a field.
        search: How folders are searched.

    Raises:
        PlanError: A sample has no file or no row.
    """
    for name in group:
        place = config.fields.get(name)
        if not isinstance(place, Path) or (records and name in records[0].files):
            continue
        if fields[name].spatial:
            records = _with_files(config, records, name, _part_of(place, beside), beside.is_file(), search)
        else:
            records = _with_numbers(config, records, name, search.table(place, config.attributes), search)
    return records


def _part_of(place: Path, beside: Path) -> Path:
    """Returns the folder of a field that belongs to the samples of the folder `beside`.

    Of masks beside the folder "val" that is masks/val; of masks that were named as train or trainM, it is
    val or valM beside them; else all are in one folder.
    """
    inner = place / beside.name
    if inner.is_dir():
        return inner
    words = [
        [word for word in part if name.startswith(word)]
        for part, name in ((HELD_OUT, beside.name), (TRAIN, place.name))
    ]
    if all(words):
        held_out, train = (max(found, key=len) for found in words)
        sibling = place.with_name(held_out + place.name.removeprefix(train))
        if sibling.is_dir():
            return sibling
    return place


def _with_files(
    config: DataConfig, records: tuple[Record, ...], name: str, folder: Path, listed: bool, search: Search
) -> tuple[Record, ...]:
    """Returns records with the file of the same relative name in `folder` as the field `name`.

    Of pictures that a text file lists, or a table, the end of the name counts: as much of it as is there.
    """
    files = _by_stem(folder, search)
    stems = {record.stem: record.stem for record in records}
    if listed and not stems.keys() & files.keys():
        stems = _ends(stems, files)
    if folder.is_file() and not set(stems.values()) & files.keys():
        files = {end: files[stem] for stem, end in _ends(files, stems.values()).items()}
    partner = _partners(stems.values(), files, search, folder)
    found = {stem: files[partner[own]] for stem, own in stems.items() if own in partner}
    search.take(folder, map(display_path, files.values()), map(display_path, found.values()))
    lacking = [record for record in records if record.stem not in found]
    if lacking and (config.unmatched == "error" or not found):
        some = _names([record.paths[0] for record in lacking])
        unread = "".join(f" {one}" for one in sentences_not_read(search.not_read))
        raise PlanError(
            f"{len(lacking)} of {len(records)} samples have no {name} of the same name in "
            f"{display_path(folder)}: {some}. Add them, or say unmatched: skip.{unread}"
        )
    search.leave_out(lacking, name)
    return tuple(
        replace(record, files={**record.files, name: found[record.stem]})
        for record in records
        if record.stem in found
    )


def _ends(stems: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Returns paths with the longest end of each that is one of `others`, or its name.

    Where two have the same end they are returned with themselves.
    """
    known = set(map(collision_key, others))
    found = {}
    for stem in stems:
        parts = PurePosixPath(stem).parts
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        found[stem] = next((end for end in ends if collision_key(end) in known), ends[-1])
    return found if len(set(found.values())) == len(found) else {stem: stem for stem in found}


def _with_numbers(
    config: DataConfig, records: tuple[Record, ...], name: str, table: Table, search: Search
) -> tuple[Record, ...]:
    """Returns records with their rows of `table` as the vector `name`."""
    rows = [(record, table.find(record.key)) for record in records]
    search.take(table.path, table.rows, [row for _, row in rows if row is not None])
    lacking = [record for record, row in rows if row is None]
    if lacking and (config.unmatched == "error" or len(lacking) == len(records)):
        some = _names([record.paths[0] for record in lacking])
        raise PlanError(
            f"{len(lacking)} of {len(records)} samples have no row in {display_path(table.path)}: {some}. "
            "Add rows, or say unmatched: skip."
        )
    search.leave_out(lacking, f"row in {display_path(table.path)}")
    return tuple(
        replace(record, values={**record.values, name: table.rows[row]})
        for record, row in rows
        if row is not None
    )


def _with_classes(config: DataConfig, fields: Fields, records: Records, search: Search) -> Records:
    """Returns `records` with one-hot vectors for the folders that they lie in, and the names of all numbers.

    Raises:
        PlanError: A sample lies in no folder of its own, or all lie in one.
    """
    names = {
        name: search.table(place, config.attributes).names
        for name, place in config.fields.items()
        if isinstance(place, Path) and not fields[name].spatial
    }
    for name, place in config.fields.items():
        if place == "classes":
            number = next(i for i, group in enumerate(groups(fields)) if name in group)
            listed = config.list is not None or any(map(Path.is_file, _leading_places(config, fields)))
            records, names[name] = _classified(records, name, number, listed)
    return replace(records, names={**records.names, **names})


def _classified(records: Records, name: str, number: int, listed: bool) -> tuple[Records, tuple[str, ...]]:
    """Returns records with the vector `name` in group `number`, and the classes that it tells apart."""
    every = [record for part in (records.train, records.validation) if part for record in part[number]]
    folders = {
        record.key: PurePosixPath(record.key).parts[:-1][-1 if listed else 0 :][:1] for record in every
    }
    flat = [record for record in every if not folders[record.key]]
    classes = sorted({one for folder in folders.values() for one in folder})
    if len(classes) < 2 or flat:
        example = f", and {_names([flat[0].paths[0]])} lies in none" if flat else ""
        raise PlanError(f"data.fields.{name}: classes needs one folder a class, two at least{example}.")

    def filled(part: tuple[tuple[Record, ...], ...]) -> tuple[tuple[Record, ...], ...]:
        return tuple(
            tuple(
                replace(
                    r, values={**r.values, name: tuple(float((one,) == folders[r.key]) for one in classes)}
                )
                for r in group
            )
            if i == number
            else group
            for i, group in enumerate(part)
        )

    return replace(records, train=filled(records.train), validation=filled(records.validation)), tuple(
        classes
    )


def _pairs(
    first: Path, second: Path, names: tuple[str, ...], search: Search
) -> tuple[tuple[Record, ...], list[Path]]:
    """Matches the files of two folders by their relative names without extension.

    Names that differ in letter case or Unicode form alone match where no other file could be meant.

    Returns:
        The pairs in the order of the first folder, and the files of both that have no partner. A file whose
        partner is there and of a kind that is not read is in neither.

    Raises:
        PlanError: A name stands for several files in one folder, or nothing matches.
    """
    left, right = (_by_stem(folder, search) for folder in (first, second))
    partner = _partners(left, right, search, second)
    pairs = tuple(
        Record(_relative(path, first), dict(zip(names, (path, right[partner[stem]]), strict=True)))
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
                f"at their beginning or end; a list (data.list) takes a table of pairs with any names. {why}"
            )
        raise PlanError(
            f"no file in {display_path(first)} has a partner of the same name in {display_path(second)}. "
            f"{why}".rstrip()
        )
    return pairs, alone


def _partners(left: Iterable[str], right: Mapping[str, Path], search: Search, folder: Path) -> dict[str, str]:
    """Returns the names of `left` with those of `right`, the files of `folder`, that mean the same."""
    left = list(left)
    partner = {stem: stem for stem in left if stem in right}
    partner |= _unique(set(left) - partner.keys(), right.keys() - partner.keys())
    if not partner:
        partner = _by_what_differs(left, right)
        if partner:
            one = next(iter(partner))
            search.passed.append(
                f"Names differ in what all of a folder share: {display_path(PurePosixPath(one).name)} goes "
                f"with {display_path(right[partner[one]].name)} of {display_path(folder)}, and so on "
                f"({len(partner)} pairs)."
            )
    return partner


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

    train, validation = zip(*map(cut, records.train), strict=True)
    if not all(validation):
        return records  # a single picture cannot be divided
    return replace(
        records,
        train=train,
        validation=validation,
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


def _single(folders: Iterable[Path], name: str, search: Search) -> tuple[Record, ...]:
    """Returns one sample for each file in `folders`; of several folders, their names lead the keys."""
    folders = tuple(folders)
    records = []
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        records += [Record(prefix + _relative(path, folder), {name: path}) for path in search.files(folder)]
    return tuple(records)


def _listed(config: DataConfig, fields: Fields, path: Path, search: Search) -> Records:
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
        _apart(_attached(config, fields, tuple(fields), tuple(part), path, search), fields)
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

    A column is called like its field; of A and B, like what they are from A to B.
    """
    columns = dict(zip(sides(config, fields), pictures(fields), strict=False))
    columns = {name: column for name, column in columns.items() if name not in config.fields}
    columns |= {name: name for name in fields if name not in columns and name not in config.fields}
    parts: tuple[list[Record], list[Record]] = ([], [])
    entries: Entries = {}
    lengths: dict[str, int] = {}
    used = {*columns.values(), *(config.attributes or ()), "split"}
    unknown_columns: dict[str, None] = {}
    for number, row in read_rows(path):
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
        files = {name: _as_stored(path.parent / row[column], entries) for name, column in spatial.items()}
        values = {name: _vector(config, row, name, where) for name in columns if name not in spatial}
        for name, vector in values.items():
            if lengths.setdefault(name, len(vector)) != len(vector):
                raise PlanError(
                    f"{where}: {name} holds {len(vector)} numbers, and the lines before {lengths[name]}."
                )
        key = row[next(iter(spatial.values()))] if spatial else str(number)
        parts[part not in TRAIN].append(Record(key, files, values))
    _require_files([file for part in parts for record in part for file in record.paths], path)
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


def _without_partner(paths: Sequence[Path], lacks: Mapping[Path, str] | None = None) -> str:
    files = f"{len(paths)} files" if len(paths) > 1 else "1 file"
    what = " or ".join(dict.fromkeys((lacks or {}).get(path, "partner of the same name") for path in paths))
    return f"{files} with no {what}: {_names(paths)}"


def _require_files(files: Sequence[Path], origin: Path) -> None:
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise PlanError(f"{display_path(origin)} names files that do not exist: {_names(missing)}.")


def _names(paths: Sequence[Path | str]) -> str:
    """Returns the first few of `paths` for a message."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(display_path(path) for path in paths[:_NAMED]) + more
