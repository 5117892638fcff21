"""What a run would refuse or warn of, `--dry-run` and `config validate` say before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from drawings import draw_pairs, draw_photos

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.models import ArchSpec, build
from img2img.training import read_experiment
from img2img.training.estimate import estimate_memory

UNGUIDED = "fresh weights would learn from the discriminator alone"
SMALL = (
    "generator.features=8",
    "generator.blocks=1",
    "discriminator.features=4",
    "batch_size=1",
    "crop_size=64",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    draw_pairs(folder / "pairs", 4)
    draw_photos(folder / "photos", 3)
    (folder / "broken.safetensors").write_bytes(b"x" * 100)
    networks = {
        "fits": ("unet", {"features": 4, "downs": 5, "norm": "instance"}),
        "large": ("unet", {"features": 16, "downs": 5}),
        "other": ("resnet", {"features": 4, "blocks": 1}),
    }
    for name, (architecture, arguments) in networks.items():
        save_model(folder / f"{name}.safetensors", build(ArchSpec(architecture, arguments)), ModelInfo("own"))
    return folder


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("nowhere.safetensors", "nowhere.safetensors"),
        ("broken.safetensors", "broken.safetensors"),
        ("other.safetensors", "has the architecture resnet, the configuration unet"),
        ("large.safetensors", "has the architecture unet with features 16 (here 4)"),
        ("a2b=fits.safetensors", "there is no generator 'a2b'; there is generator."),
        ("fits.safetensors", None),
    ],
)
def test_weights_to_start_from_are_tried(
    world: Path, value: str, sentence: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    network = "generator={name: unet, features: 4, downs: 5, norm: instance}"
    command = ["train", "smoke_pix2pix", "--aligned", "pairs", "--dry-run", "--init", value, "--set", network]
    command += ["--set", "discriminator.features=4"]
    result = CliRunner().invoke(cli, command)
    said = " ".join(result.stderr.split())
    assert (result.exit_code == 0) == (sentence is None), said
    assert (sentence or "generator starts with the weights of fits.safetensors") in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("sets", "warned"),
    [
        ((), True),
        (("pixel_weight=1",), False),
        (("ssim_weight=1",), False),
        (("objective=psnr",), False),
        (("feature_matching=1",), True),
    ],
)
@pytest.mark.sampled(3)
def test_a_discriminator_alone_is_warned_of(
    world: Path, sets: tuple[str, ...], warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # no weights of VGG19 lie there
    experiment = read_experiment("srgan_x4", [*SMALL, *sets], source={"images": str(world / "photos")})
    warnings: list[str] = []
    said = []
    for each in estimate_memory(experiment, warn=warnings.append):
        said.append(each)
        if each.startswith("Parameters"):
            break  # trying a step takes seconds
    assert any(UNGUIDED in each for each in warnings) == warned
    assert any("instead of those of VGG19" in each for each in said) == ("objective=psnr" not in sets)


@pytest.mark.slow
def test_the_run_warns_likewise_and_not_where_a_first_stage_guides(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    command = ["train", "srgan_x4", "--images", str(world / "photos"), "-o", str(tmp_path / "run")]
    sets = (*SMALL, "steps=1", "workers=0", "cache=none", "validate_every=0", "sample_every=0", "threads=1")
    result = CliRunner().invoke(cli, command + [word for each in sets for word in ("--set", each)])
    assert result.exit_code == 0, result.output
    assert UNGUIDED in " ".join(result.stderr.split())
    stages = "stages=[{name: psnr, steps: 1}, {name: gan, steps: 1}]"
    plain = ["steps=null", "learning_rate=2e-4", "schedule={kind: constant}"]
    experiment = read_experiment("srgan_x4", [*SMALL, *plain, stages], source={"images": "x"})
    warnings: list[str] = []
    list(estimate_memory(experiment, warn=warnings.append))
    assert not warnings
