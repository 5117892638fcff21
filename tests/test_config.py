from __future__ import annotations

import math
import os
from importlib.resources import files

import pytest
import yaml

from img2img.config import document, dump_yaml, load_yaml, override, parse_yaml
from img2img.errors import ConfigError
from img2img.files import open_regular, read_regular


@pytest.fixture(autouse=True, params=["as installed", "in Python"])
def parser(request, monkeypatch):
    if request.param == "in Python":
        monkeypatch.setattr(document, "_loaders", document._loaders[-1:])


@pytest.mark.sampled(1)
def test_reading_and_writing_in_c_agree_with_python():
    if not yaml.__with_libyaml__:
        pytest.skip("PyYAML comes without libyaml")
    shipped = (entry for entry in files("img2img.configs").iterdir() if entry.name.endswith(".yaml"))
    texts = [entry.read_text(encoding="utf-8") for entry in shipped]
    assert texts
    for text in texts:
        trees = [yaml.load(text, loader) for loader in (document._Loader, document._FastLoader)]
        assert repr(trees[0]) == repr(trees[1])
        written = document._written(trees[1], document._Dumper)
        assert document._written(trees[0], document._FastDumper) == document.dump_yaml(trees[0]) == written


@pytest.mark.parametrize(
    "name", ["a b: c", "it's", "#1", "ä ö", "x" * 120, "two words " * 15, "\U0001f600", "a\tb\n"]
)
def test_whatever_is_written_is_the_same_in_c_and_python(name):
    tree = {name[:30]: name, "list": [name, 1e-5, None, True, "1", [name]]}
    assert dump_yaml(tree) == document._written(tree, document._Dumper)
    assert parse_yaml(dump_yaml(tree), "here") == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2.5E+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("16:9", "16:9"),
        ("1:30:00", "1:30:00"),
        ("on", "on"),
        ("no", "no"),
        ("y", "y"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
        ("'5'", "5"),
        ("nan", "nan"),
        ("ä ö", "ä ö"),
        ("[1, 2.0, x]", [1, 2.0, "x"]),
        ("{a: {b: 1e3}, c:}", {"a": {"b": 1000.0}, "c": None}),
        ("base: &b {x: 1}\nmore: {<<: *b, y: 2}", {"base": {"x": 1}, "more": {"x": 1, "y": 2}}),
    ],
)
def test_scalars_mean_what_they_look_like(tmp_path, text, value):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load_yaml(path)
    assert loaded == value and type(loaded) is type(value)


def test_not_a_number(tmp_path):
    (tmp_path / "c.yaml").write_text("x: .nan")
    assert math.isnan(load_yaml(tmp_path / "c.yaml")["x"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: 1\nb: [1, 2\nc: 3", ["line 3, column"]),
        (b"a: 1\n\tb: 2", ["line 2, column 1"]),
        (b"a: 1\nb: 2\na: 3", ["line 3, column 1", "'a' is given twice"]),
        (b"x:\n  - *nobody", ["line 2, column 5", "nobody"]),
        (b"a: 1\n---\nb: 2", ["line 2, column 1"]),
        (b"x: !!python/name:os.system", ["line 1, column 4", "python/name:os.system"]),
        (b"x: !unknown 5", ["line 1, column 4"]),
        (b"{[1]: 2}", ["line 1, column"]),
        (b"a: b\nc: \xff", ["line 2", "UTF-8"]),
        (b"a: b\nc: d\x01", ["line 2, column 5", "character"]),
        (b"x: !!int abc", ["not valid YAML"]),
        (b"x: !!bool abc", ["not valid YAML"]),
        (b"x: !!map 3", ["line 1, column 4"]),
        (b"x: !!binary aGk=", ["line 1, column 4"]),
        (b"x: !!timestamp 2026-01-01", ["line 1, column 4"]),
        (b"x: !!python/object/apply:os.system [true]", ["line 1, column 4"]),
        (b"x: 0x" + b"f" * 60_000, ["line 1, column 4", "64 bits"]),
        (b"x: " + b"9" * 5000, ["not valid YAML"]),
        (b"[" * 1100, ["nested deeper than 50"]),
        (b"- " * 1100, ["nested deeper than 50"]),
        (b'{"\\e[2Jx": 1, "\\e[2Jx": 2}', ["twice"]),
        (b"[" + b"a," * 11_000 + b"]", ["more than 10,000 values"]),
        (b"\xff\xfea\0:\0 \0001\0", ["UTF-8"]),
    ],
)
@pytest.mark.sampled(30)
def test_mistakes_are_named_with_their_place(tmp_path, data, words):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    for word in ["wrong.yaml", *words]:
        assert word in str(caught.value)
    assert str(caught.value).endswith(".")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read \(No such file or directory\)"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "big.yaml").write_bytes(b"#" * (2**16 + 1))
    with pytest.raises(ConfigError, match="larger than 64 KiB"):
        load_yaml(tmp_path / "big.yaml")


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert load_yaml(tmp_path / "bom.yaml") == {"a": 1}


def laughs(entry: str, first: str = "lol", levels: int = 12) -> bytes:
    """Returns a document whose last entry is 9^levels values for whoever follows its aliases."""
    lines = [entry.format(anchor="&a0", value=first, n=0)]
    for n in range(1, levels):
        lines.append(entry.format(anchor=f"&a{n}", value=f"[{','.join([f'*a{n - 1}'] * 9)}]", n=n))
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "data",
    [
        laughs("- {anchor} {value}"),
        laughs("a{n}: {anchor} {value}"),
        laughs("a{n}: {anchor} {{x: {value}}}"),
        laughs("- gamma: {anchor} {value}"),
        laughs("a{n}: {anchor} {{<<: {value}}}", "{x: 1}"),
        b"&a [*a, *a]",
        b"a: &a {b: *a}",
        b"- &a [1, 2]\n" + b"- [*a, *a, *a, *a]\n" * 1000,
    ],
    ids=["list", "map", "map of maps", "recipe", "merge", "itself", "map itself", "flat"],
)
@pytest.mark.sampled(6)
def test_aliases_cost_what_they_stand_for(tmp_path, data):
    (tmp_path / "c.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"aliases stand for more|stands inside of|more than 10,000 values"):
        load_yaml(tmp_path / "c.yaml")


def test_aliases_as_people_use_them():
    text = "base: &b {rate: 1, steps: 5}\nruns:\n" + "".join(f"- {{<<: *b, seed: {n}}}\n" for n in range(100))
    runs = parse_yaml(text, "runs")["runs"]
    assert runs == [{"rate": 1, "steps": 5, "seed": n} for n in range(100)]
    nested = "a: &a {one: 1}\np: {b: &b {<<: *a, two: 2}}\nc: {<<: *b, three: 3}"
    assert parse_yaml(nested, "x")["c"] == {"one": 1, "two": 2, "three": 3}


def test_so_are_values_on_the_command_line():
    for text in ("[" + "a," * 11_000 + "]", "[" * 100, "&a [*a]", "!!python/name:os.system"):
        with pytest.raises(ConfigError):
            override({}, [f"x={text}"], {"": ["x"]})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", "/dev/zero"):
        with pytest.raises(ConfigError, match="pipe, socket or device"):
            load_yaml(path)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="pipe, socket or device"):
        load_yaml(tmp_path / "link.yaml")


def test_a_file_that_is_larger_than_allowed_is_not_read(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_regular(tmp_path / "x", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(tmp_path / "x", 4)
    with pytest.raises(OSError, match="folder"):
        open_regular(tmp_path)
