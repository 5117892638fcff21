"""`img2img model`: blending, half precision, and what cards say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from img2img.checkpoint import ModelInfo, fingerprint, open_model, save_model
from img2img.cli.main import cli
from img2img.models import Compact, Generator, Resnet
from img2img.weights import finder

FRONT = """---
license: Apache-2.0
purpose: tests
scale: 2
training_data: nothing at all
results:
- {name: Set5, images: 5, psnr_y: 37.5, ssim_y: 0.95, bicubic_psnr_y: 33.66, bicubic_ssim_y: 0.93}
sha256: "0"
---
# A card
"""


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def compact(seed: int, **arguments: Any) -> Generator:
    torch.manual_seed(seed)
    return Compact(**({"features": 4, "convs": 1, "scale": 2} | arguments)).eval()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models of one architecture, as a model file and as a checkpoint, in the only folder of models."""
    save_model(tmp_path / "a.safetensors", compact(0), ModelInfo(origin={"layout": "test"}))
    torch.save({"params": compact(1).state_dict()}, tmp_path / "b.pth")
    monkeypatch.setenv("COLUMNS", "400")  # no line is folded
    monkeypatch.setattr(finder, "folders", lambda: [tmp_path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_blend_of_any_two_checkpoints(place: Path) -> None:
    result = img2img("model", "blend", "a", "b.pth", "--alpha", 0.25, "-o", "m.safetensors")
    assert result.exit_code == 0, result.output
    mixed, info = open_model(place / "m.safetensors")
    a, b = compact(0).state_dict(), compact(1).state_dict()
    for name, value in mixed.state_dict().items():
        torch.testing.assert_close(value, 0.75 * a[name] + 0.25 * b[name])
    assert info.origin["blend"] == "0.75 of a.safetensors, 0.25 of b.pth"
    assert (info.origin["a layout"], info.origin["b file"]) == ("test", "b.pth")
    assert info.origin["b sha256"] == fingerprint(b)


@pytest.mark.parametrize(("alpha", "seed"), [(0, 0), (1, 1)])
def test_the_ends_of_a_blend_are_the_models(place: Path, alpha: int, seed: int) -> None:
    assert img2img("model", "blend", "a", "b", "--alpha", alpha, "-o", "m.safetensors").exit_code == 0
    mixed, _ = open_model(place / "m.safetensors")
    assert fingerprint(mixed.state_dict()) == fingerprint(compact(seed).state_dict())


def test_models_that_do_not_fit(place: Path) -> None:
    save_model(place / "wide.safetensors", compact(0, features=8), ModelInfo())
    save_model(place / "other.safetensors", Resnet(features=4, blocks=1), ModelInfo("own"))
    refused = img2img("model", "blend", "a", "wide", "-o", "m.safetensors")
    assert (refused.exit_code, "features is 4 in the first and 8 in the second" in refused.stderr) == (
        2,
        True,
    )
    refused = img2img("model", "blend", "a", "other", "-o", "m.safetensors")
    assert (refused.exit_code, "cannot be blended" in refused.stderr) == (2, True)
    assert not (place / "m.safetensors").exists()
    refused = img2img("model", "blend", "a", "b", "-o", "a.safetensors")
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (2, True)


def test_blends_know_their_labels(place: Path) -> None:
    palettes = {"one": ((0, 0, 0), (9, 9, 9)), "two": ((0, 0, 0), (9, 9, 9)), "three": ((0, 0, 0), (5, 5, 5))}
    for seed, (name, palette) in enumerate(palettes.items()):
        torch.manual_seed(seed)
        network = Resnet(in_channels=2, features=4, blocks=1)
        save_model(place / f"{name}.safetensors", network, ModelInfo("own", palette=palette, nearest=True))
    assert img2img("model", "blend", "one", "two", "-o", "m.safetensors").exit_code == 0
    _, info = open_model(place / "m.safetensors")
    assert (info.palette, info.nearest) == (palettes["one"], True)
    refused = img2img("model", "blend", "one", "three", "-o", "n.safetensors")
    assert (refused.exit_code, "different label maps" in refused.stderr) == (2, True)


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_import_in_half_precision(place: Path, precision: str, dtype: torch.dtype) -> None:
    save_model(place / "large.safetensors", compact(0, features=32, convs=4), ModelInfo())
    result = img2img("model", "import", "large", "-o", "half.safetensors", "--precision", precision)
    assert result.exit_code == 0, result.output
    assert precision in result.stderr
    sizes = [(place / name).stat().st_size for name in ("large.safetensors", "half.safetensors")]
    assert sizes[1] < 0.55 * sizes[0]
    before, after = (open_model(place / name)[0] for name in ("large.safetensors", "half.safetensors"))
    for name, value in after.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before.state_dict()[name].to(dtype).float())


def test_what_fp16_cannot_hold_is_a_sentence(place: Path) -> None:
    generator = compact(0)
    with torch.no_grad():
        generator.body[0].bias[0] = 1e6  # type: ignore[index, union-attr]
    save_model(place / "loud.safetensors", generator, ModelInfo())
    result = img2img("model", "import", "loud", "-o", "half.safetensors", "--precision", "fp16")
    assert result.exit_code == 2
    assert "body.0.bias holds a weight of 1e+06" in result.stderr and "65504" in result.stderr
    assert not (place / "half.safetensors").exists()
    assert img2img("model", "import", "loud", "-o", "b16.safetensors", "--precision", "bf16").exit_code == 0


def test_cards_are_shown(place: Path) -> None:
    (place / "a.md").write_text(FRONT, encoding="utf-8")
    (place / "b.md").write_text("# Notes\n", encoding="utf-8")
    listed = img2img("model", "list")
    assert "x2, tests, Set5 37.50 dB (bicubic 33.66)" in listed.stdout
    assert "b.pth" in listed.stdout
    assert str(place) in json.loads(img2img("model", "list", "--json").stdout)["a"]
    shown = img2img("model", "info", "a").stdout
    assert "nothing at all" in shown and "37.50 dB, SSIM 0.9500 (bicubic 33.66 dB, 0.9300)" in shown
    card = json.loads(img2img("model", "info", "a", "--json").stdout)["card"]
    assert card["results"][0]["psnr_y"] == 37.5 and "sha256" not in card
    assert "card" not in json.loads(img2img("model", "info", "b", "--json").stdout)


def test_a_card_with_mistakes_is_named_and_hides_no_model(place: Path) -> None:
    (place / "a.md").write_text(FRONT.replace("purpose: tests\n", ""), encoding="utf-8")
    listed = img2img("model", "list")
    assert listed.exit_code == 0
    assert "a.md.purpose is missing" in listed.stdout
    assert "b.pth" in listed.stdout
