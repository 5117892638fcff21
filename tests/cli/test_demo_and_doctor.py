"""The two commands for the first minute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from img2img.cli import doctor
from img2img.cli.main import cli
from img2img.image import read_image


def test_demo_writes_a_comparison_and_can_be_repeated(tmp_path: Path, sample: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(cli, ["demo", "-o", str(tmp_path / "demo")])
        assert result.exit_code == 0, result.output
    assert "No trained weights ship" in result.stderr
    names = sorted(path.name for path in sample.glob("*.jpg"))
    for name in names:
        before, after = read_image(sample / name), read_image(tmp_path / "demo" / name)
        assert after.pixels.shape == before.pixels.shape
        assert not np.array_equal(after.pixels, before.pixels)
    picture = read_image(tmp_path / "demo" / "compare.png")
    assert picture.width > 900
    assert picture.height > 300 * len(names)


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
