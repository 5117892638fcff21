"""`img2img translate` with small networks in the layout of the originals, and several devices at once."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import programs
import pytest
import torch
from click.testing import CliRunner, Result

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.models import ArchSpec, UNet, build


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several sizes, a U-Net with dropout trained at 64, and a grey-to-colour ResNet."""
    folder = tmp_path_factory.mktemp("translate")
    torch.manual_seed(0)
    unet = build(ArchSpec("unet", {"features": 4, "downs": 6}))
    save_model(folder / "unet.safetensors", unet, ModelInfo(output="own", size=64))
    resnet = build(ArchSpec("resnet", {"in_channels": 1, "features": 4, "blocks": 1}))
    save_model(folder / "colourise.safetensors", resnet, ModelInfo(output="own"))
    (folder / "in").mkdir()
    random = np.random.default_rng(0)
    for height, width in ((32, 32), (40, 70), (5, 3)):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        write_image(Image(pixels, pixels[..., 0]), folder / "in" / f"{height}x{width}.png")
    return folder


@pytest.mark.parametrize("size", [None, "native", "128"])
def test_results_have_the_size_and_alpha_of_their_inputs(
    folder: Path, tmp_path: Path, size: str | None
) -> None:
    choice = [] if size is None else ["--size", size]
    result = img2img("translate", folder / "in", "-o", tmp_path, "-m", folder / "unet.safetensors", *choice)
    assert result.exit_code == 0, result.output
    for path in (folder / "in").iterdir():
        before, after = read_image(path), read_image(tmp_path / path.name)
        assert after.pixels.shape == before.pixels.shape
        assert after.alpha is not None
        assert before.alpha is not None
        assert np.array_equal(after.alpha, before.alpha)


