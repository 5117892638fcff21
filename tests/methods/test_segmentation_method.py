"""Segmentation: the losses, what is ignored, and the way from files through a model file to label maps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image as Pillow
from samples import batch, configured, made

from img2img.checkpoint import open_model
from img2img.cli.main import cli
from img2img.data import DataConfig, open_data
from img2img.errors import ConfigError, ImageReadError
from img2img.image import Image, read_image, write_image
from img2img.inference import load_model
from img2img.methods import methods
from img2img.types import Batch

FIELDS = methods["segmentation"].fields
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
SMALL = ["crop_size=32", "load_size=32", "flip=false", "training.threads=1", "training.device=cpu"]


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def world(folder: Path, count: int = 4, depth: type = np.uint8, channels: int = 3, seed: int = 0) -> None:
    """Writes pictures whose brightness says the class: black, red or blue in the maps."""
    rng = np.random.default_rng(seed)
    for name in ("photos", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        classes = rng.integers(0, 3, (4, 4)).repeat(8, 0).repeat(8, 1)
        white = np.iinfo(depth).max
        levels = (classes[..., None] * (white // 2)).astype(depth).repeat(channels, 2)
        extension = "png" if channels in (1, 3) else "tif"
        write_image(Image(levels), folder / "photos" / f"{number}.{extension}")
        write_image(Image(np.array(PALETTE, np.uint8)[classes]), folder / "labels" / f"{number}.png")


def opened(folder: Path, **more: object):
    section = {"paired": [str(folder / "photos"), str(folder / "labels")], "crop_size": 32, "load_size": 32}
    return open_data(DataConfig.model_validate({**section, "flip": False, "cache": "none", **more}), FIELDS)


# --- losses


def test_the_loss_is_the_cross_entropy_of_capped_logits() -> None:
    """Against a transcription in plain torch, with some pixels of no class."""
    method = made("segmentation", gan_weight=0, cross_entropy_weight=2.0, logit_cap=7.0)
    assert list(method.parameter_groups()) == ["generator"]
    samples = batch(method, FIELDS)
    truth = F.one_hot(samples.target.argmax(1), 3).permute(0, 3, 1, 2).float()
    truth[:, :, :5] = 0  # ignored
    found: dict[str, torch.Tensor] = {}
    method.step(Batch({"source": samples.source, "target": truth}), lambda _, losses: found.update(losses))
    output = method.generator(samples.source)  # tanh: -1 to 1
    likelihoods = torch.log_softmax(7.0 * output, 1)
    expected = -2.0 * (likelihoods * truth).sum() / truth[:, 0].numel()
    assert set(found) == {"g_cross_entropy"}
    torch.testing.assert_close(found["g_cross_entropy"], expected)


def test_with_a_weight_a_discriminator_sees_likelihoods_beside_the_picture() -> None:
    method = made("segmentation", gan_weight=0.5)
    seen = []
    method.adversary.discriminator.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    method.step(batch(method, FIELDS), lambda *_: None)
    assert {x.shape[1] for x in seen} == {6}
    fake = seen[0][:2, 3:]
    torch.testing.assert_close(fake.sum(1), torch.ones_like(fake[:, 0]))


def test_a_single_class_and_features_of_nobody_are_errors() -> None:
    with pytest.raises(ConfigError, match="one colour only"):
        methods["segmentation"](configured("segmentation"), {"source": 3, "target": 1})
    with pytest.raises(ConfigError, match="feature_matching compares what a discriminator sees"):
        made("segmentation", gan_weight=0, feature_matching=1.0)


# --- data


def test_colours_become_channels_and_the_ignored_one_becomes_nothing(tmp_path: Path) -> None:
    world(tmp_path)
    data = opened(tmp_path, palette=PALETTE[:2], ignore_label=PALETTE[2], class_names=["floor", "wall"])
    assert data.channels == {"source": 3, "target": 2} and data.palette is None
    assert data.classes is not None and data.classes.names == ("floor", "wall")
    assert data.classes.ignore == (0, 0, 255)
    from img2img.data import in_order

    ranges = {"source": (-1, 1), "target": (0, 1)}
    samples = next(in_order(data.train, batch_size=1, ranges=ranges))
    colours = read_image(tmp_path / "labels" / samples.keys[0]).pixels
    known = (colours[..., None, :] == np.array(PALETTE[:2])).all(3)
    np.testing.assert_array_equal(samples.target[0].permute(1, 2, 0).numpy(), known.astype(np.float32))
    assert opened(tmp_path).classes.palette == tuple(sorted(map(tuple, PALETTE))), "collected"


def test_colours_that_the_palette_lacks_are_told_before_training(tmp_path: Path) -> None:
    world(tmp_path)
    (sentence,) = [
        text for text in opened(tmp_path, palette=PALETTE[:2]).warnings if "none of the palette" in text
    ]
    assert "labels" in sentence and "%" in sentence
    assert not [text for text in opened(tmp_path, palette=PALETTE).warnings if "none of the palette" in text]
    output = CliRunner().invoke(
        cli,
        ["data", "check", "--method", "segmentation", "--paired", str(tmp_path / "photos"),
         str(tmp_path / "labels"), "--set", "palette=[[0, 0, 0], [255, 0, 0]]"],
    ).output  # fmt: skip
    assert "have colours that the palette lacks" in output


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"palette": PALETTE, "class_names": ["a", "b"]}, "there are 2 names and 3 colours"),
        ({"class_names": ["a", "b"]}, "2 names and none colours"),
        ({"palette": PALETTE, "class_names": ["a", "b", "b"]}, "different words"),
        ({"palette": PALETTE, "ignore_label": PALETTE[1]}, "take it out of palette"),
        ({"palette": PALETTE, "ignore_label": 255}, "need one length"),
        ({"palette": 65536, "ignore_label": 3}, "up to 65536"),
    ],
)
def test_what_contradicts_a_palette_is_said(more: dict, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        DataConfig.model_validate({"paired": ["a", "b"], **more})


def test_palettes_are_for_label_maps(tmp_path: Path) -> None:
    world(tmp_path)
    section = {"paired": [str(tmp_path / "photos"), str(tmp_path / "labels")]}
    with pytest.raises(ConfigError, match=r"data.palette is for label maps"):
        open_data(DataConfig.model_validate({**section, "palette": PALETTE}), methods["pix2pix"].fields)
    with pytest.raises(ConfigError, match="use nearest for the source"):
        opened(tmp_path, source_labels="one_hot")


def test_maps_of_fractions_and_of_another_size_are_named(tmp_path: Path) -> None:
    world(tmp_path)
    (tmp_path / "labels" / "0.png").unlink()
    write_image(Image(np.full((32, 32, 1), 0.5, np.float32)), tmp_path / "labels" / "0.tif")
    write_image(Image(np.zeros((24, 32, 3), np.uint8)), tmp_path / "labels" / "1.png")
    data = opened(tmp_path, palette=PALETTE, validation_fraction=0, load_size=None, crop_size=None)
    said = []
    for index in range(2):
        with pytest.raises(ImageReadError) as caught:
            data.train.sample(0, index)
        said.append(str(caught.value))
    assert "label maps hold whole numbers" in said[0] and "partners need one size" in said[1]


# --- the whole way


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a run on pictures of 16 bits and 5 channels, in numbers from 0 to 4000."""
    folder = tmp_path_factory.mktemp("segmentation")
    world(folder, 4, np.uint16, 5)
    sets = [
        *SMALL, "range=[0, 65534]", f"palette={PALETTE}", "class_names=[floor, wall, roof]", "steps=60",
        "batch_size=2", "generator={name: unet, features: 8, downs: 3, norm: instance, dropout: false}",
        "learning_rate=0.003", "schedule={kind: constant}", "workers=0", "validation_fraction=0.3",
        "sample_every=60", "validate_every=30", "save_every=60", "log_every=30", "ema=0",
    ]  # fmt: skip
    words = [word for each in sets for word in ("--set", each)]
    invoke(
        "train", "--method", "segmentation", "--paired", folder / "photos", folder / "labels", "-o",
        folder / "run", *words,
    )  # fmt: skip
    return folder


