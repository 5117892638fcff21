"""Fields on the command line: named, checked, looked at and divided, and what is said when one is amiss."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.cli.main import cli
from img2img.data import DataConfig
from img2img.fields import Mask, Picture, Vector
from img2img.image import Image, read_image, write_image

SMALL = ("--set", "load_size=40", "--set", "crop_size=32")


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in two classes with masks, ids, a second picture and attributes."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    lines = []
    for i in range(20):
        name = f"{('cat', 'dog')[i % 2]}/{i}.png"
        for field in ("photos", "styles", "masks", "ids", "pairs"):
            (folder / field / name).parent.mkdir(parents=True, exist_ok=True)
        photo, style = (random.integers(0, 256, (40, 40, 3), np.uint8) for _ in "ab")
        write_image(Image(photo), folder / "photos" / name)
        write_image(Image(style), folder / "styles" / name)
        write_image(Image(np.concatenate((photo, style), 1)), folder / "pairs" / name)
        mask = random.integers(0, 2, (5, 5, 1), np.uint8).repeat(8, 0).repeat(8, 1) * 255
        write_image(Image(mask), folder / "masks" / name)
        ids = random.integers(0, 65536, (5, 5, 1), np.uint16).repeat(8, 0).repeat(8, 1)
        write_image(Image(ids), folder / "ids" / name)
        lines.append(f"{name} {(-1, 1)[i % 2]} {(1, -1)[i % 3 > 0]}")
    (folder / "attr.txt").write_text("20\nSmiling Male\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture
def root(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pictures, which is where one stands."""
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def filler() -> Iterator[str]:
    """A method that takes a picture, a mask and a vector."""
    from img2img.methods import Method, MethodConfig, methods

    class Filler(Method):
        fields = {"source": Picture(), "mask": Mask(like="source"), "label": Vector()}  # noqa: RUF012
        Config = MethodConfig

    methods.register("filler")(Filler)
    yield "filler"
    methods._entries.pop("filler")


FORMS = {
    "pairs": "--paired photos styles --field mask=masks --field instance=ids",
    "side by side": "--aligned pairs --field mask=masks --field instance=ids",
    "drawn": "--images photos --field mask=random",
    "folder": "--images photos --field mask=masks --field label=classes",
    "fields": "--field source=photos --field target=styles --field instance=ids",
    "unpaired": "--unpaired photos styles --field mask=masks",
    "attributes": "--images photos --field attributes=attr.txt --set data.attributes=[Smiling,Male]",
    "backwards": "--paired photos styles --set direction=BtoA --field mask=masks",
}
NAMES = {
    "pairs": {"source", "target", "mask", "instance"},
    "side by side": {"source", "target", "mask", "instance"},
    "drawn": {"source", "mask"},
    "folder": {"source", "mask", "label"},
    "fields": {"source", "target", "instance"},
    "unpaired": {"source", "target", "mask"},
    "attributes": {"source", "attributes"},
    "backwards": {"source", "target", "mask"},
}


