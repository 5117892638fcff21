"""`img2img evaluate` as a user meets it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.image.resize import resize
from img2img.models import ArchSpec, build
from img2img.types import ValueRange


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets")
    for seed in range(3):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8)
        write_image(
            Image(resize(coarse, 40, 44)), folder / f"img_{seed}_a_rather_long_name_of_a_picture_HR.png"
        )
    return folder


def test_the_table_has_every_picture_and_the_mean(targets: Path) -> None:
    result = img2img("-m", "bicubic", "--scale", 2, "--target", targets)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0][:2] == ["sr", "x2:"]
    assert lines[1] == ["psnr_y", "ssim_y"]
    assert [line[0] for line in lines[3:6]] == [path.name for path in sorted(targets.iterdir())]
    assert lines[6][:3] == ["mean", "of", "3"]
    numbers = [float(line[1]) for line in lines[3:6]]
    assert float(lines[6][3]) == pytest.approx(np.mean(numbers), abs=1e-3)


def test_json_and_csv_hold_the_same_numbers(targets: Path, tmp_path: Path) -> None:
    result = img2img(
        *("-m", "bicubic", "--scale", 2, "--target", targets, "--rgb"),
        *("--json", tmp_path / "out.json", "--csv", "-"),
    )
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    facts = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in rows] == [score["name"] for score in facts["scores"]] + ["mean"]
    for column in ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb"):
        assert float(rows[-1][column]) == facts["mean"][column]
        assert float(rows[0][column]) == facts["scores"][0][column]
    assert (
        json.loads(img2img("-m", "bicubic", "-s", 2, "--target", targets, "--json", "-").stdout)["images"]
        == 3
    )


def test_requirements_decide_the_exit_code(targets: Path) -> None:
    common = ("-m", "bicubic", "--scale", 2, "--target", targets)
    assert img2img(*common, "--require", "psnr_y>=5", "--require", "ssim_y<=1").exit_code == 0
    result = img2img(*common, "--require", "psnr_y>=5", "--require", "psnr_y >= 99")
    assert result.exit_code == 1
    assert "psnr_y >= 99 is not met: the mean is" in result.stderr
    for wrong, hint in (
        ("psnr>=5", "did you mean 'psnr_y'?"),
        ("gain_psnr_y>0", "and there is one"),
        ("psnr_y=5", "is no requirement"),
    ):
        result = img2img(*common, "--require", wrong)
        assert result.exit_code == 2 and hint in result.stderr and not result.stdout


def test_problems_are_named_and_decide_the_exit_code(targets: Path, tmp_path: Path) -> None:
    first, _, third = sorted(targets.iterdir())
    pixels = read_image(first).pixels
    write_image(Image(pixels), tmp_path / "0_x2.png")
    write_image(Image(pixels[:20]), tmp_path / "1_x2.png")
    result = img2img("--pred", tmp_path, "--scale", 2, "--target", targets)
    assert result.exit_code == 1
    assert "the sizes differ: 44 x 20 is compared with 44 x 40" in result.stderr
    assert f"{third}: no prediction matches its name" in result.stderr
    assert "2 files could not be measured; the mean is over the other 1." in result.stderr
    assert "0_x2.png goes with" in result.stderr
    assert "inf" in result.stdout


def test_the_sheet_is_a_picture(targets: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "worst.png"
    result = img2img("-m", "bicubic", "--scale", 2, "--target", targets, "--sheet", sheet, "-q")
    assert result.exit_code == 0 and not result.stderr
    assert read_image(sheet).width > 4 * 400


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--target"),
        (("--target", "."), "name predictions with --pred or a model with -m"),
        (("--target", ".", "--pred", ".", "-m", "bicubic"), "--scale"),
        (("--target", ".", "--pred", ".", "--pred", ".", "-s", 2, "--sheet", "x.png"), "--sheet shows"),
        (("--target", ".", "--pred", ".", "--input", "."), "--input is for a model"),
        (("--target", ".", "--pred", "."), "--scale"),
        (("--target", ".", "--pred", ".", "-s", 2, "--json", "-", "--csv", "-"), "cannot both"),
        (("--target", ".", "--pred", ".", "--protocol", "plain", "--rgb"), "belong to --protocol sr"),
        (("--target", "nowhere", "--pred", ".", "-s", 2), "no such folder"),
        (("--target", ".", "-m", "no_such_model"), "no model 'no_such_model'"),
    ],
)
def test_wrong_usage(
    arguments: tuple[Any, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = img2img(*arguments)
    assert result.exit_code == 2 and says in result.stderr, result.output


def test_outputs_never_take_the_place_of_pictures(targets: Path, tmp_path: Path) -> None:
    picture = next(targets.iterdir())
    before = picture.read_bytes()
    common = ("-m", "bicubic", "--scale", 2, "--target", targets)
    for option in ("--sheet", "--json", "--csv"):
        result = img2img(*common, option, picture)
        assert result.exit_code == 2 and "one of the pictures" in result.stderr
        assert img2img(*common, option, tmp_path / "no" / "x.png").exit_code == 2
    assert img2img(*common, "--sheet", tmp_path / "x.txt").exit_code == 2
    assert picture.read_bytes() == before


@pytest.mark.parametrize("given", [[], ["--range", "0", "4095"]])
def test_a_model_is_measured_in_the_numbers_of_its_training(tmp_path: Path, given: list[str]) -> None:
    """The kind: 12 bits in files of 16, which look 24 dB better where white counts as 65535."""
    for number, name in enumerate(("in", "out")):
        levels = np.random.default_rng(number).integers(0, 4096, (32, 32, 1)).astype(np.uint16)
        (tmp_path / name).mkdir()
        write_image(Image(levels), tmp_path / name / "a.png")
    network = build(ArchSpec("resnet", {"in_channels": 1, "out_channels": 1, "features": 4, "blocks": 1}))
    twelve = ValueRange(0, 4095)
    save_model(tmp_path / "m.safetensors", network, ModelInfo("own", range=twelve, target_range=twelve))
    ends = ("--target", tmp_path / "out", "--protocol", "plain", "--json", "-")
    model = img2img("-m", tmp_path / "m.safetensors", "--input", tmp_path / "in", *ends, "--device", "cpu")
    assert model.exit_code == 0, model.output
    assert json.loads(model.stdout)["mean"]["psnr"] < 15
    files = json.loads(img2img("--pred", tmp_path / "in", *ends, *given).stdout)["mean"]["psnr"]
    assert files == pytest.approx(31.9 if not given else 7.8, abs=0.5)


def test_a_range_that_is_none(targets: Path) -> None:
    result = img2img("--pred", targets, "--target", targets, "--protocol", "plain", "--range", 5, 1)
    assert result.exit_code == 2 and "black first" in result.stderr


def test_names_that_do_not_meet_at_all_are_shown(targets: Path, tmp_path: Path) -> None:
    write_image(Image(np.zeros((40, 44, 3), np.uint8)), tmp_path / "result-zero.png")
    result = img2img("--pred", tmp_path, "--target", targets, "--protocol", "plain")
    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("No prediction goes with"))
    assert "result-zero.png" in line and "img_0_a_rather" in line


def test_two_models_are_held_against_each_other(targets: Path, tmp_path: Path) -> None:
    torch_like = build(ArchSpec("compact", {"features": 4, "convs": 1, "scale": 2}))
    save_model(tmp_path / "tiny.safetensors", torch_like, ModelInfo())
    common = ("-m", "bicubic", "-m", tmp_path / "tiny.safetensors", "-s", 2, "--target", targets)
    result = img2img(*common, "--device", "cpu", "--precision", "fp32", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert "above the first" in result.stdout and str(tmp_path / "tiny.safetensors") in result.stdout
    assert "95% bootstrap intervals" in result.stderr and "permutation test" in result.stderr
    first, second = json.loads((tmp_path / "out.json").read_text())["candidates"]
    low, high = second["intervals"]["psnr_y"]
    assert low < second["mean"]["psnr_y"] < high
    gain = second["mean"]["psnr_y"] - first["mean"]["psnr_y"]
    assert second["differences"]["psnr_y"]["mean"] == pytest.approx(gain)
    assert second["differences"]["psnr_y"]["p"] >= 0.25  # 3 pictures
    worse = img2img(*common, "--device", "cpu", "--require", "gain_psnr_y>=0", "--csv", "-")
    assert worse.exit_code == 1 and "gain_psnr_y >= 0 is not met" in worse.stderr
    rows = list(csv.DictReader(io.StringIO(worse.stdout)))
    assert len(rows) == 8 and {row["candidate"] for row in rows} == {
        "bicubic",
        str(tmp_path / "tiny.safetensors"),
    }


def test_several_targets_and_metrics(targets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_WEIGHTS_DIR", raising=False)
    result = img2img(
        *("--pred", targets, "--target", targets, "--target", targets, "--protocol", "plain"),
        *("--metric", "haarpsi", "--metric", "lpips_vgg", "--json", "-"),
    )
    assert result.exit_code == 1  # what was asked for is missing, the rest is there
    assert "lpips_vgg is left out: the weights of VGG16 are not at hand" in result.stderr
    assert "(--download)" in result.stderr
    facts = json.loads(result.stdout)["targets"]
    assert [each["mean"]["haarpsi"] for each in facts] == [1, 1]
    wrong = img2img("--pred", targets, "--target", targets, "-s", 2, "--metric", "haarps")
    assert wrong.exit_code == 2 and "did you mean 'haarpsi'" in wrong.stderr
    sets = img2img("--pred", targets, "--target", targets, "-s", 2, "--metric", "fid")
    assert sets.exit_code == 2 and "by the protocol sets" in sets.stderr


def test_the_way_back_is_held_against_where_it_began(targets: Path, tmp_path: Path) -> None:
    """Content consistency: with the identity as the way back, the prediction itself is compared."""
    network = build(ArchSpec("resnet", {"features": 4, "blocks": 1}))
    save_model(tmp_path / "m.safetensors", network, ModelInfo("own"))
    ends = ("--protocol", "plain", "--input", targets, "--target", targets, "--device", "cpu", "--json", "-")
    model = ("-m", tmp_path / "m.safetensors")
    once, twice = img2img(*model, *ends), img2img(*model, "--back", tmp_path / "m.safetensors", *ends)
    assert once.exit_code == twice.exit_code == 0, twice.output
    assert json.loads(once.stdout)["mean"] != json.loads(twice.stdout)["mean"]
    files = img2img("--pred", targets, "--back", tmp_path / "m.safetensors", *ends[:2], *ends[4:])
    assert json.loads(files.stdout)["mean"] == json.loads(once.stdout)["mean"]
