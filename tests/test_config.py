from __future__ import annotations

import math

import pytest

from img2img.config import load_yaml
from img2img.errors import ConfigError


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
        (b"[" * 1500, ["not valid YAML"]),
    ],
)
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
    (tmp_path / "big.yaml").write_bytes(b"#" * (5 * 2**20))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        load_yaml(tmp_path / "big.yaml")


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert load_yaml(tmp_path / "bom.yaml") == {"a": 1}