def test_the_trained_size_is_the_default(folder: Path, tmp_path: Path) -> None:
    for number, choice in enumerate(([], ["--size", 64], ["--size", 128])):
        command = [
            "translate",
            folder / "in",
            "-o",
            tmp_path / str(number),
            "-m",
            folder / "unet.safetensors",
        ]
        assert img2img(*command, *choice).exit_code == 0
    first, second, third = (read_image(tmp_path / f"{n}" / "40x70.png").pixels for n in range(3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


@pytest.mark.parametrize(
    ("size", "seen"), [("128x64", (64, 128)), ("64X192", (192, 64)), ("128", (128, 128))]
)
def test_the_network_sees_width_by_height(
    folder: Path, tmp_path: Path, size: str, seen: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = set()
    monkeypatch.setattr(UNet, "forward", lambda self, x: shapes.add(tuple(x.shape[2:])) or x)
    command = ("translate", folder / "in", "-o", tmp_path, "-m", folder / "unet.safetensors", "--size", size)
    result = img2img(*command, "--backend", "eager")
    assert result.exit_code == 0, result.output
    assert shapes == {seen}


@pytest.mark.parametrize("size", ["96x", "x64", "0x64", "96x64x3", "-4", "a", "", "1e2"])
def test_what_is_no_size_is_refused_with_what_is_one(folder: Path, tmp_path: Path, size: str) -> None:
    command = ("translate", folder / "in", "-o", tmp_path, "-m", folder / "unet.safetensors")
    result = img2img(*command, f"--size={size}")
    assert result.exit_code == 2
    assert "WIDTHxHEIGHT (96x64)" in " ".join(result.output.split())


def test_the_size_that_is_the_default_is_no_change_when_it_is_named(folder: Path, tmp_path: Path) -> None:
    command = ("translate", folder / "in", "-o", tmp_path, "-m", folder / "unet.safetensors")
    assert "3 done" in img2img(*command).output
    assert "3 skipped" in img2img(*command, "--size", 64).output
    assert "3 done" in img2img(*command, "--size", 128).output


def test_what_the_model_makes_decides_grey_or_colour(folder: Path, tmp_path: Path) -> None:
    model = folder / "colourise.safetensors"
    result = img2img("translate", folder / "in" / "40x70.png", "-o", tmp_path / "x.png", "-m", model)
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "x.png").channels == 3


def test_dropout_is_off_by_default_and_repeatable_with_a_seed(folder: Path, tmp_path: Path) -> None:
    choices: dict[str, list[Any]] = {
        "off": [],
        "one": ["--dropout", "--seed", 1],
        "again": ["--dropout", "--seed", 1],
        "two": ["--dropout", "--seed", 2],
    }
    pixels = {}
    for name, choice in choices.items():
        out = tmp_path / f"{name}.png"
        command = ["translate", folder / "in" / "32x32.png", "-o", out, "-m", folder / "unet.safetensors"]
        assert img2img(*command, *choice).exit_code == 0
        pixels[name] = read_image(out).pixels
    assert np.array_equal(pixels["one"], pixels["again"])
    assert not np.array_equal(pixels["one"], pixels["two"])
    assert not np.array_equal(pixels["off"], pixels["one"])


def test_a_random_input_has_a_seed_and_a_folder_made_with_another_is_made_again(
    folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = build(ArchSpec("spade_resnet", {"features": 2, "downs": 1, "noise": 4, "hidden": 4}))
    palette = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    model, out = tmp_path / "oasis.safetensors", tmp_path / "out"
    save_model(model, net, ModelInfo("own", palette=palette))
    (tmp_path / "maps").mkdir()
    for number, side in enumerate((8, 9)):
        classes = np.random.default_rng(number).integers(0, 3, (side, side))
        write_image(Image(np.asarray(palette, np.uint8)[classes]), tmp_path / "maps" / f"{number}.png")

    def made(*choice: object) -> list[np.ndarray]:
        result = img2img("translate", tmp_path / "maps", "-o", out, "-m", model, *choice)
        assert result.exit_code == 0, result.output
        return [read_image(out / f"{number}.png").pixels for number in range(2)]

    first, other, again = made(), made("--seed", 1), made("--seed", 0)
    for a, b, c in zip(first, other, again, strict=True):
        assert np.array_equal(a, c) and not np.array_equal(a, b)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow that takes pictures of 16 pixels."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    arguments = {"features": 4, "downs": 1, "growth": 1, "steps": 2}
    save_model(path, build(ArchSpec("flow_unet", arguments)), ModelInfo("own", 16))
    return path


def test_samples_have_their_seeds_in_name_and_manifest_and_more_are_added(flow: Path, tmp_path: Path) -> None:
    """Also of a picture that is called like a sample of another one: no name is taken twice."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "a_seed0.png", "sub/a.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 13, 3), np.uint8)
        write_image(Image(pixels), tmp_path / "in" / name)
    command = ("translate", tmp_path / "in", "-o", tmp_path / "out", "-m", flow)
    assert "6 done" in img2img(*command, "--samples", 2).output
    manifest = (tmp_path / "out" / ".img2img" / "manifest.jsonl").read_text().splitlines()
    made_by = {line["begin"]: line["made_by"] for line in map(json.loads, manifest) if "begin" in line}
    names = ("a", "a_seed0", "sub/a")
    assert made_by == {f"{name}_seed{seed}.png": f"seed {seed}" for name in names for seed in range(2)}
    found = {name: read_image(tmp_path / "out" / name).pixels for name in made_by}
    assert len({pixels.tobytes() for pixels in found.values()}) == 6
    assert "3 done, 6 skipped" in img2img(*command, "--samples", 3).output
    alone = ("translate", tmp_path / "in" / "a.png", "-o", tmp_path / "one.png", "-m", flow, "--seed", 1)
    assert img2img(*alone).exit_code == 0
    assert np.array_equal(read_image(tmp_path / "one.png").pixels, found["a_seed1.png"])
    assert img2img(*alone, "--samples", 2).exit_code == 0
    assert np.array_equal(read_image(tmp_path / "one_seed1.png").pixels, found["a_seed1.png"])
    assert "9 done" in img2img(*command, "--samples", 3, "--steps", 5).output


@pytest.mark.parametrize("kind", ["deep", "alpha", "grey"])
@pytest.mark.sampled(1)
def test_samples_of_any_kind_of_picture(flow: Path, tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    if kind == "deep":
        image = Image(random.integers(0, 65536, (7, 21, 3), np.uint16))
    elif kind == "alpha":
        image = Image(
            random.integers(0, 256, (7, 21, 3), np.uint8), random.integers(0, 256, (7, 21), np.uint8)
        )
    else:
        image = Image(random.integers(0, 256, (7, 21, 1), np.uint8))
    write_image(image, tmp_path / "x.png")
    result = img2img("translate", tmp_path / "x.png", "-o", tmp_path, "-m", flow, "--samples", 1, "--seed", 7)
    assert result.exit_code == 0, result.output
    made = read_image(tmp_path / "x_seed7.png")
    assert made.pixels.shape == (7, 21, 3) and made.pixels.dtype == image.pixels.dtype
    assert (made.alpha is None) == (image.alpha is None)


@pytest.mark.slow
def test_samples_of_dropout(folder: Path, tmp_path: Path) -> None:
    command = ("translate", folder / "in" / "32x32.png", "-m", folder / "unet.safetensors", "--dropout")
    assert img2img(*command, "-o", tmp_path / "x.png", "--seed", 4).exit_code == 0
    assert img2img(*command, "-o", tmp_path / "out", "--seed", 3, "--samples", 2).exit_code == 0
    one, two = (read_image(tmp_path / "out" / f"32x32_seed{seed}.png").pixels for seed in (3, 4))
    assert not np.array_equal(one, two) and np.array_equal(two, read_image(tmp_path / "x.png").pixels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", "2", "-o", "-"], "writes one picture"),
        (["--samples", "2", "--set-attribute", "a"], "attributes"),
        (["--steps", "65"], "1 to 64"),
        (["--steps", "0"], "steps"),
        (["--samples", "0"], "samples"),
        (["--dropout"], "no dropout"),
        (["--backend", "openvino"], "OpenVINO cannot run this model"),
    ],
)
def test_refusals_of_a_flow(
    folder: Path,
    flow: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(folder)
    result = img2img("translate", "in/5x3.png", "-o", tmp_path / "out", "-m", flow, *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "0"], "native"),
        (["--size", "wide"], "native"),
        (["--norm-stats", "batch"], "norm-stats"),
        (["--backend", "abacus"], "abacus"),
        (["--dropout", "-m", "colourise.safetensors"], "no dropout"),
        (["--seed", "3", "-m", "colourise.safetensors"], "no random input"),
        (["--samples", "3", "-m", "colourise.safetensors"], "no random input"),
        (["--samples", "3"], "--dropout"),
        (["--steps", "3"], "leave --steps out"),
    ],
)
def test_refusals(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(folder)
    result = img2img("translate", "in", "-o", tmp_path / "out", "-m", "unet.safetensors", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_several_devices_share_the_files_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(command: list[str], stdin: int, stderr: int, **_: object) -> programs.Program:
        assert command[0] == sys.executable
        return programs.start(command[1:], stdin=stdin, stderr=stderr)

    fast = SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(import_module("img2img.cli.launch"), "subprocess", fast)
    result = img2img(
        *("translate", folder / "in", "-o", tmp_path / "out", "-m", folder / "unet.safetensors"),
        *("--device", "cpu,cpu", "--report", tmp_path / "report"),
    )
    assert result.exit_code == 0, result.output
    assert "[cpu] " in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert sorted(Path(line["source"]).name for line in lines) == ["32x32.png", "40x70.png", "5x3.png"]
    assert {line["status"] for line in lines} == {"done"}
    assert list(tmp_path.glob("report.*")) == []
