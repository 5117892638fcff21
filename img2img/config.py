"""YAML files in, plain Python values and checked sections out: the one place that knows YAML and overrides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from img2img.errors import ConfigError, display_path

M = TypeVar("M", bound=BaseModel)
_LARGEST = 4 * 2**20  # bytes; a configuration is written by hand


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2 and without silent loss.

    In YAML 1.1, which PyYAML reads, `1e-4` is text, `16:9` is 969, `010` is 8, `on` and `no` are booleans and
    `2026-01-01` is a date. Nobody means that in a configuration. A key given twice is an error here, too.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def _int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)

    def _float(self, node: yaml.ScalarNode) -> float:
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


def _teach(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})$"), list(first))


_Loader.yaml_implicit_resolvers = {}  # those of YAML 1.1
_teach("null", "~|null|Null|NULL|", "~nN")
_Loader.yaml_implicit_resolvers.setdefault("", []).extend(_Loader.yaml_implicit_resolvers["~"])
_teach("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_teach("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_teach(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
)
_teach("merge", "<<", "<")
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader._int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader._float)


def load_yaml(path: str | PathLike[str]) -> object:
    """Reads one YAML document.

    Scalars follow YAML 1.2: `1e-4` is a number, `16:9`, `on` and dates are text. No Python object is ever
    built.

    Returns:
        Dictionaries, lists, strings, numbers, booleans and None; None for an empty file.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8, or is not valid YAML; line and column are named.
    """
    name = display_path(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error}).") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"{name}: is larger than {_LARGEST // 2**20} MiB, which no configuration is.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}, line {line}: is not UTF-8 text; save it as UTF-8.") from None
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            f"{name}{where}: {error.problem or error.context or 'is not valid YAML'}."
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise ConfigError(
            f"{name}, line {line}, column {column}: holds a character that YAML does not allow."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: is not valid YAML ({error}).") from None


def override(tree: dict[str, Any], assignments: Iterable[str], sections: Mapping[str, Iterable[str]]) -> None:
    """Changes values of a configuration as `--set key=value` asks.

    The value is read as YAML reads it: `--set training.steps=1e3`, `--set data.crop_size=[128, 256]`. A key
    that only one section has needs no section: `--set epochs=5`.

    Args:
        tree: The configuration; it is changed.
        assignments: "key=value", keys with dots for what lies inside.
        sections: The keys that each section may have; the empty name stands for the top level.

    Raises:
        ConfigError: An assignment has no `=`, no such key exists, or its value is no YAML.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise ConfigError(f"{assignment!r} is no assignment; write key=value, such as training.epochs=5.")
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise ConfigError(f"{assignment}: the value is not valid YAML ({error}).") from None
        *path, leaf = key.split(".")
        if not path and leaf not in sections[""]:
            homes = [section for section, keys in sections.items() if section and leaf in keys]
            if len(homes) > 1:
                raise ConfigError(f"{leaf} could be {' or '.join(f'{home}.{leaf}' for home in homes)}; say which.")
            if not homes:
                known = [*sections[""], *(f"{s}.{k}" for s, keys in sections.items() if s for k in keys)]
                bare = {name.rpartition(".")[2]: name for name in known}
                near = difflib.get_close_matches(leaf, bare, n=1)
                hint = f"did you mean {bare[near[0]]!r}?" if near else "`img2img config schema` lists all keys."
                raise ConfigError(f"there is no key {leaf!r}; {hint}")
            path = homes
        branch: Any = tree
        for name in path:
            if not isinstance(branch.get(name), dict):
                branch[name] = {}
            branch = branch[name]
        branch[leaf] = value


def validate(model: type[M], value: object, where: str) -> tuple[M | None, list[str]]:
    """Returns `value` as a `model`, or a sentence for every problem that it has.

    Args:
        model: The class of the section.
        value: What the file holds there.
        where: The name of the section, for the sentences.
    """
    if not isinstance(value, dict):
        found = "empty" if value is None else f"{value!r}"
        return None, [f"{where} is {found}; it holds keys with values, each on a line of its own."]
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        return None, [_problem(model, detail, where) for detail in error.errors()]


def _problem(model: type[BaseModel], detail: Any, where: str) -> str:
    """Returns what pydantic found as a sentence."""
    keys = [str(part) for part in detail["loc"]]
    place = ".".join([where, *keys])
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _fields(model, keys[:-1])
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known))}."
        return f"there is no key {place}; {hint}"
    if kind == "missing":
        return f"{place} is missing."
    if kind == "value_error":
        reason = str(detail["ctx"]["error"])
        return f"{place}: {reason}{'' if reason[-1:] in '.?!' else '.'}"
    reason = detail["msg"]
    expected = detail.get("ctx", {}).get("expected", "")
    choices = re.findall(r"'([^']*)'", expected) if kind in ("literal_error", "union_tag_invalid") else []
    near = difflib.get_close_matches(str(detail["input"]), choices, n=1)
    if kind == "union_tag_invalid":
        choices = re.findall(r"'([^']*)'", str(detail["ctx"].get("expected_tags", "")))
        found = detail["ctx"].get("tag", "")
        near = difflib.get_close_matches(str(found), choices, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(choices)}."
        return f"{place} is of the kind {found!r}; {hint}"
    if near:
        return f"{place} is {detail['input']!r}; did you mean {near[0]!r}?"
    return f"{place} is {detail['input']!r}; {reason[0].lower()}{reason[1:]}."


def _fields(model: type[BaseModel], keys: list[str]) -> set[str]:
    """Returns the names of the fields at `keys` below `model`."""
    models: list[type[BaseModel]] = [model]
    for key in keys:
        inner = [m for each in models if key in each.model_fields for m in _models(each.model_fields[key].annotation)]
        # the tag of a union, or a number in a list, leads no deeper
        tagged = [m for m in models if key in {f.default for f in m.model_fields.values() if isinstance(f.default, str)}]
        models = inner or tagged or models
    return {name for each in models for name in each.model_fields}


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Returns the pydantic models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def dump_yaml(tree: object) -> str:
    """Returns plain values as YAML text, in their order, that `load_yaml` reads back."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes short lists in one line, and floats so that every reader of YAML takes them for numbers."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _write_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _write_list(dumper: yaml.SafeDumper, value: list[object]) -> yaml.SequenceNode:
    flow = all(not isinstance(item, (dict, list, tuple)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


_Dumper.add_representer(float, _write_float)
_Dumper.add_representer(list, _write_list)
