"""The models that ship, their cards, and the tool that writes them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.config import front_matter
from img2img.errors import ConfigError
from img2img.image import Image, read_image, write_image
from img2img.models import EDSR
from img2img.weights import CLEAN, PHOTO, UPSCALERS, finder, ships, upscaler
from img2img.weights.card import read_card

ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = ROOT / "img2img" / "weights"
SHIPPED = sorted(PLACE.glob("*.safetensors"))


def opened_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_card_tool", ROOT / "tools" / "model_card.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_is_small_named_and_has_a_current_card(path: Path) -> None:
    generator, _ = open_model(path)
    card = read_card(path)
    assert card is not None and ships(path)
    assert card.scale == generator.scale
    assert path.stem.removesuffix("-fast") in (UPSCALERS.get(generator.scale), PHOTO, CLEAN)
    assert path.stat().st_size <= 5_000_000
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert text == opened_tool().card(path.stem), f"run python tools/model_card.py write {path.stem}"
    front, body = front_matter(text, path.name)
    assert isinstance(front, dict) and front["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for target in re.findall(r"\]\(([^):]+)\)", body):
        assert (PLACE / target).is_file(), target
    for score in card.results:
        assert score.psnr_y > score.bicubic_psnr_y and score.ssim_y > score.bicubic_ssim_y


@pytest.mark.parametrize(
    ("there", "factor", "name"),
    [
        ({2, 4}, 0.5, "x2"),
        ({2, 4}, 2, "x2"),
        ({2, 4}, 2.01, "x4"),
        ({2, 4}, 4, "x4"),
        ({2, 4}, 9, "x4"),
        ({2}, 4, "x2"),
        ({4}, 2, "x4"),
    ],
)
def test_the_model_for_a_factor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: set[int], factor: float, name: str
) -> None:
    monkeypatch.setattr(finder, "folders", lambda: [tmp_path])
    for scale in there:
        (tmp_path / f"x{scale}.safetensors").touch()
    assert upscaler(factor) == (int(name[1]), tmp_path / f"{name}.safetensors")
    assert not ships(tmp_path / f"{name}.safetensors")


def test_front_matter_is_told_from_rules_and_from_nonsense(tmp_path: Path) -> None:
    assert front_matter("---\na: 1\n---\n# b\n", "x") == ({"a": 1}, "# b\n")
    assert front_matter("# b\n\n---\n", "x") == (None, "# b\n\n---\n")
    assert front_matter("---\na: 1\n", "x")[0] is None
    with pytest.raises(ConfigError, match="x, line 2"):
        front_matter("---\na: 1\nb: [\n---\n", "x")
    (tmp_path / "m.md").write_bytes(b"---\n\xff\n---\n")
    assert read_card(tmp_path / "m.safetensors") is None
    assert read_card(tmp_path / "none.safetensors") is None


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool with folders of its own, where `nearest` is a model, with words for its card."""
    tool = opened_tool()
    for name in ("FOUND", "WORDS", "CARDS"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setattr(tool, name, tmp_path / name.lower())
    monkeypatch.setattr(finder, "folders", lambda: [tmp_path])
    save(tmp_path)
    (tmp_path / "words" / "nearest.md").write_text(
        "---\npurpose: tests\nlicense: CC0-1.0\ntraining_data: nothing\n"
        "published:\n- {model: Other, parameters: 1 M, Cup: 30.0, source: nobody}\n"
        "choices:\n- {way: a, dB: 1}\n- {way: b, dB: 2}\n---\n# Nearest\n\n{{facts}}\n\n{{results}}\n\n"
        "{{published}}\n\n{{speed}}\n\n{{pictures shown}}\n\n{{table choices}}\n\nMore with `{{facts}}`.\n",
        encoding="utf-8",
    )
    (tmp_path / "photos").mkdir()
    photo = read_image(ROOT / "docs" / "models" / "photos" / "cup.png")
    write_image(Image(photo.pixels[:132, :172].copy()), tmp_path / "photos" / "cup.png")
    return tool


def save(folder: Path) -> None:
    """Writes nearest neighbour by 2 as a model."""
    generator = EDSR(features=1, blocks=0, scale=2)
    torch.nn.init.zeros_(generator.last.weight)
    save_model(folder / "nearest.safetensors", generator, ModelInfo(), torch.float16)


def run(tool: ModuleType, *arguments: str | Path) -> str:
    result = CliRunner().invoke(tool.model_card, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_card_from_measurements_and_words(tool: ModuleType, tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "cup.png"
    run(tool, "measure", "nearest", "--set", f"Cup={photo.parent}")
    run(tool, "time", "nearest", "--photo", photo, "--width", "32", "--height", "24", "--runs", "1")
    run(tool, "pictures", "nearest", photo, "--label", "shown", "--jpeg", "50")
    run(tool, "write", "nearest")
    text = (tmp_path / "cards" / "nearest.md").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "found" / "nearest.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(facts) + text
    score = facts["results"][0]
    assert 0 < score["psnr_y"] < score["bicubic_psnr_y"]
    assert f"{score['bicubic_psnr_y']:.2f} / {score['bicubic_ssim_y']:.4f}" in text
    assert f"| Cup | 1 | {score['bicubic_psnr_y']:.2f}" in text
    assert "| Other | 1 M | 30.00 | nobody |" in text and "| b | 2 |" in text
    assert "32 x 24" in text and "found/" not in text and "fp16" in text
    assert "More with `{{facts}}`." in text  # only a line of its own is filled in
    picture = read_image(tmp_path / "found" / "nearest-shown.jpg")
    assert picture.width > 1280 and np.ptp(picture.pixels) > 100
    (tmp_path / "cards" / "nearest.md").rename(tmp_path / "nearest.md")
    card = read_card(tmp_path / "nearest.safetensors")
    assert card is not None
    assert card.summary() == (
        f"x2, tests, Cup {score['psnr_y']:.2f} dB (bicubic {score['bicubic_psnr_y']:.2f})"
    )


def test_a_card_of_a_model_that_restores(tool: ModuleType, tmp_path: Path) -> None:
    """The model is the identity, so it gains nothing."""
    generator = EDSR(features=1, blocks=0, scale=1)
    torch.nn.init.zeros_(generator.last.weight)
    save_model(tmp_path / "same.safetensors", generator, ModelInfo())
    (tmp_path / "words" / "same.md").write_text(
        "---\npurpose: tests\nlicense: CC0-1.0\ntraining_data: nothing\n---\n"
        "{{restored}}\n\n{{pictures shown}}\n",
        encoding="utf-8",
    )
    photo, noise = tmp_path / "photos" / "cup.png", "denoise,sigma:25,grey:0,signal:0"
    damages = ("--damage", f"noise 25={noise}", "--damage", "nothing=")
    run(tool, "restore", "same", "--set", f"Cup={photo.parent}", "--include", "c*.png", *damages)
    run(
        tool,
        "pictures",
        "same",
        photo,
        "--label",
        "shown",
        "--damage",
        noise,
        "--damage",
        "dejpeg,quality:10",
    )
    run(tool, "write", "same")
    text = (tmp_path / "cards" / "same.md").read_text(encoding="utf-8")
    noisy, nothing = json.loads((tmp_path / "found" / "same.json").read_text(encoding="utf-8"))["restored"]
    assert noisy["before"] == noisy["after"] and 19 < noisy["after"]["psnr_rgb"] < 22
    assert nothing["before"] == {} and np.isinf(nothing["after"]["psnr_y"])
    assert f"| Cup | noise 25 | 1 | {noisy['before']['psnr_y']:.2f} / " in text and "+0.00 dB" in text
    assert f"--include 'c*.png' --ext png --op degrade={noise}\n" in text and str(tmp_path) not in text
    assert "![Input, this model, photograph]" in text and "cup +0.00 dB, cup +0.00 dB" in text
    (tmp_path / "cards" / "same.md").rename(tmp_path / "same.md")
    card = read_card(tmp_path / "same.safetensors")
    assert card is not None and "Cup noise 25" in card.summary() and "(input " in card.summary()


def test_a_card_beside_other_models(tool: ModuleType, tmp_path: Path) -> None:
    """Nearest neighbour against itself under another name, and against bicubic, on what two seeds spoil."""
    (tmp_path / "words" / "nearest.md").write_text(
        "---\npurpose: tests\nlicense: CC0-1.0\ntraining_data: nothing\n---\n{{beside}}\n", encoding="utf-8"
    )
    photo = tmp_path / "photos" / "cup.png"
    write_image(Image(np.tile(read_image(photo).pixels, (2, 2, 1))), photo)
    options = ["--set", f"Cup={photo.parent}", "--seed", "3", "--seed", "4", "--photo", photo]
    other = f"Other={tmp_path / 'nearest.safetensors'}"
    output = run(tool, "beside", "nearest", *options, "--with", other, "--metric", "haarpsi")
    run(tool, "write", "nearest")
    said = [json.loads(line) for line in output.splitlines()]
    assert [(row["seed"], row["model"]) for row in said] == [
        (seed, model) for seed in (3, 4) for model in ("bicubic", "Other", "nearest")
    ]
    bicubic, same, ours = json.loads((tmp_path / "found" / "nearest.json").read_text())["beside"]["rows"]
    for key in ("psnr_y", "ssim_y", "haarpsi"):
        assert same[key] == ours[key] != bicubic[key]
        assert ours[key] == pytest.approx(np.mean([said[2][key], said[5][key]]), abs=1e-4)
    text = (tmp_path / "cards" / "nearest.md").read_text(encoding="utf-8")
    assert f"| **nearest** | **{ours['psnr_y']:.2f}** |" in text and str(tmp_path) not in text
    options = "--damage second_order --seed 3 --seed 4 --with Other=FILE --metric haarpsi --photo cup.png\n"
    assert f"beside nearest --set Cup=Cup {options}" in text
    assert "pictures: 1, after `second_order` with the seeds 3, 4" in text
    for title in ("bicubic", "truth", "nearest"):
        wrong = ["beside", "nearest", "--set", f"Cup={photo.parent}", "--photo", str(photo), "--with", title]
        result = CliRunner().invoke(tool.model_card, wrong)
        assert result.exit_code == 1 and "choose another" in result.output


def test_numbers_of_another_file_are_refused(tool: ModuleType, tmp_path: Path) -> None:
    run(tool, "time", "nearest", "--photo", tmp_path / "photos" / "cup.png", "--width", "8", "--height", "8")
    save_model(tmp_path / "nearest.safetensors", EDSR(features=2, blocks=0, scale=2), ModelInfo())
    result = CliRunner().invoke(tool.model_card, ["write", "nearest"])
    assert result.exit_code == 1 and "measure nearest again" in result.output
    assert "speed" not in tool.read_facts("nearest")
