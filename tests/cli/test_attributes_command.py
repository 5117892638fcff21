"""Attributes that are set by their names: what a model that takes them is asked for, by table and without."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.fields import Vector
from img2img.image import Image, decode, read_image, write_image
from img2img.models import Generator, generators

NAMES = ("Black_Hair", "Blond_Hair", "Male", "Young")


class Painter(Generator):
    """Paints what it is asked for: red is hair, black or twice as much blond, green Male, blue Young."""

    name = "painter"
    live_features = 9
    receptive_field = 0
    tiny: ClassVar[dict[str, Any]] = {}

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.in_channels = self.out_channels = 3
        self.conditions = {"attributes": Vector(size=count)}
        self.level = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        black, blond, male, young = conditions["attributes"][:, :4].T
        colour = torch.stack((0.2 * black + 0.4 * blond, 0.4 * male, 0.4 * young), 1)
        return self.level * colour[:, :, None, None].expand_as(x)


def asked(path: Path) -> tuple[int, ...]:
    """Returns what was painted: hair (1 black, 2 blond, 3 both), Male and Young."""
    red, green, blue = read_image(path).pixels[0, 0]
    return round(red / 51), round(green / 102), round(blue / 102)


def translate(*arguments: Any, model: str = "m.safetensors", out: str = "out") -> Result:
    return CliRunner().invoke(cli, ["translate", "in", "-o", out, "-m", model, *map(str, arguments)])


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose hair colours exclude each other, one of classes, one without names; two pictures."""
    monkeypatch.setitem(generators._entries, "painter", Painter)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    names = {"attributes": NAMES}
    models = {
        "m": (names, (NAMES[:2],)),
        "classes": (names, (NAMES,)),
        "plain": (names, ()),
        "none": ({}, ()),
    }
    for stem, (attributes, exclusive) in models.items():
        info = ModelInfo("own", attributes=attributes, exclusive=exclusive, synthetic=True)
        save_model(tmp_path / f"{stem}.safetensors", Painter(), info)
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_image(Image(np.full((10, 12, 3), 90, np.uint8)), tmp_path / "in" / f"{name}.png")
    (tmp_path / "t.csv").write_text("file,Young,Male,Blond_Hair,Black_Hair\na.png,1,0,0,1\nb.png,0,1,0,0\n")


def test_without_a_table_the_rest_counts_as_0_and_that_is_said() -> None:
    result = translate("--set-attribute", "Blond_Hair=1")
    assert result.exit_code == 0, result.stderr
    assert "these count as 0: Male, Young." in result.stderr, "black is cleared, not unknown"
    assert asked(Path("out/a.png")) == asked(Path("out/b.png")) == (2, 0, 0)


def test_with_a_table_a_picture_keeps_what_is_not_set() -> None:
    result = translate("--set-attribute", "Blond_Hair", "--with", "attributes=t.csv")
    assert result.exit_code == 0 and "count as 0" not in result.stderr
    assert asked(Path("out/a.png")) == (2, 0, 1) and asked(Path("out/b.png")) == (2, 1, 0)
    # set to no it clears nothing; another change makes the results stale
    more = ["--set-attribute", "Blond_Hair=0", "--set-attribute", "Male=1"]
    result = translate(*more, "--with", "attributes=t.csv")
    assert "2 done" in result.stderr
    assert asked(Path("out/a.png")) == (1, 1, 1) and asked(Path("out/b.png")) == (0, 1, 0)
    assert "2 skipped" in translate(*more, "--with", "attributes=t.csv").stderr


def test_numbers_for_all_are_what_holds_of_each() -> None:
    result = translate("--set-attribute", "Male=1", "--with", "attributes=1,0,0,1")
    assert result.exit_code == 0 and asked(Path("out/b.png")) == (1, 1, 1)


def test_one_class_clears_all_others_and_nothing_is_assumed() -> None:
    result = translate(
        "--set-attribute", "Young=1", "--with", "attributes=t.csv", model="classes.safetensors"
    )
    assert result.exit_code == 0 and asked(Path("out/a.png")) == (0, 0, 1)
    result = translate("--set-attribute", "Male", model="classes.safetensors", out="o2")
    assert result.exit_code == 0 and "count as" not in result.stderr and asked(Path("o2/a.png")) == (0, 1, 0)


