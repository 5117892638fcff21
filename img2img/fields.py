"""What a sample holds: the kinds of fields that a training method declares and a network takes.

    fields = {"source": Picture(), "target": Picture(like="source"), "mask": Mask(like="source"),
              "attributes": Vector()}

The kind of a field decides how a file is read, resized, cropped, turned, augmented, stacked and scaled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from img2img.errors import ConfigError

Holds = Literal["numbers", "attributes", "classes"]
_SHOWN = 50  # names in a message
# what samples, networks, folders and tables call something else
_RESERVED = {"fields", "key", "keys", "map", "problems", "self", "x", "images", "split", "A", "B"}
_RESERVED |= {"train", "val", "test"}


@dataclass(frozen=True)
class Field:
    """One thing in a sample.

    Attributes:
        like: The field with which it shares window, turn and geometry, since both show the same place; None
            for one that is drawn by itself. The first field has none.
        kind: The name of the kind in files and messages.
        spatial: Whether it has a height and a width.
        exact: Whether its values are names that must not be mixed: it is resized by nearest neighbour, and
            no change of colours touches it.
        optional: Whether a sample may be without it; it is in none then.
    """

    like: str | None = None
    optional: bool = dataclasses.field(default=False, kw_only=True)

    kind: ClassVar[str]
    spatial: ClassVar[bool] = True
    exact: ClassVar[bool] = False


@dataclass(frozen=True)
class Picture(Field):
    """Colours: (N, C, H, W) fp32 in the value range of the network, from files of 8 or 16 bits or floats.

    Attributes:
        scale: How many times as high and wide it is as the field that it is like. Both are then patches of
            pictures at their own size, as in super-resolution; None resizes whole pictures to one size.
        channels: Of a further picture, how many it has: 0 as many as its files, None as many as the first
            picture, as which it is then seen.
    """

    kind = "picture"
    scale: int | None = None
    channels: int | None = None


@dataclass(frozen=True)
class Labels(Picture):
    """Classes: (N, K, H, W) fp32, 1 in the channel of a pixel's class and 0 in the others; one-hot.

    Files hold a colour of `data.palette` for each class. Pixels of `data.ignore_label` are 0 in all channels.
    """

    kind = "labels"
    exact = True


@dataclass(frozen=True)
class Mask(Field):
    """Places: (N, 1, H, W) fp32, 1 where the mask is white and 0 elsewhere, from files or drawn at random."""

    kind = "mask"
    exact = True


@dataclass(frozen=True)
class Ids(Field):
    """Numbers of objects: (N, 1, H, W) int32 as they stand in files of 8 or 16 bits or whole floats."""

    kind = "ids"
    exact = True


@dataclass(frozen=True)
class Vector(Field):
    """Numbers that belong to a whole sample: (N, K) fp32, as they stand in a table.

    Attributes:
        size: K, where it is known.
        names: What the numbers stand for, in order, where that is known.
        holds: Whether these are any "numbers"; or "attributes", of which 1 is yes and 0 no; or "classes", of
            which one is 1 and the others are 0.
        of: A vector of the same group whose numbers it has, but those of another sample that is drawn at
            random: labels to aim at. It has no place of its own, and none where a picture has a scale.
    """

    kind = "vector"
    spatial = False
    size: int | None = None
    names: tuple[str, ...] = ()
    holds: Holds = "numbers"
    of: str | None = None


Fields = Mapping[str, Field]
KINDS: dict[str, type[Field]] = {cls.kind: cls for cls in (Picture, Mask, Ids, Vector)}


PAIRED: Fields = {"source": Picture(), "target": Picture(like="source")}
UNPAIRED: Fields = {"source": Picture(), "target": Picture()}


def enlarging(scale: int) -> Fields:
    """Returns a picture and what it is enlarged to."""
    return {"source": Picture(), "target": Picture(like="source", scale=scale)}


def pictures(fields: Fields) -> list[str]:
    """Returns the names of the fields that are pictures."""
    return [name for name, field in fields.items() if isinstance(field, Picture)]


def placed(fields: Fields) -> dict[str, Field]:
    """Returns the fields that have places: all but vectors that are drawn from others."""
    return {name: field for name, field in fields.items() if getattr(field, "of", None) is None}


def scale_of(fields: Fields) -> int | None:
    """Returns the scale of the picture that has one; None where there is none."""
    return next((f.scale for f in fields.values() if isinstance(f, Picture) and f.scale is not None), None)


def require_names(fields: Fields) -> None:
    """Checks that every name may be the one of a field.

    Raises:
        ConfigError: One is no word, or stands for something else where fields are.
    """
    for name in fields:
        if not name.isidentifier() or name in _RESERVED:
            raise ConfigError(
                f"a field cannot be called {name!r}: names are words of letters, digits and _, but for "
                f"{', '.join(sorted(_RESERVED))}."
            )


def groups(fields: Fields) -> list[tuple[str, ...]]:
    """Returns the names of the fields that belong together, each with those that are like it.

    Vectors that are like nothing belong to the first field.

    Raises:
        ConfigError: A field is like one that does not exist or that itself is like another.
    """
    found: dict[str, list[str]] = {}
    for name, field in fields.items():
        leader = field.like
        if leader is None and not field.spatial:
            leader = next((other for other, one in fields.items() if one.spatial), None)
        if leader is None:
            found[name] = [name, *found.get(name, [])]
        elif leader not in fields or fields[leader].like is not None or not fields[leader].spatial:
            raise ConfigError(
                f"the field {name!r} is like {leader!r}, which is no field that stands by itself."
            )
        else:
            found.setdefault(leader, []).append(name)
    return [tuple(names) for names in found.values()]


def in_words(field: Field) -> str:
    """Returns the kind of a field for people: "a mask", "5 numbers"."""
    if isinstance(field, Vector):
        return "numbers" if field.size is None else f"{field.size} numbers"
    kinds = {Picture: "a picture", Labels: "a label map", Mask: "a mask", Ids: "an id map"}
    return kinds.get(type(field), field.kind)


def in_full(field: Field) -> str:
    """Returns the kind with what its numbers stand for: "2 numbers: Blond_Hair, Male"."""
    names = field.names if isinstance(field, Vector) else ()
    shown = [*names[:_SHOWN], *["..."] * (len(names) > _SHOWN)]
    return f"{in_words(field)}: {', '.join(shown)}" if shown else in_words(field)


def describe(fields: Fields) -> dict[str, dict[str, Any]]:
    """Returns kinds and sizes of `fields` as JSON has them; `read_fields` takes that."""
    return {
        name: {"kind": field.kind}
        | ({"size": field.size} if isinstance(field, Vector) and field.size else {})
        | ({"channels": field.channels} if isinstance(field, Picture) and field.channels else {})
        for name, field in fields.items()
    }


def read_fields(described: Mapping[str, Mapping[str, Any]]) -> dict[str, Field]:
    """Returns the fields of `describe`.

    Raises:
        ConfigError: A kind is not known.
    """
    found = {}
    for name, facts in described.items():
        cls = KINDS.get(str(facts.get("kind")))
        if cls is None:
            raise ConfigError(f"the field {name!r} is of a kind that is not known: {facts.get('kind')!r}.")
        key = {Vector: "size", Picture: "channels"}.get(cls, "")
        found[name] = cls(**({key: facts[key]} if facts.get(key) else {}))
    return found
