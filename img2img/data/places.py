"""Which fields the places of a configuration are for, and whether each has one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

from img2img.data.config import DataConfig, guessed
from img2img.errors import ConfigError, PlanError, display_path
from img2img.fields import Fields, Vector, groups, pictures, placed, scale_of
from img2img.image import READABLE
from img2img.registry import unknown
from img2img.tables import numbers_in, read_rows

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
    "labels": "a folder of label maps without loss (PNG)",
    "ids": "a folder of maps without loss (PNG or TIFF)",
    "mask": "a folder, or random",
    "vector": "a table (CSV, JSON lines, or CelebA's text), or classes for one folder a class",
}


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


def present(config: DataConfig, fields: Fields | None) -> Fields:
    """Returns what a sample holds: `fields` without the optional ones that the data lack.

    Args:
        config: Where the data are.
        fields: What a method takes; None takes what the data alone say.

    Raises:
        PlanError: That is None, and a list cannot be read.
    """
    if fields is None:
        return declared(config)
    lacking = {name for name, one in fields.items() if one.optional and name not in config.fields}
    if lacking and config.list is not None:
        with suppress(PlanError):  # it is told where the list is read
            lacking -= next((row.keys() for _, row in read_rows(config.list)), set())
    return {name: one for name, one in fields.items() if name not in lacking} if lacking else fields


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
    known = placed(fields)
    fields = placed(present(config, fields))
    if unknown_ := [name for name in config.fields if name not in fields]:
        raise ConfigError(
            f"data.fields: {unknown('field', unknown_[0], known)} A sample holds what the method says."
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
    given = {*config.fields, *(sides(config, fields) if kind not in ("fields", "list") else ())}
    if config.images is not None and scale_of(fields) is not None:
        given |= first  # the small one is made of the large one
    columns = kind == "list"
    lacking = [name for name in fields if name not in given and not columns]
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


def leading_places(config: DataConfig, fields: Fields) -> tuple[Path, ...]:
    """Returns the folders that samples are found by."""
    given = config.paired or config.aligned or config.unpaired or config.images
    if given is not None:
        return given
    places = [config.fields[name] for name in leading_fields(config, fields)]
    return tuple(place for place in places if isinstance(place, Path))


def leading_fields(config: DataConfig, fields: Fields) -> tuple[str, ...]:
    """Returns the fields by whose folders samples are found where `data.fields` alone places them."""
    names = sides(config, fields)
    pair = len(names) == 2 and any(set(names) <= set(group) for group in groups(fields))
    return names if pair else tuple(group[0] for group in groups(fields))