def test_a_model_of_labels_keeps_its_classes_and_makes_palette_maps(trained: Path, tmp_path: Path) -> None:
    model = trained / "run" / "last.safetensors"
    _, info = open_model(model)
    assert info.output == "labels" and info.range == (0, 65534) and info.target_range is None
    assert info.labels is not None and info.labels.names == ("floor", "wall", "roof")
    assert info.labels.palette == tuple(map(tuple, PALETTE))
    assert '"floor"' in invoke("model", "info", model, "--json")
    invoke("translate", trained / "photos", "-o", tmp_path / "out", "-m", model, "--device", "cpu")
    right = total = 0
    for number in range(4):
        with Pillow.open(tmp_path / "out" / f"{number}.png") as made_:
            assert made_.mode == "P" and made_.getpalette()[:9] == np.ravel(PALETTE).tolist()
            indices = np.asarray(made_)
        truth = read_image(trained / "labels" / f"{number}.png").pixels
        right += int((np.array(PALETTE)[indices] == truth).all(2).sum())
        total += indices.size
    assert right / total > 0.9, "it has learnt nothing"


def test_label_maps_are_measured_as_an_independent_count_says(trained: Path, tmp_path: Path) -> None:
    model, out = trained / "run" / "last.safetensors", tmp_path / "scores.json"
    arguments = ["evaluate", "--protocol", "labels", "--target", trained / "labels"]
    shown = invoke(*arguments, "-m", model, "--input", trained / "photos", "--device", "cpu", "--json", out)
    found = json.loads(out.read_text())
    network = load_model(model, device="cpu")
    hist = np.zeros((3, 3))
    for number in range(4):
        made_ = network([read_image(trained / "photos" / f"{number}.tif")])[0].pixels
        truth = read_image(trained / "labels" / f"{number}.png").pixels
        a, b = ((x[..., None, :] == np.array(PALETTE)).all(3).argmax(2) for x in (truth, made_))
        for row in range(3):
            for column in range(3):
                hist[row, column] += ((a == row) & (b == column)).sum()
    # as score.py of fully convolutional networks does it
    expected = {
        "pixel_accuracy": np.diag(hist).sum() / hist.sum(),
        "class_accuracy": np.nanmean(np.diag(hist) / hist.sum(1)),
        "mean_iou": np.nanmean(np.diag(hist) / (hist.sum(1) + hist.sum(0) - np.diag(hist))),
    }
    assert found["mean"] == pytest.approx(expected)
    share = hist.sum(1) / hist.sum()
    assert found["constant"]["pixel_accuracy"] == pytest.approx(share.max())
    assert found["constant"]["mean_iou"] == pytest.approx(share.max() / 3)
    assert [one["class"] for one in found["classes"]] == ["floor", "wall", "roof"]
    assert "mean_iou" in shown and "roof" in shown


