"""`img2img upscale` and `img2img model` with small models made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.image.resize import resize
from img2img.models import ArchSpec, build
from img2img.weights import finder


def img2img(*arguments: Any, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], env=env)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, the same weights as a published checkpoint, and pictures of every kind."""
    folder = tmp_path_factory.mktemp("upscale")
    torch.manual_seed(0)
    generator = build(ArchSpec("compact", {"features": 8, "convs": 2, "scale": 4}))
    save_model(folder / "tiny.safetensors", generator, ModelInfo())
    torch.save({"params": generator.state_dict()}, folder / "tiny.pth")
    (folder / "in").mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_image(Image(colours), folder / "in" / "colour.png")
    write_image(Image(colours[..., :1]), folder / "in" / "grey.png")
    write_image(
        Image(colours.astype(np.uint16) * 257, colours[..., 0].astype(np.uint16)), folder / "in" / "deep.png"
    )
    return folder


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an x2 and an x4, in place of the package's."""
    place = tmp_path_factory.mktemp("shipped")
    torch.manual_seed(0)
    for scale in (2, 4):
        generator = build(ArchSpec("edsr", {"features": 4, "blocks": 1, "scale": scale}))
        save_model(place / f"x{scale}.safetensors", generator, ModelInfo())
    return place


def test_every_kind_comes_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    result = img2img("upscale", folder / "in", "-o", tmp_path, "-m", folder / "tiny.safetensors")
    assert result.exit_code == 0, result.output
    for name in ("colour.png", "grey.png", "deep.png"):
        before, after = read_image(folder / "in" / name), read_image(tmp_path / name)
        assert (after.height, after.width) == (80, 120)
        assert (after.channels, after.pixels.dtype) == (before.channels, before.pixels.dtype)
        assert (after.alpha is None) == (before.alpha is None)


def test_a_published_checkpoint_and_its_model_file_give_the_same(folder: Path, tmp_path: Path) -> None:
    for model in ("tiny.safetensors", "tiny.pth"):
        code = img2img(
            "upscale", folder / "in" / "colour.png", "-o", tmp_path / f"{model}.png", "-m", folder / model
        )
        assert code.exit_code == 0, code.output
    one, two = (read_image(tmp_path / f"{m}.png").pixels for m in ("tiny.safetensors", "tiny.pth"))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(("factor", "size"), [("2", (40, 60)), ("1.5", (30, 45)), ("8", (160, 240))])
def test_any_factor(folder: Path, tmp_path: Path, factor: str, size: tuple[int, int]) -> None:
    result = img2img("upscale", folder / "in", "-o", tmp_path, "-m", folder / "tiny.pth", "-s", factor)
    assert result.exit_code == 0, result.output
    for path in tmp_path.glob("*.png"):
        image = read_image(path)
        assert (image.height, image.width) == size


def test_flags_of_real_esrgan(folder: Path, tmp_path: Path) -> None:
    arguments = [
        "-n",
        folder / "tiny.pth",
        "-s",
        "4",
        "-t",
        "16",
        "--suffix",
        "_out",
        "--ext",
        "jpg",
        "--fp32",
    ]
    result = img2img("upscale", folder / "in" / "colour.png", "-o", tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "colour_out.jpg").width == 120


