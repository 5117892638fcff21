"""The sections of a configuration: values changed by assignments, and checked, a sentence for each fault."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from img2img.config.document import parse_yaml, short
from img2img.errors import ConfigError
from img2img.keys import closest, meant

M = TypeVar("M", bound=BaseModel)
_QUOTES = "'\""


def override(tree: dict[str, Any], assignments: Iterable[str], sections: Mapping[str, Iterable[str]]) -> None:
    """Changes values of a configuration.

    A value is read as YAML reads it: `training.steps=1e3`, `data.crop_size=[128, 256]`. A key that only one
    section has needs no section: `epochs=5`.

    Args:
        tree: The configuration; it is changed.
        assignments: "key=value", keys with dots for what lies inside.
        sections: The keys that each section may have; the empty name stands for the top level.

    Raises:
        ConfigError: Assignments have no `=`, no such key exists, or a value is no YAML; a line for each.
    """
    problems = []
    given: set[tuple[str, ...]] = set()
    for assignment in assignments:
        try:
            _assign(tree, assignment, sections, given)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))


def _assign(
    tree: dict[str, Any],
    assignment: str,
    sections: Mapping[str, Iterable[str]],
    given: set[tuple[str, ...]],
) -> None:
    """Changes one value, and adds its key to those `given` before."""
    key, equals, text = assignment.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not key:
        raise ConfigError(f"{assignment!r} is no assignment; write key=value, such as training.epochs=5.")
    value = parse_yaml(text, f"the value of {assignment!r}")
    *path, leaf = _home(key.split("."), sections)
    branch: Any = tree
    for place, name in enumerate(path):
        if isinstance(branch, list):
            if not name.isdigit() or int(name) >= len(branch):
                where = ".".join(path[:place])
                raise ConfigError(f"{key}: {where} has the entries 0 to {len(branch) - 1}, not {name!r}.")
            branch = branch[int(name)]
        else:
            if not isinstance(branch.get(name), dict | list):
                branch[name] = {}
            branch = branch[name]
    if isinstance(branch, list):
        raise ConfigError(f"{key}: give the whole list, as in {'.'.join(path)}=[...].")
    if leaf in ("kind", "name") and len(path) > 1 and branch.get(leaf) != value:
        for other in [other for other in branch if (*path, other) not in given]:
            del branch[other]  # it was one of another kind
    branch[leaf] = value
    given.add((*path, leaf))


def _home(keys: list[str], sections: Mapping[str, Iterable[str]]) -> list[str]:
    """Returns `keys` with the section that the first of them belongs to before it.

    Raises:
        ConfigError: No section has it, or several have.
    """
    first = keys[0]
    if first in sections or first in sections[""]:
        return keys
    homes = [section for section, names in sections.items() if section and first in names]
    if len(homes) > 1:
        places = " or ".join(f"{home}.{first}" for home in homes)
        raise ConfigError(f"{first} could be {places}; say which.")
    if homes:
        return [*homes, *keys]
    names = {name: f"{section}.{name}".lstrip(".") for section, each in sections.items() for name in each}
    near = _meant(first, names, names)
    hint = f"did you mean {near!r}?" if near else "`img2img config schema` lists all keys."
    raise ConfigError(f"there is no key {first!r}; {hint}")


def _meant(name: str, own: Mapping[str, str], everywhere: Mapping[str, str]) -> str | None:
    """Returns the key that somebody means who writes `name`, or None.

    Args:
        name: It is no key, at least not here.
        own: The keys of its section as they are to be shown, by their last part.
        everywhere: Those of all sections.
    """
    *_, last = parts = (meant(name) or "").split(".")
    if len(parts) < 3 and last in own:
        return own[last]
    if parts[0] in everywhere or (len(parts) > 1 and parts[1] in everywhere):
        return ".".join(parts)
    return everywhere.get(name) or closest(name, own)


def validate(
    model: type[M], value: object, where: str, everywhere: Mapping[str, str] | None = None
) -> tuple[M | None, list[str]]:
    """Returns `value` as a `model`, or a sentence for every problem that it has.

    Args:
        model: The class of the section.
        value: What the file holds there.
        where: The name of the section, for the sentences.
        everywhere: The whole keys of all sections by their last part, for what stands in a wrong one.
    """
    if not isinstance(value, dict):
        found = "empty" if value is None else short(value)
        return None, [f"{where} is {found}; it holds keys with values, each on a line of its own."]
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_problem(model, detail, where, everywhere or {}) for detail in error.errors()]
    except ConfigError as error:  # of a check that names everything itself, and leaves no room for others
        return None, [f"{where}.{line}" for line in str(error).splitlines()]


def _problem(model: type[BaseModel], detail: Any, where: str, everywhere: Mapping[str, str]) -> str:
    """Returns what pydantic found as a sentence."""
    keys, models = _walk(model, detail["loc"])
    place = ".".join([where, *keys] if where else keys)
    start = f"{place}: " if place else ""
    kind, found, context = detail["type"], short(detail["input"]), detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = {name for each in models for name in each.model_fields}
        near = _meant(keys[-1], {name: name for name in known}, everywhere)
        hint = f"did you mean {near!r}?" if near else f"known are: {', '.join(sorted(known))}."
        return f"there is no key {place}; {hint}"
    if kind == "missing":
        return f"{place} is missing."
    if kind == "value_error":
        reason = str(context["error"])
        return f"{start}{reason}{'' if reason[-1:] in '.?!' else '.'}"
    if kind == "union_tag_not_found":
        return f"{place}.{context['discriminator'].strip(_QUOTES)} is missing; it says which one is meant."
    if kind == "union_tag_invalid":
        found = repr(context["tag"])
        place = f"{place}.{context['discriminator'].strip(_QUOTES)}"
    choices = re.findall(r"'([^']*)'", context.get("expected_tags") or context.get("expected") or "")
    if choices:
        near = closest(found.strip(_QUOTES), choices)
        hint = f"did you mean {near!r}?" if near else f"it is one of {', '.join(choices)}."
        return f"{place} is {found}; {hint}"
    if kind in ("model_type", "model_attributes_type"):  # the latter is one of several, told by its kind
        key = "name" if kind == "model_type" else "kind"
        return f"{place} is {found}; it holds keys with values, such as {{{key}: ...}}."
    reason = detail["msg"]
    return f"{place} is {found}; {reason[0].lower()}{reason[1:]}."


def _walk(model: type[BaseModel], location: Iterable[int | str]) -> tuple[list[str], list[type[BaseModel]]]:
    """Returns the keys of a place as the file has them, and the models that hold its last one."""
    keys: list[str] = []
    models = holders = [model]
    for part in location:
        owners = [each for each in models if part in each.model_fields]
        tagged = [each for each in models if any(f.default == part for f in each.model_fields.values())]
        if not owners and tagged and len(models) > 1:
            models = tagged  # pydantic names the member of the union, the file does not
            continue
        holders = models
        if owners:
            fields = [each.model_fields[str(part)] for each in owners]
            models = [inner for field in fields for inner in _models(field.annotation)]
        keys.append(str(part))
    return keys, holders


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Returns the pydantic models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]
