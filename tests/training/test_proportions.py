"""Pictures that are not square, nor of one shape: training, validation, `evaluate` and `translate` agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.cli.main import cli
from img2img.config import load_yaml
from img2img.data import DataConfig, open_data
from img2img.fields import PAIRED
from img2img.image import Image, read_image, write_image
from img2img.inference import load_model

LANDSCAPE, PORTRAIT, LONG = (32, 64), (64, 32), (32, 90)  # (height, width)


def img2img(*arguments: Any) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def draw(folder: Path, *shapes: tuple[int, int], count: int = 2) -> None:
    """Writes `count` pairs of each shape into the folders A and B: bars and their negatives."""
    for number, (height, width) in enumerate(shapes * count):
        pixels = np.random.default_rng(number).integers(
            0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8
        )
        pixels = pixels.repeat(8, 0).repeat(8, 1)[:height, :width]
        for name, side in (("A", pixels), ("B", 255 - pixels)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_image(Image(side), folder / name / f"{number:02}.png")


@pytest.mark.parametrize(
    ("shapes", "sets"),
    [
        ([LANDSCAPE], ["crop_size=[32, 64]"]),
        ([PORTRAIT], ["crop_size=[64, 32]", "load_size=[72, 36]"]),
        ([LANDSCAPE], ["crop_size=null", "load_size=[32, 64]"]),
        ([LANDSCAPE, PORTRAIT, LONG], ["crop_size=32", "fit=keep"]),
        ([(40, 32), LONG], ["crop_size=null", "load_size=null", "training.batch_size=1"]),
    ],
    ids=["wide", "tall", "whole", "kept", "native"],
)
@pytest.mark.sampled(1)
def test_validation_and_evaluate_measure_the_same(tmp_path: Path, shapes, sets) -> None:
    """With held-out pictures that have the size of the training already, so that none is resized back."""
    draw(tmp_path / "train", *([(32, 32)] if "load_size=null" in sets else shapes))
    draw(tmp_path / "held", *shapes)
    held = json.dumps([str(tmp_path / "held" / side) for side in "AB"])
    paired = json.dumps([str(tmp_path / "train" / side) for side in "AB"])
    options = [
        *sets,
        f"paired={paired}",
        f"validation={held}",
        "steps=2",
        "sample_every=2",
        "validate_every=2",
    ]
    settings = [
        word for each in (*options, "generator.norm=instance", "device=cpu") for word in ("--set", each)
    ]
    img2img("train", "smoke_pix2pix", *settings, "-o", tmp_path / "run")
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    (found,) = (line for line in map(json.loads, lines) if line["kind"] == "validation")
    measured = img2img(
        *("evaluate", "--protocol", "plain", "-m", tmp_path / "run/best.safetensors", "--json", "-"),
        *("--input", tmp_path / "held/A", "--target", tmp_path / "held/B", "--device", "cpu"),
    )
    mean = json.loads(measured.stdout)["mean"]
    assert mean["psnr"] == pytest.approx(found["psnr"], abs=0.02)  # files have 8 bits
    img2img("translate", tmp_path / "held/A", "-o", tmp_path / "out", "-m", tmp_path / "run/best.safetensors")
    again = img2img(
        *("evaluate", "--protocol", "plain", "--json", "-", "--pred", tmp_path / "out"),
        *("--target", tmp_path / "held/B"),
    )
    assert json.loads(again.stdout)["mean"] == pytest.approx(mean)


def test_proportions_are_kept_where_it_was_trained_so_or_is_asked_for(tmp_path: Path) -> None:
    """What the network sees of a photograph of 90 x 60 pixels, by what the model was trained with."""
    draw(tmp_path, (60, 90), (90, 60))
    paired = f"paired={[str(tmp_path / side) for side in 'AB']}"
    for fit, others in (("squeeze", "keep"), ("keep", "squeeze")):
        sets = ("steps=1", "crop_size=32", f"fit={fit}", "device=cpu", paired)
        run = tmp_path / fit
        img2img("train", "smoke_pix2pix", *(w for each in sets for w in ("--set", each)), "-o", run)
        model = run / "last.safetensors"
        assert load_yaml(run / "config.yaml")["data"]["fit"] == load_model(model, device="cpu").fit == fit
        assert fit in img2img("model", "info", model).output
        results = {}
        for name, choice in {
            "trained": [],
            fit: ["--fit", fit],
            others: ["--fit", others],
            "exact": ["--size", "48x32" if fit == "squeeze" else "32x32", "--fit", "squeeze"],
        }.items():
            out = tmp_path / f"{fit}_{name}"
            img2img("translate", tmp_path / "A/00.png", "-o", out, "-m", model, *choice, "--device", "cpu")
            results[name] = (out / "00.png").read_bytes()
        assert results["trained"] == results[fit] != results[others] == results["exact"]


def test_training_sees_sections_in_their_proportions(tmp_path: Path) -> None:
    """Circles stay circles: both sides of a picture shrink alike, and partners get one window."""
    draw(tmp_path, (60, 90), (200, 40), (7, 9))
    config = DataConfig(paired=(tmp_path / "A", tmp_path / "B"), crop_size=(20, 30), fit="keep", flip=False)
    train = open_data(config, PAIRED).train
    for index in range(len(train)):
        record = train.groups[0].records[index]
        source, target = train.groups[0].arrays(record, train.cache).values()
        before = load_shape(record.files["source"])
        height, width = source.shape[:2]
        assert abs(height / before[0] * before[1] - width) <= 1, "to whole pixels"
        assert (height == 22 and width >= 34) or (height >= 22 and width == 34), (height, width)
        assert target.shape == source.shape
        sample = train.sample(0, index)
        assert sample.source.window == sample.target.window
        assert sample.source.cut().pixels.shape[:2] == (20, 30)


def test_partners_of_other_proportions_follow_the_source(tmp_path: Path) -> None:
    draw(tmp_path, (60, 90))
    write_image(Image(np.zeros((50, 50, 3), np.uint8)), tmp_path / "B/00.png")
    for direction, size in (("AtoB", (20, 30)), ("BtoA", (20, 20))):
        config = DataConfig(
            paired=(tmp_path / "A", tmp_path / "B"),
            direction=direction,
            load_size=20,
            crop_size=20,
            fit="keep",
            unmatched="skip",
            validation_fraction=0,
        )
        sample = open_data(config, PAIRED).train.validation_sample(0)
        source, target = sample.source.pixels, sample.target.pixels
        assert source.shape[:2] == target.shape[:2] == size


def test_a_line_is_no_picture_in_its_proportions(tmp_path: Path) -> None:
    """The kind: a strip that would become gigabytes where it is brought to a size by its short side."""
    draw(tmp_path, (32, 48))
    (tmp_path / "in").mkdir()
    for name, shape in (("strip", (1, 4000, 3)), ("good", (32, 48, 3))):
        write_image(Image(np.full(shape, 90, np.uint8)), tmp_path / f"in/{name}.png")
    paired = f"paired={[str(tmp_path / side) for side in 'AB']}"
    sets = ("steps=1", "crop_size=32", "fit=keep", "device=cpu", paired)
    img2img("train", "smoke_pix2pix", *(w for each in sets for w in ("--set", each)), "-o", tmp_path / "run")
    command = ["translate", tmp_path / "in", "-o", tmp_path / "out", "-m", tmp_path / "run/last.safetensors"]
    result = CliRunner().invoke(cli, [str(word) for word in command])
    assert result.exit_code == 1 and "strip.png: a picture of 4000 x 1 pixels would become" in result.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["good.png"]


def load_shape(path: Path) -> tuple[int, int]:
    """Returns (height, width) of a file."""
    image = read_image(path)
    return image.height, image.width
