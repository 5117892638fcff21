"""What a table says, in the forms that spreadsheets and programs write; for trainings and for use."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2img.errors import PlanError
from img2img.tables import numbers_in, read_rows, read_table

ROWS = {"a.png": (1.0, 0.5), "b c.png": (0.0, -2.0)}
FORMS = {
    "comma": "file,x,y\na.png,1,0.5\nb c.png,0,-2\n",
    "BOM, Windows, semicolons, empty lines": "\ufefffile;x;y\r\na.png;1;0.5\r\n\r\nb c.png;0;-2\r\n;;\r\n",
    "old Mac, tabs": "file\tx\ty\ra.png\t1\t0.5\rb c.png\t0\t-2",
    "quotes and blanks": '"file" , x , "y"\n"a.png", "1",0.5\n"b c.png",0, -2 \n',
    "another place of the name": "x,y,name\n1,0.5,a.png\n0,-2,b c.png\n",
    "an index, and a column more at the end": ",file,x,y,\n0,a.png,1,0.5,\n1,b c.png,0,-2,\n",
    "truth": "file,x,y\na.png,TRUE,0.5\nb c.png,false,-2\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_csv_that_say_the_same(tmp_path: Path, form: str) -> None:
    (tmp_path / "t.csv").write_bytes(FORMS[form].encode())
    assert read_table(tmp_path / "t.csv", ["x", "y"]).rows == ROWS


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "file,x, x\na.png,1,2\n", "line 1: the column x is there twice"),
        ("t.csv", "\nfile;x;x\n", "line 2: the column x is there twice"),
        ("t.jsonl", '{"file": "a", "x": 1, "x ": 2}', "line 1: the column x is there twice"),
        ("t.txt", "1\nx y x\na.png 1 1 -1\n", "line 2: the column x is there twice"),
        ("t.csv", "file,x,y\na.png,0,5,1\n", r"line 2: has 4 cells, and the first line names 3 columns"),
        ("t.csv", "file,x\na.png,1\na.png,2\n", "line 3: a.png is there twice"),
        ("t.csv", "file,x\n,1\n", "line 2: names no file"),
        ("t.csv", "", "no rows"),
        ("t.jsonl", '{"file": "a", "x": 1' + "0" * 400 + "}", "no number"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PlanError, match=words) as raised:
        read_table(tmp_path / name)
    assert len(str(raised.value).replace(str(tmp_path), "")) < 200


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.txt"])
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("file,x\na.png,1\n".encode("utf-16"))
    for path in (tmp_path / name, tmp_path, tmp_path / f"nowhere{name}", tmp_path / f"t\0{name}"):
        with pytest.raises(PlanError):
            read_table(path)


def test_a_row_that_is_short_has_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,x,y\na.png,1\n")
    assert read_rows(tmp_path / "t.csv") == [(2, {"file": "a.png", "x": "1", "y": None})]


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("1, 0; 2.5", (1, 0, 2.5)),
        ("[1 -1]", (1, -1)),
        ("True", (1,)),
        ([True, 0], (1, 0)),
        ("", None),
        ("red", None),
        ("nan", None),
        ("1e999", None),
        (10**400, None),
        ({}, None),
        (None, None),
    ],
)
def test_numbers_of_a_cell(cell: object, numbers: tuple[float, ...] | None) -> None:
    assert numbers_in(cell) == numbers


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("t.csv", "image_id,Male,Young\na.jpg,-1,1\nb.jpg,1,-1\n", [(0, 1), (1, 0)]),
        ("t.jsonl", '{"file": "a.jpg", "Male": -1}\n{"file": "b.jpg", "Male": 1}\n', [(0,), (1,)]),
        ("t.csv", "file,Male,Age\na.jpg,-1,30\nb.jpg,1,20\n", [(-1, 30), (1, 20)]),
        ("t.csv", "file,Male\na.jpg,-1\nb.jpg,0\n", [(-1,), (0,)]),
        ("t.csv", "file,turn\na.jpg,-1.0\nb.jpg,1.0\n", [(-1,), (1,)]),
        ("list.txt", "2\nMale Young\na.jpg -1 1\nb.jpg 1 -1\n", [(0, 1), (1, 0)]),
    ],
)
def test_a_table_of_nothing_but_1_and_minus_1_says_yes_and_no(
    tmp_path: Path, name: str, text: str, rows: list[tuple[float, ...]]
) -> None:
    """As CelebA's text does; other numbers are taken as they are."""
    (tmp_path / name).write_text(text)
    assert list(read_table(tmp_path / name).rows.values()) == rows