def fields_of(words: list[str]) -> dict[str, Any]:
    """What a sample holds that the options name, and the files of the first ones."""
    from img2img.data.places import declared
    from img2img.data.records import find_records

    given: dict[str, Any] = {}
    while words:
        option, *words = words
        count = {"--paired": 2, "--unpaired": 2}.get(option, 1)
        values, words = words[:count], words[count:]
        if option == "--field":
            name, _, place = values[0].partition("=")
            given.setdefault("fields", {})[name] = place
        elif option == "--set":
            key, _, value = values[0].removeprefix("data.").partition("=")
            given[key] = [one.strip() for one in value.strip("[]").split(",")] if "[" in value else value
        else:
            given[option.removeprefix("--")] = values if count > 1 else values[0]
    config = DataConfig(**given)
    records = find_records(config, declared(config))
    return {
        "names": set(declared(config)),
        "samples": [
            {
                tuple(
                    sorted((name, read_image(path).pixels.tobytes()) for name, path in record.files.items())
                ),
                tuple(sorted(record.values.items())),
            }
            for part in (records.train, records.validation)
            for group in part
            for record in group
        ],
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.sampled(4)
def test_every_form_is_checked(root: Path, form: str) -> None:
    result = img2img("data", "check", *shlex.split(FORMS[form]), *SMALL, "--json", "--sheet", "sheet.png")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["errors"] == 0
    assert fields_of(shlex.split(FORMS[form]))["names"] == NAMES[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.sampled(3)
def test_every_form_is_looked_at_field_by_field(root: Path, form: str) -> None:
    result = img2img("data", "preview", *shlex.split(FORMS[form]), *SMALL, "-n", 2, "-o", "seen.png")
    assert result.exit_code == 0, result.output
    image = read_image(root / "seen.png")
    assert image.width >= 256 * len(NAMES[form]) * 2  # two epochs side by side
    words = {"mask": "mask", "attributes": "2 numbers", "label": "2 numbers", "instance": "instance"}
    for name in NAMES[form] & words.keys():
        assert words[name] in result.stderr


@pytest.mark.parametrize("how", ["folders", "links", "lists"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.sampled(4)
def test_what_is_divided_keeps_its_fields_and_opens_with_the_words_that_are_printed(
    root: Path, form: str, how: str
) -> None:
    words = shlex.split(FORMS[form])
    before = fields_of(words)
    flags = {"folders": [], "links": ["--link"], "lists": ["--lists"]}[how]
    result = img2img("data", "split", *words, "-o", "new set", "--val", 0.3, *flags, "--progress", "none")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Next: img2img data check ")]
    following = shlex.split(line.removeprefix("Next: img2img data check "))
    checked = img2img("data", "check", *following, *SMALL, "--json", "--progress", "none")
    assert checked.exit_code == 0, checked.output
    counts = json.loads(checked.stdout)["samples"]
    assert counts["train"] < 20
    assert counts["train"] + counts["validation"] == 20
    after = fields_of(following)
    assert after["names"] == before["names"]
    key = repr
    assert sorted(after["samples"], key=key) == sorted(before["samples"], key=key) or all(
        sample in before["samples"] for sample in after["samples"]
    )
    assert len(after["samples"]) == len(before["samples"])


def test_a_list_with_numbers_is_divided_into_folders_with_a_table(root: Path) -> None:
    lines = [
        f"photos/{('cat', 'dog')[i % 2]}/{i}.png,masks/{('cat', 'dog')[i % 2]}/{i}.png,{i} 0.5"
        for i in range(20)
    ]
    (root / "l.csv").write_text("source,mask,attributes\n" + "\n".join(lines))
    result = img2img("data", "split", "--list", "l.csv", "-o", "new", "--progress", "none")
    assert result.exit_code == 0, result.output
    following = shlex.split(result.stderr.partition("data check ")[2])
    assert fields_of(following)["names"] == {"source", "mask", "attributes"}
    checked = img2img("data", "check", *following, *SMALL, "--progress", "none")
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--paired photos styles --field mask", "NAME=PLACE"),
        ("--paired photos styles --field mask=masks --field mask=ids", "given twice"),
        ("--paired photos styles --images photos", "contradict"),
        ("--images photos --method filler --field msk=random --field label=classes", "did you mean 'mask'"),
        ("--images photos --method filler --field label=classes", "needs the mask 'mask'"),
        ("--images photos --method filler --field mask=random", "needs the vector 'label'"),
        ("--images photos --method filler --field mask=masks --field label=masks", "is a folder"),
        ("--images photos --field mask=nowhere", "no folder nowhere"),
        ("--field mask=masks", "no picture"),
    ],
)
@pytest.mark.sampled(6)
def test_what_is_amiss_is_said_before_anything_is_opened(
    root: Path, filler: str, words: str, said: str
) -> None:
    result = img2img("data", "check", *shlex.split(words))
    assert result.exit_code in (1, 2)
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_check_names_files_and_shows_them(root: Path) -> None:
    (root / "masks" / "cat" / "0.png").unlink()
    (root / "ids" / "dog" / "1.png").unlink()
    write_image(Image(np.zeros((40, 40, 1), np.uint8)), root / "ids" / "dog" / "1.jpg")
    result = img2img("data", "check", *shlex.split(FORMS["pairs"]), *SMALL, "--json", "--sheet", "sheet.png")
    assert result.exit_code == 1
    found = {finding["kind"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert {"no-partner", "lossy-ids"} <= found.keys()
    assert found["no-partner"]["cases"][0]["files"] == ["photos/cat/0.png"]
    assert found["no-partner"]["cases"][0]["detail"] == "has no mask"
    assert "0.png" in result.stderr and "1.jpg" in result.stderr
    assert read_image(root / "sheet.png").height > 0


def test_the_examples_of_the_documentation_run(root: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    section = page.partition("## What a sample holds")[2].partition("\n## ")[0]
    commands, rows = (block.partition("```")[0] for block in section.split("```")[1::2])
    (root / "list.csv").write_text(rows.strip(), encoding="utf-8")
    lines = [line for line in commands.splitlines() if line.startswith("img2img ")]
    assert len(lines) > 5
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        sizes = SMALL if "list" not in line else ()
        result = img2img(*words, *sizes)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--images photos --field mask=random", "source and mask are for inpainting: train with --method"),
        ("--paired photos styles --field mask=masks", None),
        ("--list list.csv", "one of pix2pix, which leaves out mask and score"),
        ("--list list.csv --method pix2pix", "no field takes: mask, score, note"),
        ("--field source=photos", "one of pix2pix, which needs target, too"),
        ("--list two.csv", None),
        ("--paired photos styles", None),
    ],
)
@pytest.mark.sampled(4)
def test_what_a_training_without_a_method_would_not_take_is_said(
    root: Path, words: str, said: str | None
) -> None:
    rows = [
        f"photos/{p},styles/{p},masks/{p},{i},free text"
        for i in range(20)
        for p in [f"{('cat', 'dog')[i % 2]}/{i}.png"]
    ]
    (root / "list.csv").write_text("source,target,mask,score,note\n" + "\n".join(rows) + "\n")
    two = [",".join(row.split(",")[:2]) for row in rows]
    (root / "two.csv").write_text("source,target\n" + "\n".join(two) + "\n")
    for command in (("check",), ("preview", "-n", 1, "-o", "seen.png")):
        result = img2img("data", command[0], *words.split(), *SMALL, *command[1:])
        assert result.exit_code == 0, result.output
        text = " ".join(result.stderr.split())
        assert (said in text) if said else ("--method" not in text and "left out" not in text), text
