"""The training of inpainting: its losses, its stages, and a run from a folder to a filled picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from img2img.cli.main import cli
from img2img.errors import ConfigError
from img2img.image import Image, read_image, write_image
from img2img.losses.inpainting import FeatureTerms, composite, masked_l1, total_variation
from img2img.methods import Inpainting, InpaintingConfig
from img2img.models import PartialUNet
from img2img.types import Batch

SMOKE = Path(__file__).parents[2] / "configs" / "smoke_inpaint.yaml"
TINY = {"name": "partial_unet", **PartialUNet.tiny}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))  # no weights of VGG16 lie there


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of its first three blocks."""
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.manual_seed(1)
    stages = make_layers(cfgs["D"])[:17]
    for stage in stages:
        if isinstance(stage, nn.Conv2d):
            nn.init.kaiming_normal_(stage.weight)
    torch.save(stages.state_dict(), path)
    return path


def make(channels: int = 3, **keys: Any) -> Inpainting:
    return Inpainting(InpaintingConfig(**{"generator": TINY, **keys}), {"source": channels, "mask": 1})


def batch(channels: int = 3) -> Batch:
    mask = torch.zeros(2, 1, 16, 24)
    mask[..., 4:11, 3:15] = 1
    return Batch({"source": torch.rand(2, channels, 16, 24), "mask": mask}, ("a", "b"))


def losses_of(method: Inpainting, given: Batch) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    method.step(given, lambda group, losses: found.update({f"{group} {k}": v for k, v in losses.items()}))
    return {name.removeprefix("generator "): loss for name, loss in found.items()}


def test_the_losses_are_those_of_the_paper_with_its_weights(vgg16: Path) -> None:
    method, given = make(weights=str(vgg16)).eval(), batch()
    assert method.notes == ["The perceptual and the style loss compare features of VGG16."]
    found = losses_of(method, given)
    output = method.generator(given.source, given.mask)
    hole, valid = masked_l1(output, given.source, given.mask)
    assert method.features is not None
    perceptual, style = FeatureTerms(method.features)(output, given.source, given.mask)
    variation = total_variation(composite(output, given.source, given.mask), given.mask)
    expected = {
        "g_hole": 6 * hole,
        "g_valid": valid,
        "g_tv": 0.1 * variation,
        "g_perceptual": 0.05 * perceptual,
        "g_style": 120 * style,
    }
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=1e-5, atol=1e-7)
    sum(found.values()).backward()
    assert all(parameter.grad is not None for parameter in method.parameter_groups()["generator"])
    assert not any("features" in name for name in method.state_dict())  # VGG16 belongs to nobody


def test_without_vgg_it_learns_from_pixels_and_says_so() -> None:
    method = make()
    assert "without the perceptual and the style loss" in method.notes[0] and "vgg16-" in method.notes[0]
    assert losses_of(method, batch()).keys() == {"g_hole", "g_valid", "g_tv"}
    assert make(perceptual_weight=0, style_weight=0).notes == []


def test_what_is_in_the_holes_teaches_only_by_the_loss() -> None:
    """The network sees no hole: other pixels there change the losses, but not what it makes."""
    method, given = make().eval(), batch()
    other = given.source + given.mask * torch.rand_like(given.source)
    first = method.columns(given, method.generators())["output"].values
    second = method.columns(Batch({"source": other, "mask": given.mask}), method.generators())[
        "output"
    ].values
    assert torch.equal(first, second)


def test_the_columns_show_holes_output_and_truth() -> None:
    method, given = make().eval(), batch()
    columns = method.columns(given, method.generators())
    assert [(name, column.role) for name, column in columns.items()] == [
        ("holes", "input"),
        ("output", "output"),
        ("target", "target"),
    ]
    known = (given.mask == 0).expand_as(given.source)
    for column in columns.values():
        assert torch.equal(column.values[known], given.source[known])
    assert (columns["holes"].values[~known] == 0.5).all()


def test_grey_pictures_have_a_network_of_one_channel() -> None:
    method = make(1)
    assert method.generator.in_channels == method.generator.out_channels == 1
    assert losses_of(method, batch(1))["g_hole"] > 0


