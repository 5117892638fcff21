"""YAML files in, plain Python values out: the one place that knows YAML."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from img2img.errors import ConfigError, display_path

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
