"""Which files make a sample, and which samples are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from img2img.data.attached import (
    by_groups,
    paired_records,
    require_partners,
    single_records,
    with_classes,
    with_further_fields,
)
from img2img.data.config import DataConfig
from img2img.data.folders import Search, both_folders, divided_folders
from img2img.data.lists import listed_records
from img2img.data.places import leading_fields, leading_places, present, require_places, sides
from img2img.data.record import Record, Records, some_names
from img2img.fields import Fields, groups, placed


def find_records(config: DataConfig, fields: Fields | None = None, tests: bool = False) -> Records:
    """Returns the samples that `config` names; no picture is opened.

    Args:
        config: Where they are.
        fields: What a sample holds; None takes what the data alone say.
        tests: Whether to look into folders for tests that lie beside those for validation, too.

    Raises:
        ConfigError: The data do not have these fields.
        PlanError: A folder or file is missing or empty, partners are missing or ambiguous.
    """
    fields = placed(present(config, fields))
    require_places(config, fields)
    search = Search(config.follow_symlinks, config.hidden)
    if config.list is not None:
        records = listed_records(config, fields, config.list, search)
    else:
        given = leading_places(config, fields)
        train, held_outs = divided_folders(config, given)
        held_out = held_outs[0] if held_outs else ()
        if config.validation is not None:
            held_out = both_folders(config, config.validation)
        records = Records(_found(config, fields, train, search))
        others = [folders for folders in held_outs if tests and folders != held_out]
        if others:
            found = [_found(config, fields, folders, search) for folders in others]
            records = replace(records, test=tuple(tuple(chain(*group)) for group in zip(*found, strict=True)))
        if held_out:
            records = replace(
                records,
                validation=_found(config, fields, held_out, search),
                origin=f"held out in {some_names(held_out)}",
            )
    records = with_classes(config, fields, records, search)
    if not records.has_validation:
        records = _split_off(config, fields, replace(records, validation=(), origin=Records.origin))
    return replace(
        records,
        passed=(*search.passed, *records.passed),
        alone=tuple(dict.fromkeys(search.alone)),
        lacks=search.lacks,
        spare={place: tuple(names) for place, names in search.spare.items() if names},
        not_read=search.not_read,
    )


def _found(
    config: DataConfig, fields: Fields, folders: tuple[Path, ...], search: Search
) -> tuple[tuple[Record, ...], ...]:
    """Returns the samples in `folders`, group by group of the fields that belong together."""
    parts = groups(fields)
    names = sides(config, fields)
    leaders = names if config.form != "fields" else leading_fields(config, fields)
    apart = not any(set(leaders) <= set(group) for group in parts)
    if config.unpaired is not None or (config.form == "fields" and apart):
        found = {}
        for leader, folder in zip(leaders, folders, strict=True):
            group = next(group for group in parts if leader in group)
            one = leader != leaders[0]  # photographs may go with one style
            records = single_records((folder,), leader, search, one)
            found[group] = with_further_fields(config, fields, group, records, (folder,), search)
        return tuple(found[group] for group in parts)
    if config.paired is not None or (config.form == "fields" and len(leaders) > 1):
        pairs, alone = paired_records(folders[0], folders[1], names, search)
        search.alone += alone
        require_partners(config, alone, search)
        folders = folders[:1]  # the names are those of the first
    elif config.aligned is not None:
        pairs = tuple(
            Record(record.key, dict.fromkeys(names, path), aligned=path)
            for record in single_records(folders, names[0], search)
            for path in record.paths
        )
    else:
        pairs = single_records(folders, leaders[0], search)
    every = tuple(fields)
    return by_groups(with_further_fields(config, fields, every, pairs, folders, search), fields)


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


def _split_off(config: DataConfig, fields: Fields, records: Records) -> Records:
    """Returns `records` with a part of the training samples held out."""
    fraction = config.split_fraction(fields)
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