def frozen(method: Inpainting) -> list[bool]:
    method.train()
    return [not level.norm.training for level in method.generator.encoder[1:]]


def test_fine_tuning_freezes_the_statistics_of_the_encoder_alone() -> None:
    method = make()
    assert not any(frozen(method))
    method.begin("fine_tuning")
    assert all(frozen(method)) and all(level.norm.training for level in method.generator.decoder[1:])
    method.eval()
    assert all(frozen(method))  # also after a validation in between
    method.begin("initial")
    assert not any(frozen(method))
    assert all(frozen(make(freeze_encoder_norm=True)))


def test_wrong_requests_are_sentences() -> None:
    with pytest.raises(ConfigError, match="has the stages initial and fine_tuning, not 'gan'"):
        make().begin("gan")
    with pytest.raises(ConfigError, match="takes no mask"):
        make(generator={"name": "unet", "features": 4, "downs": 3})
    with pytest.raises(ConfigError, match="multiples of 8"):
        make().check(Batch({"source": torch.rand(1, 3, 20, 24), "mask": torch.zeros(1, 1, 20, 24)}))


def img2img(*arguments: Any) -> Any:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        ramp = np.linspace(20, 230, 48)[None, :, None] * np.ones((40, 1, 3)) * [1, 0.7, 0.4]
        pixels = np.roll(ramp, 9 * number, 1) + np.random.default_rng(number).normal(0, 4, ramp.shape)
        write_image(Image(pixels.clip(0, 255).astype(np.uint8)), folder / f"{number}.png")
    return folder


def test_from_a_folder_of_pictures_to_a_filled_hole(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = img2img("train", SMOKE, "--images", photos, "-o", run, "--set", "device=cpu")
    assert result.exit_code == 0, result.output
    assert "mask drawn at random" in result.output
    hole = np.zeros((40, 48), bool)
    hole[10:25, 20:33] = True
    write_image(Image(hole[..., None].astype(np.uint8) * 255), tmp_path / "mask.png")
    command = ("inpaint", photos, "-o", tmp_path / "out", "--mask", tmp_path / "mask.png", "--device", "cpu")
    result = img2img(*command, "-m", run / "last.safetensors")
    assert result.exit_code == 0, result.output
    before, after = (read_image(folder / "0.png").pixels for folder in (photos, tmp_path / "out"))
    np.testing.assert_array_equal(after[~hole], before[~hole])
    assert (after != before)[hole].any()


def test_masks_may_come_from_files(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    mask = np.zeros((40, 48, 1), np.uint8)
    mask[8:30, 8:40] = 255
    for path in photos.iterdir():
        write_image(Image(mask), tmp_path / "masks" / path.name)
    arguments = ("train", SMOKE, "--images", photos, "--field", f"mask={tmp_path / 'masks'}")
    one = ("--set", "training.stages=[{name: initial, steps: 2}]", "--set", "device=cpu")
    result = img2img(*arguments, *one, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "drawn at random" not in result.output
    (tmp_path / "masks" / "3.png").unlink()
    result = img2img(*arguments, *one, "-o", tmp_path / "other")
    assert result.exit_code == 2 and "3.png" in result.output


def test_one_pixel_of_one_picture_is_too_little_for_batch_norm() -> None:
    config = InpaintingConfig(generator=TINY, perceptual_weight=0, style_weight=0)
    method = Inpainting(config, {"source": 3, "mask": 1}).train()
    for count, height, width, enough in ((1, 8, 8, False), (2, 8, 8, True), (1, 8, 16, True)):
        batch = Batch(
            {"source": torch.rand(count, 3, height, width), "mask": torch.ones(count, 1, height, width)}
        )
        if enough:
            method.check(batch)
            continue
        with pytest.raises(ConfigError, match=r"training\.batch_size to 2 or more"):
            method.check(batch)
    method.begin("fine_tuning")
    method.check(Batch({"source": torch.rand(1, 3, 8, 8), "mask": torch.ones(1, 1, 8, 8)}))
