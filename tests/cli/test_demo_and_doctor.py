"""The two commands for the first minute."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli import doctor
from img2img.cli.main import cli
from img2img.evaluation import SuperResolutionProtocol
from img2img.image import Image, read_image, write_image
from img2img.image.resize import resize
from img2img.image.sheet import hardest
from img2img.models import EDSR
from img2img.weights import finder


def run_demo(output: Path) -> str:
    result = CliRunner().invoke(cli, ["demo", "-o", str(output)])
    assert result.exit_code == 0, result.output
    return result.stderr


def test_demo_without_models_shows_operations_and_can_be_repeated(
    tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder, "folders", list)
    for _ in range(2):
        assert "not in this installation" in run_demo(tmp_path)
    for path in sample.glob("*.jpg"):
        before, after = read_image(path), read_image(tmp_path / "enhanced" / path.name)
        assert after.pixels.shape == before.pixels.shape
        assert not np.array_equal(after.pixels, before.pixels)
    picture = read_image(tmp_path / "compare.png")
    assert picture.width > 1800
    assert picture.height > 600
    assert not (tmp_path / "big").exists()


@pytest.mark.parametrize("photos", ["kitten-on-lawn.jpg", pytest.param("*.jpg", marks=pytest.mark.slow)])
def test_demo_with_a_model_measures_it_against_bicubic(
    tmp_path: Path, sample: Path, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is nearest neighbour, whose PSNR is known to be below that of bicubic; clean does nothing."""
    folder = tmp_path / "sample"
    folder.mkdir()
    for path in sample.glob(photos):
        if photos == "*.jpg":
            shutil.copy(path, folder)
        else:  # a part of it
            write_image(Image(read_image(path).pixels[:160, :200]), folder / path.name)
    monkeypatch.setattr(import_module("img2img.cli.demo"), "files", lambda package: tmp_path)
    sample = folder
    (tmp_path / "models").mkdir()
    for name, scale in (("x4", 4), ("clean", 1)):
        generator = EDSR(features=1, blocks=0, scale=scale)
        torch.nn.init.zeros_(generator.last.weight)
        save_model(tmp_path / "models" / f"{name}.safetensors", generator, ModelInfo())
    monkeypatch.setattr(finder, "folders", lambda: [tmp_path / "models"])
    text = run_demo(tmp_path / "demo")
    assert "has learned" not in text  # only what ships has
    found = re.findall(r"^  (\S+) +bicubic ([\d.]+) dB, x4 ([\d.]+) dB$", text, re.MULTILINE)
    assert len(found) == len(list(sample.glob("*.jpg")))
    protocol = SuperResolutionProtocol(4)
    for name, bicubic, nearest in found[:1]:  # SSIM takes a while
        truth = protocol.truth(read_image(sample / f"{name}.jpg"))
        small = protocol.low_resolution(truth)
        assert np.array_equal(read_image(tmp_path / "demo" / "small" / f"{name}.png").pixels, small.pixels)
        made = small.pixels.repeat(4, 0).repeat(4, 1)
        assert np.array_equal(read_image(tmp_path / "demo" / "big" / f"{name}.png").pixels, made)
        plain = resize(small.pixels, truth.height, truth.width)
        for pixels, said in ((plain, bicubic), (made, nearest)):
            assert said == f"{protocol.measure(Image(pixels), truth)['psnr_y']:.2f}"
    assert read_image(tmp_path / "demo" / "compare.png").height > 250 * (2 * len(found) + 1)
    (said,) = re.findall(r"^  kitten-on-lawn +damaged ([\d.]+) dB, clean ([\d.]+) dB$", text, re.MULTILINE)
    assert said[0] == said[1] and 25 < float(said[0]) < 35
    before, after = (
        read_image(tmp_path / "demo" / f / "kitten-on-lawn.png") for f in ("damaged", "restored")
    )
    assert np.array_equal(before.pixels, after.pixels)


def test_the_part_that_is_shown_is_the_worst() -> None:
    truth = np.zeros((20, 30, 3), np.uint8)
    guess = truth.copy()
    guess[13:15, 22:25] = 200
    guess[2, 2] = 100
    top, left = hardest(Image(truth), Image(guess), 8, 8, 4)
    assert (top, left) in ((8, 20), (12, 20))
    assert hardest(Image(truth), Image(guess), 20, 28, 4) == (0, 0)


def test_doctor_finds_this_installation_well() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    findings = {finding["topic"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert {"python", "torch", "cv2", "licence", "memory", "bf16 units"} <= set(findings)
    assert result.exit_code == int(any(f["status"] == "problem" for f in findings.values()))
    assert "opencv-python" in findings["cv2"]["text"]


def test_doctor_names_the_agpl_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "2.5.1" if name == "albumentationsx" else None)
    (finding,) = doctor.albumentations()
    assert finding.status == "problem"
    assert "AGPL" in finding.text
    assert "uninstall" in finding.repair


def test_doctor_repairs_a_broken_cv2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = doctor.opencv()
    assert finding.status == "problem"
    assert "libGL.so.1" in finding.text
    assert "--force-reinstall --no-deps opencv-python-headless" in finding.repair


def test_doctor_sees_two_versions_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"opencv-python": "5.0.0", "opencv-python-headless": "4.12.0"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    monkeypatch.setattr(doctor, "_owns_cv2", lambda name: name == "opencv-python")
    assert [finding.status for finding in doctor.opencv()] == ["ok", "problem"]


def test_bench_measures_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    from img2img.inference import ceiling

    speeds = ceiling.matrix_ceilings("cpu", size=64, seconds=0.01)
    assert set(speeds) == {"fp32", "bf16"}
    assert all(speed > 0 for speed in speeds.values())
