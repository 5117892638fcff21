"""Operations as people write them: in words and in recipe files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from img2img.config import load_yaml
from img2img.errors import ConfigError, display_path
from img2img.processors.base import Operation, processors
from img2img.processors.chain import Chain
from img2img.processors.describe import allowed, choices
from img2img.registry import unknown

_SHOWN = 20  # problems in one message


def parse_operations(texts: Sequence[str]) -> Chain:
    """Returns the chain that words describe.

    Each is `name`, `name=value`, `name=key:value,key:value`, or values with and without keys mixed:
    `resize=long:1024`, `sharpen=0.5`, `crop=center,512x512`. A value without a key goes to the first of the
    operation's `bare` parameters that accepts it; the name of a true-or-false parameter alone sets it.

    Raises:
        ConfigError: One line for every problem in all of `texts`.
    """
    return _collect((f"`operations` {text}", text) for text in texts)


def read_recipe(path: str | PathLike[str]) -> Chain:
    """Returns the chain in a recipe: a YAML list of operations.

    Each entry is a text as for `parse_operations`, or `name: value`, `name: [values]` or
    `name: {key: value}`. Files are named relative to the recipe's folder.

    Raises:
        ConfigError: The file is not readable YAML or not a list, or, one line each, every problem in its
            entries.
    """
    name, entries = display_path(path), load_yaml(path)
    if not isinstance(entries, list) or not entries:
        found = "empty" if not entries else f"a {_yaml_type(entries)}"
        raise ConfigError(
            f"{name}: is {found}; a recipe is a list of operations, such as\n- resize: 50%\n- sharpen"
        )
    numbered = enumerate(entries, 1)
    return _collect(((f"{name}, operation {n}", entry) for n, entry in numbered), Path(path).parent)


def _collect(entries: Iterable[tuple[str, object]], folder: Path | None = None) -> Chain:
    operations, problems = [], []
    for where, entry in entries:
        try:
            operations.append(_operation(*_parts(entry), folder))
        except _ProblemsError as found:
            problems += [f"{where}: {problem}" for problem in found.args]
        except ConfigError as error:
            problems.append(f"{where}: {error}")
    if problems:
        more = [f"and {len(problems) - _SHOWN} more problems."] if len(problems) > _SHOWN else []
        raise ConfigError("\n".join(problems[:_SHOWN] + more))
    return Chain(tuple(operations))


class _ProblemsError(Exception):
    """Carries sentences to the place that knows where the entry stood."""


def _parts(entry: object) -> tuple[str, list[object], list[tuple[str, object]]]:
    """Takes an entry apart: the operation's name, values without a key, values with one."""
    if isinstance(entry, str):
        name, equals, rest = entry.partition("=")
        words = rest.split(",") if equals else []
        if not name.strip():
            raise _ProblemsError("begins without the name of an operation; write name or name=value.")
        if not all(word.strip() for word in words):
            raise _ProblemsError("holds an empty value; write name=value or name=key:value,key:value.")
        found = [re.fullmatch(r"\s*([a-z][a-z0-9_-]*)\s*:(.*)", word, re.DOTALL) for word in words]
        bare: list[object] = [word.strip() for word, keyed in zip(words, found, strict=True) if not keyed]
        return name, bare, [(keyed[1], keyed[2].strip()) for keyed in found if keyed]
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, value),) = entry.items()
        if isinstance(name, str) and isinstance(value, Mapping):
            return name, [], [(str(key), each) for key, each in value.items()]
        if isinstance(name, str):
            values = value if isinstance(value, list) else [] if value is None else [value]
            # A word in a recipe reads as it does by itself, except that a file name may hold any character.
            return name, list(values), []
    raise _ProblemsError(
        f"is a {_yaml_type(entry)}; an operation is a name, or one name with its value: 'sharpen: 0.5'."
    )


def _operation(
    name: str, bare: Sequence[object], named: Sequence[tuple[str, object]], folder: Path | None
) -> Operation:
    """Builds the operation.

    Raises:
        ConfigError: There is no such operation.
        _ProblemsError: Its parameters are wrong.
    """
    cls = processors[name]
    context = {"folder": folder} if folder else None
    arguments: dict[str, object] = {}
    problems = []
    for key, value in named:
        key = key.replace("-", "_")
        if key in arguments:
            problems.append(f"the parameter {key!r} is given twice.")
        arguments[key] = value
    for value in bare:
        problem = _assign(cls, value, arguments, context)
        problems += [problem] if problem else []
    try:
        operation = cls.model_validate(arguments, context=context)
    except ValidationError as error:
        # After a value that nobody could take, what seems to be missing probably is that value.
        problems += [
            _sentence(cls, d) for d in error.errors() if not problems or (d["type"] != "missing" and d["loc"])
        ]
    if problems:
        raise _ProblemsError(*problems)
    return operation


def _assign(
    cls: type[Operation], value: object, arguments: dict[str, object], context: dict[str, Any] | None
) -> str | None:
    """Files a value without a key under the parameter it means; returns a sentence if there is none."""
    fields = cls.model_fields
    word = str(value).replace("-", "_")
    if word in fields and fields[word].annotation is bool:
        arguments[word] = True
        return None
    free = [name for name in cls.bare if name not in arguments]
    for name in free:
        field = fields[name]
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
            arguments[name] = adapter.validate_python(value, context=context)
            return None
        except ValidationError as error:
            if (reason := _reason(error.errors()[0])).startswith(
                "it "
            ):  # the right kind of value, and yet wrong
                return f"{cls.name}: {name} is {_short(str(value))}; {reason}."
    if len(free) == 1:
        arguments[free[0]] = value  # the model says what is wrong with it
        return None
    words = [word for name in free for word in choices(fields[name].annotation)]
    flags = [name for name, field in fields.items() if field.annotation is bool]
    near = difflib.get_close_matches(str(value), words + flags, n=1)
    hint = f"did you mean {near[0]!r}?" if near else ""
    options = "; ".join(f"{name}: {allowed(fields[name])}" for name in free)
    meaning = (
        f"a value without a name can be {options}." if free else "it takes no further value without a name."
    )
    found = f"{_short(value)} is no value for {cls.name};"
    return " ".join(part for part in (found, hint or meaning) if part)


def _sentence(cls: type[Operation], detail: Any) -> str:
    """Returns one problem that pydantic found as a sentence."""
    key = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        return unknown(f"parameter of {cls.name}", key, cls.model_fields)
    reason = _reason(detail)
    if not key:
        return f"{cls.name} {reason or detail['msg']}."
    field = cls.model_fields[key]
    if detail["type"] == "missing":
        return f"{cls.name} needs {key}: {allowed(field)}."
    found = f"{key} is {_short(detail['input'])}"
    near = difflib.get_close_matches(str(detail["input"]), choices(field.annotation), n=1)
    if near:
        return f"{cls.name}: {found}; did you mean {near[0]!r}?"
    if reason.startswith("it "):
        return f"{cls.name}: {found}; {reason}."
    return f"{cls.name}: {found}; it must be {allowed(field)}."


def _reason(detail: Any) -> str:
    """Returns what a validator of this package said, or nothing."""
    return str(detail["ctx"]["error"]) if detail["type"] == "value_error" else ""


def _short(value: object) -> str:
    """Returns a value as a message shows it."""
    text = display_path(repr(str(value) if isinstance(value, Path) else value))
    return text if len(text) <= 200 else f"{text[:196]} ..."


def _yaml_type(value: object) -> str:
    names = {dict: "mapping", list: "list", str: "text", bool: "truth value", type(None): "empty entry"}
    return names.get(type(value), "number")
