"""Models of label maps: the palette travels in the model file, and colours are never mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.cli.main import cli
from img2img.errors import ModelError
from img2img.image import Image, read_image, write_image
from img2img.image.palette import classes
from img2img.image.resize import resize_nearest
from img2img.image.tensor import one_hot
from img2img.inference import load_model
from img2img.models import UNet
from img2img.types import SYMMETRIC

PALETTE = ((0, 0, 0), (0, 0, 255), (255, 0, 0), (255, 255, 0))


def maps(seed: int, side: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.asarray(PALETTE, np.uint8)[random.integers(0, 4, (side, side))]


def test_one_hot_marks_the_nearest_colour() -> None:
    pixels = maps(0, 8)
    pixels[0, 0] = (250, 3, 2)
    places = torch.from_numpy(classes(pixels, PALETTE))[None]
    channels = one_hot(places, 4)
    assert channels.shape == (1, 4, 8, 8)
    assert set(channels.unique().tolist()) == {0, 1}
    assert (channels.sum(1) == 1).all()
    assert channels[0, 2, 0, 0] == 1
    assert torch.equal(one_hot(places, 4, SYMMETRIC), channels * 2 - 1)


def test_resizing_makes_no_new_colour() -> None:
    pixels = maps(1, 9)
    colours = {tuple(colour) for colour in resize_nearest(pixels, 32, 16).reshape(-1, 3)}
    assert colours <= set(PALETTE)
    np.testing.assert_array_equal(resize_nearest(pixels, 9, 9), pixels)


def test_a_model_of_labels_takes_label_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet(in_channels=4, **UNet.tiny).eval()
    save_model(tmp_path / "m.safetensors", network, ModelInfo("own", 16, {}, PALETTE, True))
    assert open_model(tmp_path / "m.safetensors")[1].palette == PALETTE
    model = load_model(tmp_path / "m.safetensors", device="cpu", precision="fp32")
    pixels = maps(2, 16)
    with torch.no_grad():
        planes = one_hot(torch.from_numpy(classes(pixels, PALETTE))[None], 4, SYMMETRIC)
        expected = ((network(planes)[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).byte().numpy()
    assert np.abs(model(pixels).astype(int) - expected).max() <= 1
    assert model(maps(3, 40)).shape == (40, 40, 3)


def test_a_damaged_palette_is_an_error(tmp_path: Path) -> None:
    network = UNet(in_channels=4, **UNet.tiny)
    wrong = ModelInfo("own", 16, {}, ((0, 0), (1,)), True)
    save_model(tmp_path / "m.safetensors", network, wrong)
    with pytest.raises(ModelError, match="palette"):
        open_model(tmp_path / "m.safetensors")


def test_training_on_one_hot_labels_makes_a_file_for_translate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("labels", "photos"):
        (tmp_path / kind).mkdir()
    for number in range(4):
        write_image(Image(maps(number, 40)), tmp_path / "labels" / f"{number}.png")
        write_image(Image(maps(number + 9, 40)), tmp_path / "photos" / f"{number}.png")
    train = ["train", "smoke_pix2pix", "--paired", "labels", "photos", "-o", "run"]
    train += ["--set", "source_labels=one_hot", "--set", "training.steps=2"]
    result = CliRunner().invoke(cli, train)
    assert result.exit_code == 0, result.output
    assert "palette: null" not in (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "last.safetensors").rename(tmp_path / "alone.safetensors")
    translate = ["translate", "labels", "-o", "out", "-m", "alone.safetensors", "--device", "cpu"]
    result = CliRunner().invoke(cli, translate)
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "out" / "0.png").pixels.shape == (40, 40, 3)
