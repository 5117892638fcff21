"""Every key of a configuration in words: as a YAML file with comments, as a table, and as a JSON schema."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from img2img.config import dump_yaml
from img2img.data import DataConfig
from img2img.fields import Vector
from img2img.methods import methods
from img2img.methods.networks import DiscriminatorConfig, GeneratorConfig
from img2img.models import discriminators, generators
from img2img.training.experiment import Experiment
from img2img.training.settings import TrainingSettings

_WIDTH = 100
_GIVEN = ("in_channels", "out_channels", "scale", "input_size", "others", "second")  # what the data decide


def documented(experiment: Experiment) -> str:
    """Returns the configuration as YAML with a comment on every key."""
    decided = {*_GIVEN, *(name for name, field in experiment.fields.items() if isinstance(field, Vector))}
    lines = list(_commented(experiment, experiment.model_dump(mode="json"), 0, decided))
    return "\n".join(lines).replace("\n\n\n", "\n\n").strip() + "\n"


class DocumentedKey(NamedTuple):
    """A key: where it is, what it may be, what it is by default, and what it means."""

    key: str
    values: str
    default: str
    meaning: str


def rows() -> Iterator[DocumentedKey]:
    """Yields every key, those of each method under `method (NAME)`, those of architectures by theirs."""
    yield from _rows("", {"seed": Experiment.model_fields["seed"]})
    for name in methods:
        yield from _rows(f"method ({name})", methods[name].Config.model_fields)
    yield from _rows("data", DataConfig.model_fields)
    yield from _rows("training", TrainingSettings.model_fields)
    for role, registry in _NETWORKS.items():
        for name in registry:
            for argument, hint, default, meaning in _arguments(registry[name]):
                yield DocumentedKey(f"{role} ({name}).{argument}", _words(hint), _value(default), meaning)


def schema() -> dict[str, Any]:
    """Returns a JSON schema (draft 2020-12) of configurations, for editors and other programs."""
    configs = [methods[name].Config for name in methods]
    models: list[type[BaseModel]] = [*configs, DataConfig, TrainingSettings]
    places, definitions = models_json_schema([(model, "validation") for model in models])
    parts = definitions["$defs"]
    for name, config in zip(methods, configs, strict=True):
        parts[config.__name__]["properties"]["name"] = {"const": name}
        parts[config.__name__]["required"] = ["name"]
    for role, networks in (("generator", GeneratorConfig), ("discriminator", DiscriminatorConfig)):
        known = _NETWORKS[role]
        parts[networks.__name__] = {"oneOf": [_network_schema(name, known[name]) for name in known]}
    seed = Experiment.model_json_schema()["properties"]["seed"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A training of img2img",
        "type": "object",
        "additionalProperties": False,
        "required": ["method", "data", "training"],
        "properties": {
            "seed": seed,
            "method": {"oneOf": [places[config, "validation"] for config in configs]},
            "data": places[DataConfig, "validation"],
            "training": places[TrainingSettings, "validation"],
        },
        "$defs": parts,
    }


_NETWORKS: dict[str, Mapping[str, Any]] = {"generator": generators, "discriminator": discriminators}  # type: ignore[dict-item]


def _commented(
    model: BaseModel, plain: Mapping[str, Any], depth: int, decided: Collection[str]
) -> Iterator[str]:
    """Yields the lines of one mapping; arguments that the data decide are left to them."""
    margin = "  " * depth
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if depth == 0:
            yield ""
        yield from _comment(_sentence(info), margin)
        if isinstance(value, GeneratorConfig | DiscriminatorConfig):
            yield f"{margin}{name}:"
            yield f"{margin}  name: {value.name}"
            role = "generator" if isinstance(value, GeneratorConfig) else "discriminator"
            for argument, hint, default, meaning in _arguments(_NETWORKS[role][value.name]):
                if argument in value.arguments or argument not in decided:
                    given = value.arguments.get(argument, default)
                    yield from _comment(_with_choices(meaning, hint), margin + "  ")
                    yield from _entry(argument, given, margin + "  ")
        elif isinstance(value, BaseModel) and type(value).model_fields:
            yield f"{margin}{name}:"
            yield from _commented(value, plain[name], depth + 1, decided)
        else:
            yield from _entry(name, plain[name], margin)


def _entry(name: str, value: Any, margin: str) -> Iterator[str]:
    for line in dump_yaml({name: value}).splitlines():
        yield margin + line


def _comment(text: str, margin: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - len(margin) - 2):
        yield f"{margin}# {line}"


def _sentence(info: FieldInfo) -> str:
    """Returns what a key means, and the words that it may hold."""
    return _with_choices(info.description or "", info.annotation)


def _with_choices(text: str, hint: Any) -> str:
    """Returns `text` with the words among which a key chooses, unless it names them."""
    words = _literals(hint)
    named = all(re.search(rf"\b{re.escape(word)}\b", text) for word in words)
    return text if named or len(words) == 1 else f"{text} One of {', '.join(words)}.".lstrip()


def _literals(hint: Any) -> list[str]:
    """Returns the words among which a key chooses; of a union of sections their kinds."""
    if get_origin(hint) is Literal:
        return [str(word) for word in get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        kind = hint.model_fields.get("kind")
        words = [] if kind is None else _literals(kind.annotation)
        return words if len(words) == 1 else []
    if get_origin(hint) in (dict, list, tuple):
        return _literals(get_args(hint)[0]) if get_origin(hint) is tuple and get_args(hint) else []
    return [word for inner in get_args(hint) for word in _literals(inner)]


def _rows(section: str, fields: Mapping[str, FieldInfo]) -> Iterator[DocumentedKey]:
    for name, info in fields.items():
        key = f"{section}.{name}" if section else name
        default = "required" if info.is_required() else _value(info.get_default(call_default_factory=True))
        yield DocumentedKey(key, _words(info.annotation), default, info.description or "")
        for inner in _sections(info.annotation):
            kind = inner.model_fields.get("kind")
            literal = kind is not None and len(_literals(kind.annotation)) == 1
            place = f"{key} ({kind.default})" if kind is not None and literal else key
            fields_ = {n: f for n, f in inner.model_fields.items() if not (literal and n == "kind")}
            yield from _rows(place, fields_)


def _sections(hint: Any) -> list[type[BaseModel]]:
    """Returns the sections that a key may hold, but no networks: those are listed by architecture."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [] if issubclass(hint, GeneratorConfig | DiscriminatorConfig) else [hint]
    return [found for inner in get_args(hint) for found in _sections(inner)]