def test_hair_that_excludes_nothing_may_be_of_two_colours() -> None:
    sets = [word for name in NAMES[:2] for word in ("--set-attribute", f"{name}=1")]
    assert translate(*sets, model="plain.safetensors").exit_code == 0
    assert asked(Path("out/a.png")) == (3, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "model", "words"),
    [
        (["Blond_Hare=1"], "m", "there is no attribute 'Blond_Hare'; did you mean 'Blond_Hair'?"),
        (["blond_hair=1"], "m", "did you mean 'Blond_Hair'?"),
        (["Zebra=1"], "m", "known are: Black_Hair, Blond_Hair, Male, Young"),
        (["Blond_Hair=1", "Black_Hair=1"], "m", "exclude each other; set one of them"),
        (["Male=yes"], "m", "'Male=yes' is not of the form NAME=1 or NAME=0"),
        (["=1"], "m", "'=1' is not of the form"),
        (["Male=nan"], "m", "is not of the form"),
        (["Male=1", "Male=0"], "m", "Male is set twice"),
        (["Male=1"], "none", "does not say what the numbers of attributes are called; give all of them"),
    ],
)
def test_what_cannot_be_set_is_a_sentence_before_the_work(
    arguments: list[str], model: str, words: str
) -> None:
    sets = [word for one in arguments for word in ("--set-attribute", one)]
    result = translate(*sets, model=f"{model}.safetensors")
    assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.stderr
    assert not list(Path("out").glob("*.png"))


def test_a_model_of_pictures_alone_has_none(tmp_path: Path) -> None:
    from img2img.models import Compact

    save_model(tmp_path / "c.safetensors", Compact(features=4, convs=1, scale=1), ModelInfo("own"))
    for more in (["--set-attribute", "Male=1"], ["--all-attributes"]):
        result = translate(*more, model="c.safetensors")
        assert result.exit_code == 2 and "the model takes no attributes" in result.stderr


def test_who_gives_nothing_is_told_both_ways() -> None:
    result = translate()
    assert result.exit_code == 2 and "--with attributes=NUMBERS" in result.stderr
    assert "Or set some by their names (--set-attribute)." in result.stderr


# --- contact sheets


def cells(path: Path) -> list[tuple[int, ...]]:
    """Returns what is painted in the cells of a sheet of one row, the source first."""
    row = read_image(path).pixels[60].astype(int)
    found = [row[6 + 60 + 134 * n] for n in range(row.shape[0] // 134)]
    return [(round(red / 51), round(green / 102), round(blue / 102)) for red, green, blue in found]


def test_a_sheet_shows_the_picture_and_each_attribute_set() -> None:
    result = translate("--all-attributes")
    assert result.exit_code == 0 and "count as 0: Black_Hair, Blond_Hair, Male, Young." in result.stderr
    assert cells(Path("out/a.png"))[1:] == [(1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_a_sheet_with_a_table_reverses_what_excludes_nothing() -> None:
    assert translate("--all-attributes", "--with", "attributes=t.csv").exit_code == 0
    assert cells(Path("out/a.png"))[1:] == [(1, 0, 1), (2, 0, 1), (1, 1, 1), (1, 0, 0)]
    assert cells(Path("out/b.png"))[1:] == [(1, 1, 0), (2, 1, 0), (0, 0, 0), (0, 1, 1)]
    assert translate("--all-attributes", "--set-attribute", "Male=1", out="o2").exit_code == 0
    assert cells(Path("o2/a.png"))[1:] == [(1, 1, 0), (2, 1, 0), (0, 1, 0), (0, 1, 1)]


def test_sheets_of_many_attributes_have_rows(tmp_path: Path) -> None:
    names = tuple(f"n{number}" for number in range(20))
    info = ModelInfo("own", attributes={"attributes": names})
    save_model(tmp_path / "many.safetensors", Painter(20), info)
    assert translate("--all-attributes", model="many.safetensors").exit_code == 0
    made = read_image(Path("out/a.png"))
    assert made.width == 8 * 134 + 6 and made.height > 3 * 100


@pytest.mark.parametrize("how", ["--all-attributes", "--set-attribute=Male"])
def test_results_and_sheets_say_that_a_network_made_them(how: str) -> None:
    assert translate(how).exit_code == 0 and translate(how, "--no-mark", out="plain").exit_code == 0
    assert b"trainedAlgorithmicMedia" in Path("out/a.png").read_bytes()
    assert b"AlgorithmicMedia" not in Path("plain/a.png").read_bytes()


def test_one_result_to_stdout() -> None:
    command = ["translate", "in/a.png", "-o", "-", "-m", "m.safetensors", "--set-attribute", "Male"]
    result = CliRunner().invoke(cli, [*command, "--with", "attributes=t.csv"])
    pixels = decode(io.BytesIO(result.stdout_bytes).getvalue()).pixels
    assert result.exit_code == 0 and [round(v / 51) for v in pixels[0, 0]] == [1, 2, 2]
