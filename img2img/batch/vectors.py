"""The numbers that belong to a picture, in the order in which a model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from img2img.errors import PlanError, display_path
from img2img.fields import Vector, in_full
from img2img.registry import unknown
from img2img.tables import Row, composed, numbers_in

_ANY = Vector()
_LONGEST = 40  # characters of a cell in a message
_SHOWN = 5
_EMPTY = "empty"


def vector(name: str, field: Vector | None, said: object) -> tuple[float, ...]:
    """Returns the numbers of a vector as a cell or a command line says them.

    Args:
        name: Of the vector.
        field: How many there are and what they stand for, where that is known.
        said: All of them in their order ("1, 0, 0", a list), or by their names ("Male=1, Young=0", a
            mapping). One name alone is a class: its number is 1, the others are 0.

    Raises:
        PlanError: It is nothing of the kind, or not as many; the message is no sentence by itself.
    """
    field = _ANY if field is None else replace(field, names=tuple(map(composed, field.names)))
    word = composed(said) if isinstance(said, str) else None
    if word in field.names and len(field.names) > 1:
        return tuple(float(one == word) for one in field.names)
    if word is not None and "=" in word:
        said = {one.strip(): cell for one, _, cell in (part.partition("=") for part in word.split(","))}
    if isinstance(said, Mapping):
        return _by_name(name, field, {composed(one): cell for one, cell in said.items()})
    found = numbers_in(said)
    if found is None:
        hint = f" {unknown('name', word, field.names)}" if field.names and word else ""
        raise PlanError(f"{name} is {_cell(said)}, and is to be {in_full(field)}.{hint}")
    if (field.size or len(field.names) or len(found)) != len(found):
        count = "1 number" if len(found) == 1 else f"{len(found)} numbers"
        raise PlanError(f"{name} has {count}, and the model takes {in_full(field)}")
    return found


def from_row(name: str, field: Vector | None, cells: Row, numeric: Sequence[str]) -> tuple[float, ...]:
    """Returns the numbers of a vector from a row of a table.

    Args:
        name: Of the vector. A column of this name holds all of them.
        field: How many there are and what they stand for, where that is known.
        cells: By the names of the columns.
        numeric: The columns that hold numbers. Where the names of the numbers are not known, they are these.

    Raises:
        PlanError: A column is missing, or a cell holds no number; the message is no sentence by itself.
    """
    if cells.get(name) not in (None, ""):
        return vector(name, field, cells[name])
    if field is not None and field.names:
        names = list(map(composed, field.names))
        if absent := [one for one in names if one not in cells]:
            if name in cells:
                raise PlanError(f"{name} is {_EMPTY}")
            raise PlanError(f"{unknown('column', absent[0], cells)} It takes {in_full(field)}")
        return _single(names, cells)
    if name in cells:
        raise PlanError(f"{name} is empty")
    if not numeric:
        raise PlanError(f"has neither a column {name} nor numbers in other columns")
    return vector(name, field, _single(numeric, cells))


def as_sentence(message: str) -> str:
    """Returns a message of this module with its full stop."""
    return message if message.endswith(("?", ".")) else f"{message}."


def _by_name(name: str, field: Vector, said: Mapping[str, Any]) -> tuple[float, ...]:
    if not field.names:
        raise PlanError(f"the model does not say what the numbers of {name} are called: give them in order")
    if strange := [one for one in said if one not in field.names]:
        raise PlanError(f"{unknown('name', strange[0], field.names)} It takes {in_full(field)}")
    if absent := [one for one in field.names if one not in said]:
        raise PlanError(f"{name} lacks {', '.join(absent[:_SHOWN])}; it takes {in_full(field)}")
    return _single(field.names, said)


def _single(columns: Sequence[str], cells: Mapping[str, Any]) -> tuple[float, ...]:
    numbers = [numbers_in(cells.get(column)) for column in columns]
    for column, found in zip(columns, numbers, strict=True):
        if found is None or len(found) != 1:
            held = _cell(cells.get(column))
            raise PlanError(f"{display_path(column)} is {held}{', which is no number' * (held != _EMPTY)}")
    return tuple(found[0] for found in numbers if found is not None)


def _cell(value: object) -> str:
    if value is None or value == "":
        return _EMPTY
    text = display_path(value) if isinstance(value, str) else repr(value)
    return f"'{text if len(text) <= _LONGEST else text[: _LONGEST - 4] + ' ...'}'"
