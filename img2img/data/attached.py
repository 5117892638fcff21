"""The files and numbers of further fields, brought to the samples that they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from img2img.data.config import DataConfig
from img2img.data.folders import HELD_OUT, TRAIN, Search, by_stem, relative_name, stem_of
from img2img.data.partners import find_partners, partners_by_end
from img2img.data.places import leading_places
from img2img.data.record import Record, Records, some_names, without_partner
from img2img.errors import PlanError, display_path
from img2img.fields import Fields, groups
from img2img.image.discovery import collision_key, sentences_not_read
from img2img.tables import Table


def by_groups(records: Iterable[Record], fields: Fields) -> tuple[tuple[Record, ...], ...]:
    """Returns records of all fields as those of each group of fields."""
    parts = groups(fields)
    if len(parts) == 1:
        return (tuple(records),)
    return tuple(tuple(record.only(group) for record in records) for group in parts)


def require_partners(config: DataConfig, alone: Sequence[Path], search: Search) -> None:
    """Raises PlanError where files without a partner, or of kinds that are not read, are to end the run."""
    if config.unmatched == "error" and (alone or search.not_read):
        sentences = sentences_not_read(search.not_read)
        if alone:
            sentences.append(f"{without_partner(alone)}. Add the partners, or say unmatched: skip.")
        else:
            sentences.append("To leave them and their partners out, say unmatched: skip.")
        raise PlanError(" ".join(sentences))


def with_further_fields(
    config: DataConfig,
    fields: Fields,
    group: Sequence[str],
    records: tuple[Record, ...],
    leading: Sequence[Path],
    search: Search,
) -> tuple[Record, ...]:
    """Returns records with the files and numbers of those of `config.fields` that belong to them.

    Args:
        config: Says where these are.
        fields: What a sample holds.
        group: The names of the fields that the records are to have.
        records: By names.
        leading: The folder of the records; where it is a part (train, val), so may be that of a field. Of
            several it is the one that holds them.
        search: How folders are searched.

    Raises:
        PlanError: A sample has no file or no row.
    """
    listed = all(map(Path.is_file, leading))
    beside = leading[0] if len(leading) == 1 else Path(os.path.commonpath(map(Path.absolute, leading)))
    for name in group:
        place = config.fields.get(name)
        if not isinstance(place, Path) or (records and name in records[0].files):
            continue
        if fields[name].spatial:
            records = _with_files(config, records, name, _part_of(place, beside), listed, search)
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
    files = by_stem(folder, search)
    stems = {record.stem: record.stem for record in records}
    if listed and not stems.keys() & files.keys():
        stems = partners_by_end(stems, files)
    if folder.is_file() and not set(stems.values()) & files.keys():
        files = {end: files[stem] for stem, end in partners_by_end(files, stems.values()).items()}
    partner = find_partners(stems.values(), files, search, folder)
    found = {stem: files[partner[own]] for stem, own in stems.items() if own in partner}
    search.take(folder, map(display_path, files.values()), map(display_path, found.values()))
    lacking = [record for record in records if record.stem not in found]
    if lacking and (config.unmatched == "error" or not found):
        some = some_names([record.paths[0] for record in lacking])
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


def _with_numbers(
    config: DataConfig, records: tuple[Record, ...], name: str, table: Table, search: Search
) -> tuple[Record, ...]:
    """Returns records with their rows of `table` as the vector `name`."""
    rows = [(record, table.find(record.key)) for record in records]
    search.take(table.path, table.rows, [row for _, row in rows if row is not None])
    lacking = [record for record, row in rows if row is None]
    if lacking and (config.unmatched == "error" or len(lacking) == len(records)):
        some = some_names([record.paths[0] for record in lacking])
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


def with_classes(config: DataConfig, fields: Fields, records: Records, search: Search) -> Records:
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
            listed = config.list is not None or any(map(Path.is_file, leading_places(config, fields)))
            records, names[name] = _classified(records, name, number, listed)
    return replace(records, names={**records.names, **names})


def _classified(records: Records, name: str, number: int, listed: bool) -> tuple[Records, tuple[str, ...]]:
    """Returns records with the vector `name` in group `number`, and the classes that it tells apart."""
    parts = (records.train, records.validation, records.test)
    every = [record for part in parts if part for record in part[number]]
    folders = {
        record.key: PurePosixPath(record.key).parts[:-1][-1 if listed else 0 :][:1] for record in every
    }
    flat = [record for record in every if not folders[record.key]]
    classes = sorted({one for folder in folders.values() for one in folder})
    if len(classes) < 2 or flat:
        example = f", and {some_names([flat[0].paths[0]])} lies in none" if flat else ""
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

    train, validation, test = map(filled, parts)
    passed = records.passed if listed else (*records.passed, *_without_pictures(every, classes))
    return replace(records, train=train, validation=validation, test=test, passed=passed), tuple(classes)


def _without_pictures(records: Sequence[Record], classes: Sequence[str]) -> list[str]:
    """Returns sentences about folders beside those of `classes` that would be further ones."""
    roots = {record.paths[0].parents[len(PurePosixPath(record.key).parts) - 1] for record in records}
    return [
        f"{display_path(folder)} holds no pictures, so it is no class."
        for root in sorted(roots)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name[0] != "." and folder.name not in classes
    ]


def paired_records(
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
    left, right = (by_stem(folder, search) for folder in (first, second))
    partner = find_partners(left, right, search, second)
    pairs = tuple(
        Record(relative_name(path, first), dict(zip(names, (path, right[partner[stem]]), strict=True)))
        for stem, path in left.items()
        if stem in partner
    )
    unread = {
        collision_key(stem_of(path, folder))
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


def single_records(
    folders: Iterable[Path], name: str, search: Search, one: bool = False
) -> tuple[Record, ...]:
    """Returns one sample for each file in `folders`; of several folders, their names lead the keys.

    Where two have one name, as train in each of them, that of the folder above comes first. With `one` a
    picture may stand in place of a folder.
    """
    folders = tuple(folders)
    records = []
    whole = [folder.absolute().parts for folder in folders]
    length = next(
        (n for n in range(1, max(map(len, whole))) if len({p[-n:] for p in whole}) == len(whole)), 1
    )
    for folder, parts in zip(folders, whole, strict=True):
        prefix = f"{PurePosixPath(*parts[-length:])}/" if len(folders) > 1 else ""
        paths = search.files(folder, one)
        records += [Record(prefix + relative_name(path, folder), {name: path}) for path in paths]
    return tuple(records)
