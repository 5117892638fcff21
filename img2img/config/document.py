"""YAML in, plain values out, and back: the one place that knows YAML."""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from os import PathLike
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.representer import SafeRepresenter
from yaml.resolver import Resolver

from img2img.errors import ConfigError, display_path
from img2img.files import read_regular

_LARGEST = 2**16  # bytes; a configuration is written by hand
_MOST_VALUES = 10_000  # in one document, aliases counted as often as they are used
_DEEPEST = 50
_WIDEST_INTEGER = 2**63
_FENCE = "---\n"
_OTHERS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_FAILURES = (yaml.YAMLError, *_OTHERS)


class _Strict(Composer, SafeConstructor, Resolver):
    """The safe loader after its parser: with the scalars of YAML 1.2, without silent loss, and with an end.

    In YAML 1.1, which PyYAML reads, `1e-4` is text, `16:9` is 969, `010` is 8, `on` and `no` are booleans and
    `2026-01-01` is a date. Nobody means that in a configuration. A key given twice is an error here, too.

    An alias costs as much as what it stands for: ten lines of aliases of aliases are a billion values for
    whoever looks at them one by one, although the loader itself only ever sees the same few.
    """

    _values: int = 0
    _depth: int = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._values += 1
        self._depth += 1
        mark = self.peek_event().start_mark  # type: ignore[attr-defined]  # of the parser
        if self._depth > _DEEPEST:
            raise _wrong(f"is nested deeper than {_DEEPEST} levels", mark)
        if self._values > _MOST_VALUES:
            raise _wrong(f"more than {_MOST_VALUES:,} values are no configuration", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise _wrong(f"the key {short(key.value)} is given twice", key.start_mark)
                seen.add(key.value)
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def _int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        value = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if abs(value) > _WIDEST_INTEGER:
            raise _wrong("the number is larger than 64 bits", node.start_mark)
        return value

    def _float(self, node: yaml.ScalarNode) -> float:
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


def _wrong(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Returns how many values `node` is for a reader who follows every alias.

    Args:
        node: It is nested at most as deep as the composer allows, unless aliases lie in what they stand for.
        known: The numbers of the nodes that were counted; 0 while one is being counted.
    """
    if id(node) not in known:
        known[id(node)] = 0
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    found = known[id(node)]
    if found == 0:
        raise _wrong("an alias stands inside of what it stands for", node.start_mark)
    if found > _MOST_VALUES:
        raise _wrong(f"its aliases stand for more than {_MOST_VALUES:,} values", node.start_mark)
    return found


def _teach(tag: str, pattern: str, first: str) -> None:
    _Strict.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})$"), list(first))


_Strict.yaml_implicit_resolvers = {}  # those of YAML 1.1
_teach("null", "~|null|Null|NULL|", "~nN")
_Strict.yaml_implicit_resolvers.setdefault("", []).extend(_Strict.yaml_implicit_resolvers["~"])
_teach("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_teach("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_teach(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
)
_teach("merge", "<<", "<")
_PLAIN = ("null", "bool", "str", "seq", "map")  # no dates, sets and bytes: a configuration has none
_Strict.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
}
_Strict.yaml_constructors["tag:yaml.org,2002:int"] = _Strict._int
_Strict.yaml_constructors["tag:yaml.org,2002:float"] = _Strict._float


class _Loader(_Strict, yaml.SafeLoader):
    """Reads events in Python; its messages are those that are shown."""


_loaders: list[type[Any]] = [_Loader]  # the last one only finds out what is wrong for those before it
if yaml.__with_libyaml__:

    class _FastLoader(_Strict, yaml.CSafeLoader):
        """Reads events in C, several times as fast; nodes are made, and counted, in Python all the same."""

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

    _loaders.insert(0, _FastLoader)


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
        data = read_regular(path, _LARGEST)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ConfigError(
                f"{name}: is larger than {_LARGEST // 2**10} KiB, which no configuration is."
            ) from None
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error}).") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}, line {line}: is not UTF-8 text; save it as UTF-8.") from None
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> object:
    """Does what `load_yaml` does with a text that is at hand; `name` says in messages where it stands.

    Raises:
        ConfigError: It is not valid YAML; line and column are named.
    """
    for fast in _loaders[:-1]:
        with suppress(*_FAILURES):
            return yaml.load(text, fast)
    try:
        return yaml.load(text, _loaders[-1])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = display_path(str(error.problem or error.context or "is not valid YAML"))
        raise ConfigError(f"{name}{where}: {problem}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise ConfigError(
            f"{name}, line {line}, column {column}: holds a character that YAML does not allow."
        ) from None
    except _OTHERS as error:
        raise ConfigError(f"{name}: is not valid YAML ({display_path(str(error)[:100])}).") from None


def front_matter(text: str, where: str) -> tuple[object, str]:
    """Returns the front matter of a Markdown text as plain values, None if it has none, and the rest.

    Args:
        text: All of it.
        where: Its file, for messages.

    Raises:
        ConfigError: The front matter is not valid YAML.
    """
    if not text.startswith(_FENCE):
        return None, text
    front, fence, rest = text.removeprefix(_FENCE).partition("\n" + _FENCE)
    return (parse_yaml(front, where), rest) if fence else (None, text)


def dump_yaml(tree: object) -> str:
    """Returns plain values as YAML text, in their order, that `load_yaml` reads back."""
    if yaml.__with_libyaml__:
        text = _written(tree, _FastDumper)
        if '"' not in text:  # in those it folds, and escapes what is beyond U+FFFF, in its own way
            return text
    return _written(tree, _Dumper)


def _written(tree: object, dumper: type[Any]) -> str:
    return str(yaml.dump(tree, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100))


class _Style(SafeRepresenter):
    """Writes short lists in one line, and floats so that every reader of YAML takes them for numbers."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _write_float(dumper: SafeRepresenter, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _write_list(dumper: SafeRepresenter, value: list[object]) -> yaml.SequenceNode:
    flow = all(not isinstance(item, (dict, list, tuple)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


_Style.add_representer(float, _write_float)
_Style.add_representer(list, _write_list)


class _Dumper(_Style, yaml.SafeDumper):
    """Writes in Python: what the other one has to agree with."""


if yaml.__with_libyaml__:

    class _FastDumper(_Style, yaml.CSafeDumper):
        """Writes in C, several times as fast, and the same but for what it puts into double quotes."""


def short(value: object) -> str:
    """Returns `value` as a message shows it, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
