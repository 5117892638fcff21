"""`img2img train --images` with nothing but pictures: a small upscaler that learns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.inference import load_model


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        coarse = np.random.default_rng(number).integers(0, 256, (13, 17, 3)).astype(np.uint8)
        write_image(Image(coarse.repeat(8, 0).repeat(8, 1)), folder / f"{number}.png")
    return folder


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["train", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("scale", [3, 8])
@pytest.mark.sampled(1)
def test_the_defaults_fit_every_scale(photos: Path, scale: int) -> None:
    tiny = ("--set", "generator.blocks=1", "--set", "generator.features=8")
    text = invoke("--images", str(photos), "--set", f"scale={scale}", *tiny, "--dry-run")
    found = yaml.safe_load(text)
    assert found["method"]["scale"] == scale and found["method"]["generator"]["name"] == "edsr"
    assert found["training"]["steps"] == 20_000 and found["data"]["crop_size"] == [96, 96]


def test_folders_of_sharp_pictures_add_up(photos: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(photos, more)
    tiny = ("--set", "generator.blocks=1", "--set", "generator.features=8")
    found = yaml.safe_load(invoke("--images", str(photos), "--images", str(more), *tiny, "--dry-run"))
    assert found["data"]["images"] == [str(photos), str(more)]


def test_single_keys_change_the_defaults(photos: Path) -> None:
    sets = ["--set", "generator.blocks=2", "--set", "schedule.floor=0.1", "--set", "epochs=3"]
    found = yaml.safe_load(invoke("--images", str(photos), *sets, "--dry-run"))
    assert found["method"]["generator"] == {
        "name": "edsr",
        "features": 64,
        "blocks": 2,
        "symmetric": True,
    }
    assert found["training"]["schedule"] == {"kind": "cosine", "cycles": 1, "floor": 0.1, "warmup": 100}
    assert found["training"]["epochs"] == 3 and found["training"]["steps"] is None


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_three_pictures_are_enough(photos: Path, tmp_path: Path, layout: str) -> None:
    run = tmp_path / "run"
    small = ["scale=2", "generator.features=8", "generator.blocks=1", "batch_size=2", "steps=4", "workers=0"]
    small += ["validation_fraction=0.5", "sample_every=4", "precision=fp32", f"memory_format={layout}"]
    sets = [word for each in small for word in ("--set", each)]
    summary = json.loads(invoke("--images", str(photos), "-o", str(run), *sets, "--json", "--quiet"))
    assert summary["step"] == 4 and {Path(path).name for path in summary["models"]} >= {"ema.safetensors"}
    grid = read_image(run / "samples" / "step_00000004.png")
    assert grid.width >= 3 * 256 and grid.height > 96
    picture = read_image(photos / "0.png").pixels
    for name in ("ema", "last"):
        model = load_model(run / f"{name}.safetensors", device="cpu")
        result = model(picture)
        assert result.shape == (208, 272, 3) and result.dtype == np.uint8
        assert model.generator.spec.arguments["symmetric"] is False  # the plain network that it learned to be
        assert np.abs(model(picture[:, ::-1])[:, ::-1].astype(int) - result).max() <= 1


def test_a_run_cannot_become_symmetric(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ["scale=2", "generator.features=8", "generator.blocks=1", "batch_size=2", "steps=2", "workers=0"]
    small += ["validation_fraction=0", "sample_every=0", "precision=fp32", "generator.symmetric=false"]
    invoke("--images", str(photos), "-o", str(run), *(word for each in small for word in ("--set", each)))
    more = ["--resume", str(run), "--set", "steps=4", "--set"]
    result = CliRunner().invoke(cli, ["train", *more, "generator.symmetric=true"])
    assert result.exit_code != 0 and "did not learn to be symmetric" in result.stderr
    invoke(*more, "generator.symmetric=false")


def test_pictures_smaller_than_a_patch_are_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_image(Image(np.zeros((40, 60, 3), np.uint8)), tmp_path / "photos" / "tiny.png")
    arguments = [
        "train",
        "--images",
        str(tmp_path / "photos"),
        "-o",
        str(tmp_path / "run"),
        "--set=workers=0",
    ]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code != 0
    assert "60 x 40 pixels and holds no patch of 96 x 96" in result.output.replace("\n", " ")