def test_another_model_means_new_work(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_model(
        tmp_path / "other.safetensors", build(ArchSpec("compact", {"features": 8, "convs": 2})), ModelInfo()
    )
    command = ["upscale", folder / "in", "-o", tmp_path / "out", "-m"]
    assert "3 done" in img2img(*command, folder / "tiny.pth").stderr
    assert "3 skipped" in img2img(*command, folder / "tiny.safetensors").stderr
    assert "3 done" in img2img(*command, tmp_path / "other.safetensors").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "nothing"], "there is no model 'nothing'"),
        (["-m", "missing/x.pth"], "there is no such model file"),
        (["-m", "in/colour.png"], "neither a PyTorch checkpoint nor a safetensors file"),
        (["-m", "tiny.pth", "-s", "0"], "--scale"),
        (["-m", "tiny.pth", "--device", "tpu"], "tpu"),
        (["-m", "tiny.pth", "--memory", "lots"], "not a size"),
        (["-m", "tiny.pth", "--strength", "1.5"], "--strength"),
    ],
)
def test_refusals(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(folder)
    result = img2img("upscale", "in", "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def nowhere(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """Lets models be looked for in `places` alone, the folder of the package left out."""
    monkeypatch.setattr(finder, "folders", lambda: list(places))


def test_without_any_model_a_sentence_says_why(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere(monkeypatch)
    result = img2img("upscale", folder / "in", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "x2 and x4" in result.stderr and "source tree" in result.stderr and "-m" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "size", "words"),
    [
        ([], (80, 120), "by 4 with the model x4"),
        (["-s", "2"], (40, 60), "by 2 with the model x2"),
        (["-s", "1.2"], (24, 36), "x2"),
        (["-s", "3"], (60, 90), "4 times as large and then reduced to 3 times"),
        (["-s", "5"], (100, 150), "From 4 times on it is bicubic"),
        (["--strength", "0.25"], (80, 120), "at strength 0.25"),
    ],
)
@pytest.mark.sampled(3)
def test_without_m_the_model_that_fits_the_factor_is_taken(
    shipped: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    size: tuple[int, int],
    words: str,
) -> None:
    nowhere(monkeypatch, shipped)
    result = img2img("upscale", folder / "in" / "colour.png", "-o", tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert words in result.stderr
    image = read_image(tmp_path / "colour.png")
    assert (image.height, image.width) == size


def test_a_file_called_x4_beside_the_pictures_is_not_the_model(
    shipped: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere(monkeypatch, shipped)
    (tmp_path / "x4").write_text("notes")
    monkeypatch.chdir(tmp_path)
    assert img2img("upscale", folder / "in" / "colour.png", "-o", "out").exit_code == 0


def test_strength_0_is_bicubic_and_another_strength_is_new_work(
    shipped: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere(monkeypatch, shipped)
    command = ["upscale", folder / "in" / "colour.png", "-o", tmp_path, "-s", "3", "--strength"]
    assert "1 done" in img2img(*command, "0").stderr
    source = read_image(folder / "in" / "colour.png").pixels
    assert np.array_equal(read_image(tmp_path / "colour.png").pixels, resize(source, 60, 90))
    assert "1 skipped" in img2img(*command, "0").stderr
    assert "1 done" in img2img(*command, "0.5").stderr


def test_model_import_and_info(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    assert img2img("model", "import", folder / "tiny.pth", "-o", out).exit_code == 0
    generator, info = open_model(out)
    assert generator.spec.name == "compact"
    assert "tiny.pth" in info.origin["file"]
    facts = json.loads(img2img("model", "info", out, "--json").stdout)
    assert (facts["architecture"], facts["scale"], facts["parameters"]) == (
        "compact",
        4,
        sum(p.numel() for p in generator.parameters()),
    )
    refused = img2img("model", "import", folder / "tiny.pth", "-o", out)
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (2, True)
    assert img2img("model", "import", folder / "tiny.pth", "-o", out, "--overwrite").exit_code == 0
    assert img2img("model", "import", folder / "tiny.pth", "-o", tmp_path / "x.pth").exit_code == 2


def test_models_have_names_in_the_weights_folder(folder: Path, tmp_path: Path) -> None:
    env = {"IMG2IMG_WEIGHTS_DIR": str(folder)}
    listed = json.loads(img2img("model", "list", "--json", env=env).stdout)
    assert listed["tiny"] == str(folder / "tiny.safetensors")
    assert "tiny" in img2img("model", "list", env=env).stdout
    result = img2img("upscale", folder / "in", "-o", tmp_path, "-n", "tiny", env=env)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("adversarial", [True, None])
def test_the_colours_of_a_gan_are_fixed_unless_one_says_no(
    folder: Path, tmp_path: Path, adversarial: bool | None
) -> None:
    generator, _ = open_model(folder / "tiny.safetensors")
    save_model(tmp_path / "m.safetensors", generator, ModelInfo(adversarial=adversarial))
    made = {}
    for fix in ((), ("--color-fix", "lowfreq"), ("--color-fix", "off")):
        place = tmp_path / "out"
        again = img2img(
            "upscale", folder / "in" / "colour.png", "-o", place, "-m", tmp_path / "m.safetensors", *fix
        )
        assert again.exit_code == 0, again.output
        assert "1 done" in again.stderr or "1 skipped" in again.stderr
        made["".join(fix[1:])] = read_image(place / "colour.png").pixels, "1 done" in again.stderr
    gan = bool(adversarial)
    assert np.array_equal(made[""][0], made["lowfreq"][0]) == gan and made["lowfreq"][1] != gan
    assert np.array_equal(made[""][0], made["off"][0]) != gan


def test_a_model_between_two_is_of_a_gan_if_one_of_them_has_a_share(folder: Path, tmp_path: Path) -> None:
    generator, _ = open_model(folder / "tiny.safetensors")
    for name, known in (("psnr", False), ("gan", True), ("some", None)):
        save_model(tmp_path / f"{name}.safetensors", generator, ModelInfo(adversarial=known))
    for first, second, share, expected in (
        ("psnr", "gan", "0.1", True),
        ("psnr", "gan", "0", False),
        ("some", "gan", "0.5", True),
        ("psnr", "some", "0.5", None),
    ):
        files = tmp_path / f"{first}.safetensors", tmp_path / f"{second}.safetensors"
        made = tmp_path / "made.safetensors"
        done = img2img("model", "blend", *files, "--alpha", share, "-o", made, "--overwrite")
        assert done.exit_code == 0, done.output
        assert open_model(made)[1].adversarial is expected
