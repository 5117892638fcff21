"""Commands on a model that takes more than a picture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from companions import Companions

from img2img import evaluate
from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.cli.main import cli
from img2img.errors import ConfigError
from img2img.image import Image, write_image
from img2img.models import generators

NAMES = ("Blond_Hair", "Male", "Young")


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that takes a mask and three numbers, and a folder with a picture."""
    monkeypatch.setitem(generators._entries, "companions", Companions)
    monkeypatch.setenv("COLUMNS", "400")  # no line is folded
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    info = ModelInfo("own", attributes={"attributes": NAMES})
    save_model(tmp_path / "m.safetensors", Companions("mask attributes"), info)
    save_model(
        tmp_path / "other.safetensors",
        Companions("mask attributes"),
        ModelInfo("own", attributes={"attributes": ("Bald", *NAMES[1:])}),
    )
    (tmp_path / "in").mkdir()
    write_image(Image(np.zeros((8, 8, 3), np.uint8)), tmp_path / "in" / "a.png")
    return tmp_path


def test_info_lists_them_with_kinds_and_names(place: Path) -> None:
    result = img2img("model", "info", "m.safetensors")
    assert result.exit_code == 0, result.output
    assert "mask (mask); attributes (vector of 3: Blond_Hair, Male, Young)" in result.output
    facts = json.loads(img2img("model", "info", "m.safetensors", "--json").output)
    assert facts["use"].endswith("m.safetensors --with mask=DIR --with attributes=TABLE.csv")
    assert facts["conditions"] == {
        "mask": {"kind": "mask"},
        "attributes": {"kind": "vector", "size": 3, "names": list(NAMES)},
    }


def test_an_import_keeps_them(place: Path) -> None:
    result = img2img("model", "import", "m.safetensors", "-o", "half.safetensors", "--precision", "fp16")
    assert result.exit_code == 0, result.output
    generator, info = open_model(place / "half.safetensors")
    assert info.attributes == {"attributes": NAMES} and list(generator.conditions) == ["mask", "attributes"]


def test_models_whose_numbers_mean_other_things_are_not_blended(place: Path) -> None:
    result = img2img("model", "blend", "m.safetensors", "other.safetensors", "-o", "x.safetensors")
    assert result.exit_code == 2 and "stand for other things" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["translate", "in", "-o", "out", "-m", "m.safetensors"],
        ["upscale", "in", "-o", "out", "-m", "m.safetensors"],
    ],
)
def test_a_command_says_what_is_needed_before_it_starts(place: Path, command: list[str]) -> None:
    result = img2img(*command)
    assert result.exit_code == 2 and "mask (a mask), attributes (3 numbers)" in result.stderr
    assert not (place / "out").exists()


def test_evaluation_has_pictures_alone(place: Path) -> None:
    command = ["evaluate", "-m", "m.safetensors", "--protocol", "plain", "--target", "in", "--input", "in"]
    result = img2img(*command)
    assert result.exit_code == 2 and "more than a picture (mask, attributes)" in result.stderr
    with pytest.raises(ConfigError, match="make the pictures with it first"):
        evaluate(place / "in", model=place / "m.safetensors", protocol="plain", inputs=place / "in")


def test_translate_takes_a_folder_of_masks_and_numbers(place: Path) -> None:
    """The picture without a mask fails by itself; a mask that changes makes its result stale."""
    for name in ("a", "b"):
        write_image(Image(np.full((8, 8, 3), 90, np.uint8)), place / "in" / f"{name}.png")
    (place / "masks").mkdir()
    write_image(Image(np.zeros((8, 8, 1), np.uint8)), place / "masks" / "a.bmp")
    command = ["translate", "in", "-o", "out", "-m", "m.safetensors", "--with", "mask=masks"]
    refused = img2img(*command)
    assert refused.exit_code == 2 and "--with attributes=NUMBERS" in refused.stderr
    assert "3 numbers: Blond_Hair, Male, Young; or a table" in refused.stderr
    command += ["--with", "attributes=0.1,0,1"]
    ended = img2img(*command)
    assert ended.exit_code == 1 and "in/b.png: there is no mask for it" in ended.stderr
    assert [path.name for path in (place / "out").glob("*.png")] == ["a.png"]
    write_image(Image(np.zeros((8, 8, 1), np.uint8)), place / "masks" / "b.bmp")
    assert "1 done, 1 skipped, 0 failed" in img2img(*command).stderr
    write_image(Image(np.full((8, 8, 1), 255, np.uint8)), place / "masks" / "a.bmp")
    os.utime(place / "masks" / "a.bmp", (1, 1))
    assert "1 done, 1 skipped, 0 failed" in img2img(*command).stderr
    assert "did you mean 'mask'" in img2img(*command[:-4], "--with", "maks=masks").stderr


def test_a_table_is_read_by_the_names_in_the_model_file(place: Path) -> None:
    """Whatever the order of its columns; what is said for all by name or in order is the same."""
    save_model(
        place / "v.safetensors", Companions("attributes"), ModelInfo("own", attributes={"attributes": NAMES})
    )
    (place / "t.csv").write_text("file,Young,Bald,Male,Blond_Hair\na.png,1,1,0,0.5\n")
    command = ["translate", "in", "-m", "v.safetensors", "--device", "cpu"]
    results = []
    for out, said in enumerate(["0.5,0,1", "Male=0,Young=1,Blond_Hair=0.5", "t.csv"]):
        result = img2img(*command, "-o", out, "--with", f"attributes={said}")
        assert result.exit_code == 0, result.output
        results.append((place / str(out) / "a.png").read_bytes())
    assert results[0] == results[1] == results[2]
    (place / "t.csv").write_text("file,Young,Male,Blond\na.png,1,0,0.5\n")
    refused = img2img(*command, "-o", "out", "--with", "attributes=t.csv")
    assert refused.exit_code == 2 and "no column 'Blond_Hair'; did you mean 'Blond'?" in refused.stderr
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["mask=0.5", "attributes=1,0,0"], "mask is a mask, and '0.5' is no place"),
        (["mask=in", "attributes=in"], "attributes is 3 numbers, and in is a folder"),
        (["mask=in", "attributes=1,0"], "has 2 numbers, and the model takes 3 numbers: Blond_Hair, Male"),
        (["mask=in", "attributes=in/a.png"], "in/a.png is a picture"),
        (["mask=broken.png", "attributes=1,0,0"], "broken.png: "),
        (["mask=no\0thing", "attributes=1,0,0"], "does not exist"),
        (["mask=in", "attributes=t\0.csv"], "no such file exists"),
        (["mask=nul.csv", "attributes=1,0,0"], "no name that a file can have"),
    ],
)
def test_what_would_fail_every_file_is_one_error_before_the_work(
    place: Path, said: list[str], words: str
) -> None:
    (place / "broken.png").write_bytes((place / "in" / "a.png").read_bytes()[:40])
    (place / "nul.csv").write_bytes(b"file,mask\na.png,m\0.png\n")
    more = [f"--with={one}" for one in said]
    for output in ("out", "-")[: 1 if "mask=broken.png" in said else 2]:
        result = img2img("translate", "in/a.png", "-o", output, "-m", "m.safetensors", *more)
        assert result.exit_code == 2 and words in result.stderr, result.output
    assert not (place / "out").exists()