def test_pictures_of_8_bits_are_answered_in_any_size_and_resumed(trained: Path, tmp_path: Path) -> None:
    model = trained / "run" / "last.safetensors"
    network = load_model(model, device="cpu")
    made_ = network(np.zeros((17, 45, 5), np.uint16))
    assert made_.shape == (17, 45, 3) and made_.dtype == np.uint8
    assert set(map(tuple, made_.reshape(-1, 3).tolist())) <= set(map(tuple, PALETTE))
    for again in range(2):
        command = ["translate", trained / "photos", "-o", tmp_path, "-m", model, "--device", "cpu", "--json"]
        counts = json.loads(invoke(*command).splitlines()[-1])
        assert counts["skipped" if again else "done"] == 4


def test_formats_that_mix_colours_are_not_taken(trained: Path, tmp_path: Path) -> None:
    model = trained / "run" / "last.safetensors"
    shown = invoke(
        "translate", trained / "photos" / "0.tif", "-o", tmp_path, "-m", model, "--ext", "jpg", "--verbose",
        "--device", "cpu",
    )  # fmt: skip
    assert "those of a label map stand for classes" in " ".join(shown.split())
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == ["0.jpg.png"]


def test_the_table_of_scores_has_the_whole_set_at_its_end(trained: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--protocol", "labels", "--target", trained / "labels", "--pred"]
    shown = invoke(*arguments, trained / "labels", "--csv", tmp_path / "s.csv")
    rows = list(csv.reader((tmp_path / "s.csv").read_text().splitlines()))
    assert rows[0] == ["name", "mean_iou", "pixel_accuracy", "class_accuracy"]
    assert rows[-1] == ["all", "1.0", "1.0", "1.0"] and "alone have" in shown
