"""More classes than an index of 8 bits tells apart: from files of 16 bits through a model and back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from img2img.checkpoint import open_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.image.palette import indices

COUNT = 300
SETS = [
    "crop_size=32", "load_size=32", "steps=2", "batch_size=1", "workers=0", "validation_fraction=0.5",
    "cache=none", "sample_every=2", "validate_every=2", "save_every=2", "log_every=2", "ema=0", "flip=false",
]  # fmt: skip
UNET = "{name: unet, features: 4, downs: 3, norm: instance, dropout: false}"


def invoke(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def world(folder: Path) -> np.ndarray:
    """Writes label maps of 16 bits, each with all classes, and photographs beside them."""
    maps = np.stack([np.random.default_rng(n).permutation(1024) % COUNT for n in range(2)]).reshape(2, 32, 32)
    for number, one in enumerate(maps):
        for name in ("photos", "labels"):
            (folder / name).mkdir(exist_ok=True)
        write_image(Image(one.astype(np.uint16)[..., None]), folder / "labels" / f"{number}.png")
        write_image(
            Image((one // 2).astype(np.uint8)[..., None].repeat(3, 2)), folder / "photos" / f"{number}.png"
        )
    return maps


def train(folder: Path, method: str, source: str, target: str, *sets: str) -> Path:
    words = [word for each in (*SETS, *sets) for word in ("--set", each)]
    data = ("--paired", folder / source, folder / target)
    invoke("train", "--method", method, *data, "-o", folder / "run", "--device", "cpu", *words)
    return folder / "run" / "last.safetensors"


def test_label_maps_of_300_classes_are_made_and_measured(tmp_path: Path) -> None:
    maps = world(tmp_path)
    model = train(tmp_path, "segmentation", "photos", "labels", f"generator={UNET}")
    info = open_model(model)[1]
    assert info.labels is not None and info.labels.palette == indices(COUNT), "found in the files"
    assert f"palette: {COUNT}" in (tmp_path / "run" / "config.yaml").read_text()
    out = tmp_path / "out"
    invoke("translate", tmp_path / "photos", "-o", out, "-m", model, "--device", "cpu")
    made = [read_image(out / f"{number}.png").pixels[..., 0] for number in range(2)]
    assert all(one.dtype == np.uint16 and one.shape == (32, 32) and one.max() < COUNT for one in made)
    for number in range(2):  # some are right, so that there is something to count
        made[number][:16] = maps[number][:16]
        write_image(Image(made[number][..., None]), out / f"{number}.png")
    folders = ("--target", tmp_path / "labels", "--pred", out)
    invoke(
        "evaluate", "--protocol", "labels", *folders, "--palette", model, "--json", tmp_path / "scores.json"
    )
    found = json.loads((tmp_path / "scores.json").read_text())
    hist = np.zeros((COUNT, COUNT))
    np.add.at(hist, (maps.ravel(), np.stack(made).ravel()), 1)
    right = np.diag(hist)
    assert found["mean"] == pytest.approx(
        {
            "pixel_accuracy": right.sum() / hist.sum(),
            "class_accuracy": (right / hist.sum(1)).mean(),
            "mean_iou": (right / (hist.sum(1) + hist.sum(0) - right)).mean(),
        }
    )
    rows = np.zeros_like(hist)
    for truth, prediction, pixels in found["confusion"]:
        rows[truth, prediction] = pixels
    assert np.array_equal(rows, hist), "of so many classes the pairs that occur"


@pytest.mark.slow
def test_pictures_are_made_of_label_maps_of_300_classes(tmp_path: Path) -> None:
    maps = world(tmp_path)
    sets = ("source_labels=one_hot", f"palette={COUNT}", f"generator={UNET}")
    model = train(
        tmp_path, "pix2pix", "labels", "photos", *sets, "discriminator={name: patchgan, features: 4}"
    )
    generator, info = open_model(model)
    assert generator.in_channels == COUNT and info.palette == indices(COUNT)
    out = tmp_path / "out"
    invoke("translate", tmp_path / "labels", "-o", out, "-m", model, "--device", "cpu")
    assert read_image(out / "0.png").pixels.dtype == np.uint8, "numbers of classes have no depth of colours"
    maps[0, 0, 0] = COUNT
    write_image(Image(maps[0].astype(np.uint16)[..., None]), tmp_path / "wrong.png")
    said = invoke("translate", tmp_path / "wrong.png", "-o", out, "-m", model, "--device", "cpu", code=1)
    assert "holds the class 300, and there are 300, 0 to 299" in said


@pytest.mark.slow
def test_tables_name_more_classes_than_256(tmp_path: Path) -> None:
    maps = world(tmp_path)
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["color", "name"])
        writer.writerows([number, f"kind {number}"] for number in range(COUNT))
    command = [
        "evaluate",
        "--protocol",
        "labels",
        "--target",
        tmp_path / "labels",
        "--pred",
        tmp_path / "labels",
    ]
    invoke(
        *command, "--palette", tmp_path / "classes.csv", "--ignore", "kind 299", "--json", tmp_path / "s.json"
    )
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["mean"]["mean_iou"] == 1 and found["classes"][298]["class"] == "kind 298"
    assert found["classes"][299]["pixels"] == 0
    assert sum(one["pixels"] for one in found["classes"]) == (maps < 299).sum()


def test_the_check_tells_numbers_of_classes_from_blurred_colours(tmp_path: Path) -> None:
    world(tmp_path)
    command = [
        "data",
        "check",
        "--paired",
        tmp_path / "labels",
        tmp_path / "photos",
        "--set",
        "source_labels=one_hot",
    ]
    command += ["--set", "crop_size=32", "--set", "load_size=32"]
    said = invoke(*command)
    assert "more than 256 numbers" in said and "JPEG" not in said
    assert "numbers" not in invoke(*command, "--set", f"palette={COUNT}")
    said = invoke(*command, "--set", "palette=299", code=1)
    assert "numbers of no class" in said
