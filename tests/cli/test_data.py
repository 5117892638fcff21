"""`img2img data` as its users meet it: what is written, what is said, and with which exit code."""

from __future__ import annotations

import io
import json
import re
import shlex
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image


def img2img(*arguments: Any, **options: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], **options)


def picture(seed: int, height: int = 40, width: int = 40) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(24):
        path = tmp_path / "photos" / ("deep" if i % 2 else ".") / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(picture(i), path)
    return tmp_path / "photos"


@pytest.fixture
def pairs(photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    assert img2img("data", "pair", photos, "-o", tmp_path / "pairs", "--op", "edges").exit_code == 0
    return tmp_path / "pairs" / "A", tmp_path / "pairs" / "B"


SMALL = ("--set", "load_size=40", "--set", "crop_size=32")
TENTH = ("--set", "validation_fraction=0.1")


# pair


def test_pair_makes_sources_and_keeps_originals(photos: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in photos.rglob("*.jpg")}
    result = img2img("data", "pair", photos, "-o", tmp_path / "pairs", "--op", "edges")
    assert result.exit_code == 0, result.output
    assert f"Next: img2img data check --paired {tmp_path}/pairs/A {tmp_path}/pairs/B" in result.stderr
    for path, data in before.items():
        assert path.read_bytes() == data
        place = path.relative_to(photos)
        assert (tmp_path / "pairs" / "B" / place).read_bytes() == data
        assert read_image(tmp_path / "pairs" / "A" / place.with_suffix(".png")).channels == 1
    again = img2img("data", "pair", photos, "-o", tmp_path / "pairs", "--op", "edges")
    assert "0 done, 24 skipped, 0 failed" in again.stderr


def test_pair_continues_what_was_interrupted(pairs: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    (pairs[1] / "4.jpg").unlink()
    (pairs[0] / "6.png").unlink()
    result = img2img("data", "pair", photos, "-o", tmp_path / "pairs", "--op", "edges")
    assert "1 done, 23 skipped, 0 failed" in result.stderr
    assert (pairs[1] / "4.jpg").exists() and (pairs[0] / "6.png").exists()


def test_pair_never_replaces_an_original(pairs: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    (pairs[1] / "4.jpg").write_bytes(b"edited")
    result = img2img("data", "pair", photos, "-o", tmp_path / "pairs", "--op", "edges")
    assert result.exit_code == 1
    assert "4.jpg is there already and is another file" in result.stderr
    assert (pairs[1] / "4.jpg").read_bytes() == b"edited"


def test_pair_without_a_source_writes_no_target(photos: Path, tmp_path: Path) -> None:
    (photos / "2.jpg").write_bytes(b"")
    result = img2img("data", "pair", photos, "-o", tmp_path / "pairs", "--op", "edges")
    assert result.exit_code == 1
    assert not (tmp_path / "pairs" / "B" / "2.jpg").exists()


def test_pair_side_by_side(photos: Path, tmp_path: Path) -> None:
    result = img2img("data", "pair", photos, "-o", tmp_path / "ab", "--op", "edges", "--aligned")
    assert result.exit_code == 0, result.output
    pair = read_image(tmp_path / "ab" / "2.png")
    assert (pair.height, pair.width, pair.channels) == (40, 80, 3)
    assert np.array_equal(pair.pixels[:, 40:], read_image(photos / "2.jpg").pixels)
    assert img2img("data", "check", "--aligned", tmp_path / "ab", *SMALL).exit_code == 0


@pytest.mark.parametrize(("missing", "words"), [("--op", "name what makes"), ("-o", "need a folder")])
def test_pair_needs_an_operation_and_a_folder(photos: Path, missing: str, words: str) -> None:
    arguments = ["-o", "-", "--op", "edges"] if missing == "-o" else ["-o", "out"]
    result = img2img("data", "pair", photos, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


# split


def test_split_and_what_it_says_to_do_next(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "set"
    result = img2img("data", "split", "--paired", *pairs, "-o", out, "--val", "0.2", "--test", "0.2")
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stderr.splitlines() if line.startswith("Next: img2img "))
    check = img2img(*shlex.split(line.removeprefix("Next: img2img ")), *SMALL, "--json")
    counts = {part: len(list((out / "A" / part).rglob("*.png"))) for part in ("train", "val", "test")}
    assert sum(counts.values()) == 24
    samples = json.loads(check.stdout)["samples"]
    assert samples == {"train": counts["train"], "validation": counts["val"], "test": counts["test"]}


def test_split_of_one_folder(photos: Path, tmp_path: Path) -> None:
    result = img2img("data", "split", photos, "-o", tmp_path / "set", "--val", "0.2", "--link")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "set").rglob("*.jpg"))) == 24
    lists = img2img("data", "split", photos, "-o", tmp_path / "lists", "--lists")
    assert lists.exit_code == 0
    assert {p.name for p in (tmp_path / "lists").iterdir()} == {"train.txt", "val.txt"}
    again = img2img("data", "split", photos, "-o", tmp_path / "set")
    assert again.exit_code == 2
    assert "there already" in again.stderr


def test_split_wants_one_source(photos: Path, tmp_path: Path) -> None:
    result = img2img("data", "split", photos, "--images", photos, "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert "contradict each other" in result.stderr


def test_split_makes_nothing_among_the_pictures_and_says_what_stays_empty(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    for output, words in (
        (photos / "set", "would be taken for more pictures"),
        (photos / "deep" / "set", "would be taken for more pictures"),
        (tmp_path / "file" / "set", "cannot be made"),
        ("-", "needs a new folder"),
    ):
        result = img2img("data", "split", photos, "-o", output)
        assert result.exit_code == 2 and words in result.stderr, result.output
    assert {path.suffix for path in photos.rglob("*.*")} == {".jpg"}
    one = img2img("data", "split", photos / "deep", "-o", tmp_path / "set", "--group", "folder")
    assert one.exit_code == 0 and "nothing fell into val" in one.stderr


# check


def test_check_of_good_data(pairs: tuple[Path, Path]) -> None:
    result = img2img("data", "check", "--paired", *pairs, *SMALL)
    assert result.exit_code == 0, result.output
    assert "Ready for training (no warnings)." in result.stderr
    assert result.stdout == ""


def test_check_names_files_and_fails(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    (pairs[0] / "2.png").write_bytes(b"")
    (pairs[1] / "deep" / "3.jpg").unlink()
    sheet = tmp_path / "bad.png"
    result = img2img("data", "check", "--paired", *pairs, *SMALL, *TENTH, "--json", "--sheet", sheet)
    assert result.exit_code == 1
    assert f"{pairs[0]}/2.png: the file is empty" in result.stderr
    assert f"{pairs[0]}/deep/3.png: has no partner" in result.stderr
    assert "2 errors and no warnings: not ready for training." in result.stderr
    report = json.loads(result.stdout)
    assert (report["errors"], report["warnings"]) == (2, 0)
    kinds = {finding["kind"]: finding for finding in report["findings"]}
    assert kinds["unreadable"]["cases"] == [
        {"files": [str(pairs[0] / "2.png")], "detail": "the file is empty"}
    ]
    assert read_image(sheet).width > 256


def test_check_shows_some_files_and_json_all(pairs: tuple[Path, Path]) -> None:
    for i in range(0, 20, 2):
        (pairs[0] / f"{i}.png").write_bytes(b"")
    result = img2img("data", "check", "--paired", *pairs, *SMALL, "--json")
    assert "... and 5 more; --json lists all." in result.stderr
    assert len(json.loads(result.stdout)["findings"][0]["cases"]) == 10


def test_check_reads_a_configuration_and_changes_single_keys(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"method: {{name: pix2pix}}\n"
        f"data: {{paired: [{pairs[0]}, {pairs[1]}], load_size: 40, crop_size: 32}}\n"
    )
    assert img2img("data", "check", config).exit_code == 0
    assert "less than half" in img2img("data", "check", config, "--set", "load_size=100").stderr
    other = img2img("data", "check", config, "--images", pairs[1])
    assert "24 files" in other.stderr, "the folders of the command line win"
    both = img2img("data", "check", config, "--images", pairs[0], "--images", pairs[1])
    assert "48 files" in both.stderr
    wrong = img2img("data", "check", config, "--set", "crop_sise=3")
    assert (wrong.exit_code, "did you mean 'data.crop_size'" in wrong.stderr) == (2, True)
    many = img2img("data", "check", config, "--set", "crop_size=big", "--set", "direction=atob")
    assert many.exit_code == 2
    assert "data.crop_size is 'big'" in many.stderr and "data.direction is 'atob'" in many.stderr


def test_check_takes_the_scale_of_the_method(photos: Path, tmp_path: Path) -> None:
    config = tmp_path / "sr.yaml"
    config.write_text(
        f"method: {{name: super_resolution, scale: 3}}\ndata: {{images: {photos}, crop_size: 32}}\n"
    )
    result = img2img("data", "check", config)
    assert result.exit_code == 1
    assert "not a multiple of the scale 3" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "name the pictures"), (("--aligned", "x", "--images", "y"), "--aligned and --images contradict")],
)
def test_check_needs_one_source(arguments: tuple[str, ...], words: str) -> None:
    result = img2img("data", "check", *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True)


@pytest.mark.parametrize("words", [(), ("--method", "pix2pix"), ("pix2pix",), ("--set", "crop_size=32")])
@pytest.mark.sampled(1)
def test_check_and_preview_judge_by_the_sizes_that_train_takes(
    pairs: tuple[Path, Path], tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Small pictures get small sizes there, so nothing is too small for these."""
    command = [*words[: words[:1] == ("pix2pix",)], "--paired", *pairs, *words[words[:1] == ("pix2pix",) :]]
    sets = ["generator.features=4", "discriminator.features=4"]
    sets += ["generator.downs=3"] * (words[:1] != ("pix2pix",))  # which is for pictures of its size alone
    tiny = [word for each in sets for word in ("--set", each)]
    trained = img2img("train", *command, "--dry-run", "--set", "device=cpu", *tiny).stderr
    (loaded,) = re.findall(r"loaded at \S+ x \S+, cut to \d+ x \d+", trained)
    (held_out,) = re.findall(r"split off by file name \([^)]+\)", trained)
    said = img2img("data", "check", *command).stderr
    assert loaded in said and held_out in said
    assert ("less than half" in said) == (words == ("pix2pix",))
    assert loaded in img2img("data", "preview", *command, "-o", tmp_path / "seen.png", "-n", 1).stderr


@pytest.mark.parametrize("command", ["check --sheet", "preview -o"])
@pytest.mark.sampled(1)
def test_nothing_is_written_among_the_pictures(
    pairs: tuple[Path, Path], tmp_path: Path, command: str
) -> None:
    """Nor over one that a list names; a sheet of before may be replaced."""
    rows = [f"A/{i}.png,B/{i}.jpg" for i in range(0, 24, 2)]
    (tmp_path / "pairs" / "list.csv").write_text("\n".join(["source,target", *rows]))
    write_image(Image(np.zeros((40, 40, 3), np.uint8)), pairs[0] / "2.png")  # to be shown
    before = {path: path.read_bytes() for path in (tmp_path / "pairs").rglob("[0-9]*.*g")}
    name, option = command.split()
    for places in (("--paired", *pairs), ("--list", tmp_path / "pairs" / "list.csv")):
        for output in (pairs[0] / "4.png", pairs[1] / "deep" / ".." / "4.jpg"):
            result = img2img("data", name, *places, *SMALL, option, output)
            words = "among the pictures" if "--paired" in places else "is one of the pictures"
            assert result.exit_code == 2 and words in result.stderr, result.output
        for _ in range(2):
            img2img("data", name, *places, *SMALL, option, tmp_path / "seen.png")
        assert read_image(tmp_path / "seen.png").width > 256
        (tmp_path / "seen.png").unlink()
    assert {path: path.read_bytes() for path in (tmp_path / "pairs").rglob("[0-9]*.*g")} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--list nowhere.csv --json", "cannot be read"),
        ("--images pairs/B/2.jpg", "is a picture; name its folder"),
        ("pix2pix", "name the pictures: --paired"),
        ("--images pairs/B --field source=pairs/A", "data.images says already where the source is"),
    ],
)
def test_places_that_are_none_are_sentences(
    pairs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = img2img("data", "check", *words.split())
    assert result.exit_code in (1, 2) and said in result.stderr, result.output
    assert "--json" not in words or json.loads(result.stdout)["errors"] == 1


# preview


def test_preview_writes_a_sheet(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "seen.png"
    result = img2img("data", "preview", "--paired", *pairs, *SMALL, "-o", out, "-n", 2, "--epochs", 3)
    assert result.exit_code == 0, result.output
    assert read_image(out).width > 6 * 256
    other = tmp_path / "other.png"
    img2img("data", "preview", "--paired", *pairs, *SMALL, "-o", other, "-n", 2, "--epochs", 3, "--seed", 1)
    assert other.read_bytes() != out.read_bytes()


def test_a_configuration_that_ships_is_known_by_its_name(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    for name, size in (("pix2pix_facades_cpu", "143 x 143"), ("pix2pix", "286 x 286")):
        result = img2img("data", "preview", name, "--paired", *pairs, "-o", tmp_path / "seen.png", "-n", 1)
        assert result.exit_code == 0 and f"loaded at {size}" in result.stderr
    result = img2img("data", "check", "pix2pix_facade", "--paired", *pairs)
    assert result.exit_code == 2 and "did you mean 'pix2pix_facades'" in result.stderr


# download


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A recipe whose archive a server on this machine has."""
    folder = tmp_path / "served"
    folder.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part in ("trainA", "trainB"):
            archive.writestr(f"toy/{part}/1.png", b"1" * 100)
    (folder / "toy.zip").write_bytes(buffer.getvalue())

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        recipe = tmp_path / "toy.yaml"
        recipe.write_text(
            "title: Toys\nkind: unpaired\nlayout: Small.\nfolders: [trainA, trainB]\n"
            "homepage: http://127.0.0.1/\nlicence: For everyone.\ncitation: '@misc{toys}'\n"
            f"archives:\n- urls: [http://127.0.0.1:{server.server_port}/toy.zip]\n"
            "  root: toy\n  sha256: null\n"
        )
        yield recipe
        server.shutdown()
        thread.join()


def test_download_says_the_terms_and_asks(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = img2img("data", "download", served, "-o", tmp_path / "toys")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert "Terms: For everyone." in refused.stderr
    assert "@misc{toys}" in refused.stderr
    assert not (tmp_path / "toys").exists()


def test_download_and_again(served: Path, tmp_path: Path) -> None:
    result = img2img("data", "download", served, "-o", tmp_path / "toys", "--yes")
    assert result.exit_code == 0, result.output
    assert "nobody has published a checksum of toy.zip" in result.stderr
    assert (
        f"Next: img2img data check --unpaired {tmp_path}/toys/trainA {tmp_path}/toys/trainB" in result.stderr
    )
    assert (tmp_path / "toys" / "trainB" / "1.png").exists()
    assert "complete already" in img2img("data", "download", served, "-o", tmp_path / "toys").stderr


def test_download_that_fails_is_one_sentence(served: Path, tmp_path: Path) -> None:
    (tmp_path / "served" / "toy.zip").unlink()
    result = img2img("data", "download", served, "-o", tmp_path / "toys", "--yes")
    assert result.exit_code == 1
    assert "toy.zip could not be downloaded" in result.stderr
    assert not (tmp_path / "toys").exists()


def test_download_lists_all_sets() -> None:
    result = img2img("data", "download", "--list")
    assert result.exit_code == 0
    for name in ("facades", "horse2zebra", "div2k", "set5"):
        assert any(line.startswith(f"{name} ") for line in result.stdout.splitlines())
    recipes = json.loads(img2img("data", "download", "--list", "--json").stdout)
    assert recipes["horse2zebra"]["archives"][0]["sha256"].startswith("a74d9d39")


def test_download_of_what_cannot_be_had() -> None:
    result = img2img("data", "download", "cityscapes", "--yes")
    assert result.exit_code == 2
    assert "Register at" in result.stderr
    unknown = img2img("data", "download", "facade")
    assert (unknown.exit_code, "did you mean 'facades'" in unknown.stderr) == (2, True)


# help


@pytest.mark.parametrize("name", ["download", "pair", "split", "check", "preview"])
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    text = img2img("data", name, "--help").output
    assert text.startswith(f"Usage: cli data {name}")
    examples = [
        line.split("   ")[0] for line in map(str.strip, text.splitlines()) if line.startswith("img2img data")
    ]
    assert examples
    group = cli.get_command(click.Context(cli), "data")
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    options = [p for p in command.params if isinstance(p, click.Option) and not getattr(p, "group", None)]
    assert all(re.search(rf"^  .*{max(p.opts, key=len)}\b", text, re.MULTILINE) for p in options)
    assert not re.search(r"^  \[|RANGE", text, re.MULTILINE), (
        "an argument is no option, and numbers have a name"
    )
    for example in examples:
        assert {word for word in shlex.split(example) if word.startswith("-")} <= known
