"""Numbers reach a model in its own order, by their names, or not at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import fill

from img2img.batch import Summary, convert_folder, plan
from img2img.errors import PlanError
from img2img.fields import Fields, Mask, Vector
from img2img.image import Image, write_image

NAMES = ("Blond", "Male", "Young")


class Recorder:
    """Keeps the numbers that came with each picture, which it knows by the level of its first pixel."""

    def __init__(self, **fields: Any) -> None:
        self.conditions: Fields = fields or {"attributes": Vector(size=3, names=NAMES)}
        self.seen: dict[int, tuple[float, ...]] = {}

    def group_key(self, image: Image) -> Hashable:
        return None

    def __call__(self, images: Sequence[Image], **given: Sequence[Any]) -> list[Image]:
        (numbers,) = given.values()
        self.seen |= {int(image.pixels[0, 0, 0]): each for image, each in zip(images, numbers, strict=True)}
        return list(images)


def pictures(folder: Path, names: Sequence[str] = ("a.png", "sub/b.png")) -> Path:
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(Image(np.full((2, 2, 1), level, np.uint8)), folder / name)
    return folder


def taken(tmp_path: Path, place: Any, names: Sequence[str] = ("a.png", "sub/b.png"), **fields: Any) -> Any:
    """Returns the numbers of the pictures, in the order of `names`; of one that failed why."""
    process = Recorder(**fields)
    source = pictures(tmp_path / "in", names)
    (key,) = process.conditions
    summary: Summary = convert_folder(source, tmp_path / "out", process, companions={key: place})
    reasons = {path.relative_to(source).as_posix(): reason for path, reason in summary.failures}
    return [process.seen.get(level, reasons.get(name)) for level, name in enumerate(names)]


def table(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


EXPECTED = [(1.0, 0.0, 0.5), (0.0, 1.0, -2.0)]
FORMS = {
    "another order": ("t.csv", "file,Young,Male,Blond\na.png,0.5,0,1\nsub/b.png,-2,1,0\n"),
    "more columns": ("t.csv", "Young,note,file,Bald,Male,Blond\n0.5,x,a,1,0,1\n-2,,sub/b,7,1,0\n"),
    "semicolons, BOM, Windows": (
        "t.csv",
        "\ufefffile;Young ;Male;Blond\r\na.png;0.5;0;1\r\nsub\\b.png;-2;1;0\r\n;;;\r\n",
    ),
    "quotes": (
        "t.csv",
        '"file","note","Young","Male","Blond"\n"a.png","x, y","0.5",0,1\n"./sub/b.png","""",-2,1,0',
    ),
    "tabs": ("t.tsv", "file\tYoung\tMale\tBlond\na.png\t0.5\t0\t1\nsub/b.png\t-2\t1\t0\n"),
    "truth": ("t.csv", "file,Young,Male,Blond\na.png,0.5,FALSE,True\nsub/b.png,-2,true,false\n"),
    "JSON": (
        "t.jsonl",
        '{"Young": 0.5, "Blond": true, "file": "a", "Male": false}\n'
        '{"file": "sub/b.png", "Male": 1, "Young": -2, "Blond": 0, "Bald": null}\n',
    ),
    "one column": ("t.csv", 'file,attributes\na.png,"1, 0, 0.5"\nsub/b.png,[0 1 -2]\n'),
    "case": ("t.csv", "filename,Young,Male,Blond\nA.PNG,0.5,0,1\nSub/b,-2,1,0\n"),
    "rows of no file": ("t.csv", "file,Young,Male,Blond\nx.png,9,9,z\na.png,0.5,0,1\nsub/b.png,-2,1,0\n"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_taken_by_the_names_of_the_model(tmp_path: Path, form: str) -> None:
    name, text = FORMS[form]
    assert taken(tmp_path, table(tmp_path, text, name)) == EXPECTED


def test_celeba_means_what_it_means_in_training(tmp_path: Path) -> None:
    place = table(tmp_path, "2\nYoung Male Blond\na.png -1 -1 1\nsub/b.png  1 1 -1\n", "list_attr_celeba.txt")
    assert taken(tmp_path, place) == [(1, 0, 0), (0, 1, 1)]


def test_names_of_columns_and_files_may_be_composed_or_not(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for column, name in ((apart, composed), (composed, apart)):
        place = table(tmp_path, f"file,{column},b\n{column}.png,1,2\n")
        field = Vector(size=2, names=("b", name))
        assert taken(tmp_path / name, place, [f"{name}.png"], v=field) == [(2, 1)]
        assert taken(tmp_path / name, {column: 1, "b": 3}, [f"{name}.png"], v=field) == [(3, 1)]


def test_a_cell_without_a_number_is_the_failure_of_its_file(tmp_path: Path) -> None:
    place = table(tmp_path, "file,Young,Male,Blond\na.png,?,0,1\nsub/b.png,-2,1,0\n")
    failed, done = taken(tmp_path, place)
    assert done == EXPECTED[1] and "t.csv, line 2: Young is '?', which is no number" in failed
    place = table(tmp_path, "file,Young,Male,Blond\na.png,,0,1\nsub/b.png,-2,1\n")
    with pytest.raises(PlanError, match=r"line 2: Young is empty\. So it is in all 2 lines\."):
        taken(tmp_path, place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,Yuong,Male,Blond\na.png,1,0,1\n", "no column 'Young'; did you mean 'Yuong'.*Blond, Male"),
        ("file,attributes\na.png,1 0\n", "has 2 numbers, and the model takes 3 numbers: Blond, Male, Young"),
        ("file,attributes\na.png,\n", r"line 2: attributes is empty\."),
        ("file,attributes\na.png,Bold\n", "is 'Bold'.*did you mean 'Blond'"),
        ("file;Young;Male;Blond\na.png;0,5;0;1\n", "Young is '0,5', which is no number"),
        ("file,Young,Male,Blond\na.png,0,5,0,1\n", "5 cells, and the first line names 4 columns"),
        ("file,Young,Male,Blond\na.png,nan,0,1\n", "Young is 'nan'"),
        ('{"file": "a.png", "Young": 1' + "0" * 400 + ', "Male": 1, "Blond": 1}', "Young is '1000"),
        ("file,Young,Male,Blond,Male\na.png,1,0,1,1\n", "the column Male is there twice"),
    ],
)  # fmt: skip
def test_a_table_of_no_use_is_one_sentence_before_the_work(tmp_path: Path, text: str, words: str) -> None:
    place = table(tmp_path, text, "t.jsonl" if text.startswith("{") else "t.csv")
    with pytest.raises(PlanError, match=words):
        taken(tmp_path, place)
    assert not (tmp_path / "out").exists()


def test_rows_that_are_there_twice_fail_their_file(tmp_path: Path) -> None:
    place = table(tmp_path, "file,Young,Male,Blond\na.png,1,0,1\nsub/b.png,-2,1,0\nA,0,0,1\na.png,0,1,1\n")
    failed, done = taken(tmp_path, place)
    assert done == EXPECTED[1] and "there are 2" in failed


def test_a_point_in_a_name_begins_no_extension_unless_one_of_pictures(tmp_path: Path) -> None:
    place = table(tmp_path, "file,Young,Male,Blond\nphoto.1,1,0,1\n")
    one, other = taken(tmp_path, place, ["photo.png", "photo.1.png"])
    assert "there is no attributes for it" in one and other == (1, 0, 1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0.5,0,1", (0.5, 0, 1)),
        ("Young=1,Male=0, Blond=-2", (-2, 0, 1)),
        ("Male", (0, 1, 0)),
        ([3, 2, 1], (3, 2, 1)),
        (np.array([3, 2, 1], np.float32), (3, 2, 1)),
        ({"Young": 3, "Male": 2, "Blond": 1}, (1, 2, 3)),
    ],
)
def test_numbers_for_all_may_be_said_by_name(tmp_path: Path, said: Any, expected: Any) -> None:
    assert taken(tmp_path, said) == [expected, expected]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("0.5,0", "has 2 numbers, and the model takes 3 numbers: Blond, Male, Young"),
        ([1.0], "has 1 number, and"),
        ("Young=1,Male=0", "lacks Blond"),
        ("Young=1,Mole=0,Blond=1", "no name 'Mole'; did you mean 'Male'"),
        ("Young=x,Male=0,Blond=1", "Young is 'x'"),
        ("nan,0,1", "takes 3 numbers: Blond, Male, Young; or a table. nan,0,1 is neither"),
        ("Mal", "no such file exists: .* did you mean 'Male'"),
        ("in", "is a folder. It takes 3 numbers: Blond"),
        ("in/a.png", "is a picture. It takes 3 numbers"),
        ("t\0.csv", r"t\\x00.csv is neither"),
    ],
)
def test_what_is_no_vector_is_one_sentence_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Any, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "in")
    with pytest.raises(PlanError, match=words):
        plan([Path("in")], Path("out"), companions={"attributes": said}, fields=Recorder().conditions)