def _words(hint: Any) -> str:
    """Returns the type of a value in words."""
    literals = _literals(hint)
    if literals:
        return " | ".join(literals)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "keys"
    text = getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)
    text = re.sub(r"typing\.|pathlib\.|annotated_types\.|img2img\.[\w.]*\.", "", text)
    text = re.sub(r"Annotated\[(\w+)[^\]]*\]", r"\1", text)
    return (
        text.replace("NoneType", "null")
        .replace("None", "null")
        .replace("str", "text")
        .replace("bool", "true | false")
    )


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(each)}" for key, each in value.items()) + "}"
    text = dump_yaml(value).strip()
    return text.removesuffix("...").strip()


def _arguments(cls: type) -> Iterator[tuple[str, Any, Any, str]]:
    """Yields name, type, default and meaning of the arguments of an architecture."""
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    meanings = _meanings(inspect.getdoc(cls) or "")
    for name, parameter in inspect.signature(cls).parameters.items():
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        yield name, hints.get(name, Any), default, meanings.get(name, "")


def _meanings(text: str) -> dict[str, str]:
    """Returns what the section Args of a docstring says of each argument."""
    match = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(match[1]) if match else ""):
        names, colon, meaning = entry.partition(":")
        if colon:
            for name in names.split(","):
                found[name.strip()] = " ".join(meaning.split())
    return found


def _network_schema(name: str, cls: Callable[..., Any]) -> dict[str, Any]:
    """Returns the schema of one architecture with its arguments."""
    properties: dict[str, Any] = {"name": {"const": name}}
    for argument, hint, default, meaning in _arguments(cls):  # type: ignore[arg-type]
        properties[argument] = TypeAdapter(hint).json_schema() | {"default": default}
        if meaning:
            properties[argument]["description"] = meaning
    return {"type": "object", "required": ["name"], "additionalProperties": False, "properties": properties}
