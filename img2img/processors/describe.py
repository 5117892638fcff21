"""What operations and parameters are, in words: for lists, documentation and error messages."""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from img2img.processors.base import Operation, processors
from img2img.processors.values import ValueForm

_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: As in `name:value`.
        text: What it does.
        allowed: What a value looks like, with unit and limits.
        choices: The words that are allowed, where there is a list of them.
        default: As it would be written; None if the parameter must be given, "" if it has no value then.
        bare: Whether a value without a name may stand for it.
    """

    name: str
    text: str
    allowed: str
    choices: tuple[str, ...]
    default: str | None
    bare: bool


@dataclass(frozen=True)
class Description:
    """One operation.

    Attributes:
        name: As in words.
        summary: One line.
        text: The rest of its documentation; may be empty.
        parameters: In the order of the declaration.
        examples: Complete words, see `parse_operations`.
    """

    name: str
    summary: str
    text: str
    parameters: tuple[Parameter, ...]
    examples: tuple[str, ...]


def describe(name: str | None = None) -> tuple[Description, ...]:
    """Returns the description of one operation, or of all in alphabetical order.

    Raises:
        ConfigError: There is no operation `name`.
    """
    return tuple(_describe(processors[each]) for each in ([name] if name else processors))


def _describe(operation: type[Operation]) -> Description:
    summary, _, text = inspect.cleandoc(operation.__doc__ or "").partition("\n")
    parameters = tuple(
        Parameter(
            name=name,
            text=field.description or "",
            allowed=allowed(field),
            choices=choices(field.annotation),
            default=_default(field),
            bare=name in operation.bare,
        )
        for name, field in operation.model_fields.items()
    )
    return Description(operation.name, summary.strip(), text.strip(), parameters, operation.examples)


def allowed(field: FieldInfo) -> str:
    """Returns what a value of this parameter may be: "a number, at least 0 and at most 10, in pixels"."""
    kind, limits = _kind(field.annotation, field.metadata), _limits(field.metadata)
    unit = (field.json_schema_extra or {}).get("unit") if isinstance(field.json_schema_extra, dict) else ""
    return ", ".join(part for part in (kind, " and ".join(limits), f"in {unit}" if unit else "") if part)


def choices(annotation: Any) -> tuple[str, ...]:
    """Returns the words that a parameter of this type accepts, if it is a list of words."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    nested = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType, Annotated) else ()
    return tuple(word for part in nested for word in choices(part))


def _kind(annotation: Any, metadata: Any = ()) -> str:
    for entry in metadata:
        if isinstance(entry, ValueForm):
            return entry.text
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _kind(inner, more)
    if words := choices(annotation):
        return "one of " + ", ".join(words)
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation) if part is not type(None))
    return _PLAIN.get(annotation, "text")


def _limits(metadata: Any) -> list[str]:
    found = {
        bound: f"{getattr(entry, bound):,}"
        for entry in metadata
        for bound in _WORDS
        if getattr(entry, bound, None) is not None
    }
    if {"ge", "le"} <= set(found):
        return [f"from {found['ge']} to {found['le']}"]
    return [f"{_WORDS[bound]} {limit}" for bound, limit in found.items()]


def _default(field: FieldInfo) -> str | None:
    if field.default is PydanticUndefined:
        return None
    if field.default is None:
        return ""
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return str(field.default)
