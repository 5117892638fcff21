"""The benchmark of networks runs, compares like with like, and bf16 stays close on published weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "benchmark.py"
pytestmark = pytest.mark.slow


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)


def test_infer_compares_with_the_baseline():
    done = benchmark(
        "infer", "--network", "compact", "--images", "4", "--size", "32", "--rounds", "2",
        "--backend", "eager", "--precision", "fp32", "--device", "cpu", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    baseline, ours = numbers["runs"]
    assert (baseline["name"], baseline["ratio"], ours["name"]) == ("baseline", 1.0, "eager (eager fp32)")
    assert ours["ratio"] == pytest.approx(ours["images_per_second"] / baseline["images_per_second"], rel=0.05)
    low, high = ours["ratio_of_rounds"]
    assert low <= ours["ratio"] <= high and ours["peak_mib"] > 50
    # 3 to 64 channels, 16 times 64 to 64, 64 to 48: 3x3 convolutions of 32x32 positions
    assert numbers["gflop_per_image"] == pytest.approx(
        2 * 9 * 32 * 32 * (3 * 64 + 16 * 64 * 64 + 64 * 48) / 1e9, abs=0.01
    )
    assert ours["share_of_ceiling"] == pytest.approx(
        ours["gflops"] / numbers["ceiling_gflops"]["fp32"], abs=0.01
    )


def test_infer_fails_below_the_minimum():
    done = benchmark(
        "infer", "--network", "compact", "--images", "1", "--size", "16", "--backend", "eager",
        "--device", "cpu", "--minimum", "1000",
    )  # fmt: skip
    assert done.returncode == 1 and "less than 1000" in done.stderr


def test_bf16_on_published_weights(test_data, tmp_path):
    weights = test_data / "data" / "weights"
    models = [
        weights / "realesrgan" / "realesr-animevideov3.pth",
        weights / "srgan_leftthomas" / "netG_epoch_4_100.pth",
    ]
    for path in (test_data / "data" / "sr" / "Set5" / "image_SRF_4").glob("*LR.png"):
        shutil.copy(path, tmp_path)
    done = benchmark("fidelity", *(f"-m{model}" for model in models), "--photos", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 10 and all(row["psnr"] >= 50 and row["within_4"] >= 0.999 for row in rows)
    assert any(row["largest"] > 0 for row in rows), "bf16 was computed"