@pytest.mark.parametrize("said", ["0.5", "1,2", [0.5], {"a": 1}])
def test_numbers_for_a_picture_are_one_sentence_before_the_work(tmp_path: Path, said: Any) -> None:
    with pytest.raises(PlanError, match=r"mask is a mask, and .* It takes a folder"):
        taken(tmp_path, said, mask=Mask())


def test_the_names_say_how_many_numbers_there_are(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="has 1 number"):
        taken(tmp_path, [1], v=Vector(names=("a", "b")))
    assert taken(tmp_path, [1, 2], ["a.png"], v=Vector(names=("a", "b"))) == [(1, 2)]


def test_classes_are_told_by_their_names(tmp_path: Path) -> None:
    """What one folder a class was in training."""
    classes = Vector(size=2, names=("cat", "dog"))
    place = table(tmp_path, "file,species\na.png,dog\nsub/b.png,cat\n")
    assert taken(tmp_path, place, species=classes) == [(0, 1), (1, 0)]


def test_without_names_the_order_of_the_table_counts_and_is_said(tmp_path: Path) -> None:
    source = fill(tmp_path / "in", ["a.png"])
    fields = {"attributes": Vector(size=2)}
    place = table(tmp_path, "source,target,split,b,a\na.png,x.png,train,1,0\n")
    made = plan([source], tmp_path / "out", companions={"attributes": place}, fields=fields)
    assert made.items[0].companions == {"attributes": (1, 0)}
    assert any("in the order of the columns: b, a" in note for note in made.notes)
    place = table(tmp_path, "file,b,a,c\na.png,1,0,0\n")
    with pytest.raises(PlanError, match="has 3 numbers, and the model takes 2 numbers"):
        plan([source], tmp_path / "out", companions={"attributes": place}, fields=fields)
    place = table(tmp_path, "file,b,a\na.png,1,x\nb.png,1,0\n")
    made = plan([source], tmp_path / "out", companions={"attributes": place}, fields=fields)
    assert not made.items and "a is 'x', which is no number" in made.unreadable[0].reason


def test_another_row_is_other_work(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in")

    def again(text: str) -> tuple[int, int]:
        place = table(tmp_path, text)
        summary = convert_folder(source, tmp_path / "out", Recorder(), companions={"attributes": place})
        return summary.done, summary.skipped

    assert again(FORMS["another order"][1]) == (2, 0)
    assert again(FORMS["more columns"][1]) == (0, 2), "the same numbers in another form"
    assert again(FORMS["another order"][1].replace("0.5", "0.25")) == (1, 1)
