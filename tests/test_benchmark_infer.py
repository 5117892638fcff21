"""The benchmark of networks runs, compares like with like, and bf16 stays close on published weights."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import img2img
from img2img.image import Image, read_image, write_image
from img2img.inference.ceiling import matrix_ceilings
from img2img.models import generators

TOOLS = Path(__file__).resolve().parent.parent / "tools"
TOOL = TOOLS / "benchmark.py"


@pytest.fixture
def tool(monkeypatch):
    """The module, with ceilings that take no time."""
    monkeypatch.syspath_prepend(str(TOOLS))
    tool = importlib.import_module("benchmark_infer")
    monkeypatch.setattr(tool, "ceilings", lambda device: matrix_ceilings("cpu", 64, 0.01))
    return tool


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)


def test_every_architecture_has_an_entry(tool):
    assert {spec.name for spec, _ in tool.NETWORKS.values()} == set(generators)


def test_operations_are_counted_without_memory_also_where_borders_are_reflected(tool):
    spec, _ = tool.NETWORKS["resnet9"]
    assert (tool.fitting(spec, 33), tool.fitting(spec, 36)) == (36, 36)
    assert tool.flops_of(spec, 64) >= 3.9 * tool.flops_of(spec, 32) > 1e8


@pytest.mark.slow
def test_neighbours_calculate_and_go_with_what_they_stand_beside(tool):
    neighbours = importlib.import_module("benchmark_machine").neighbours
    before = psutil.Process().children()
    with neighbours(2):
        beside = [process for process in psutil.Process().children() if process not in before]
        for process in beside:
            while sum(process.cpu_times()[:2]) < 0.3:
                assert process.is_running()
    assert len(beside) == 2 and not any(process.is_running() for process in beside)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("adain", "autoencoder", "compact", "cut_resnet", "dtn", "edsr", "edsr_paper", "flow_unet"),
        *("msrresnet", "nafnet", "plksr_tiny", "realplksr", "resnet9", "rrdbnet", "spade_resnet", "span"),
        *("srresnet", "style_resnet", "unet256"),
    ],
)
def test_infer_runs_for_every_network(tool, name):
    options = ["--network", name, "--images", "2", "--size", "16", "--rounds", "2", "--backend", "eager"]
    done = CliRunner().invoke(tool.infer, [*options, "--device", "cpu", "--busy", "1", "--json"])
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    assert (numbers["network"], numbers["busy"]) == (name, 1) and "1 busy process" in numbers["machine"]
    assert [entry["name"].split(" (")[0] for entry in numbers["runs"]] == [
        "baseline",
        "eager fp32",
        "eager auto",
    ]
    assert all(entry["ratio"] > 0 and entry["share_of_ceiling"] > 0 for entry in numbers["runs"])


@pytest.mark.slow
def test_infer_takes_several_networks(tool):
    options = ["--network", "compact", "--network", "resnet9", "--images", "1", "--size", "8"]
    done = CliRunner().invoke(tool.infer, [*options, "--backend", "eager", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert [line.split(",")[0] for line in done.stdout.splitlines() if "GFLOP each" in line] == [
        "compact",
        "resnet9",
    ]


@pytest.mark.slow
def test_infer_compares_with_the_baseline():
    done = benchmark(
        "infer", "--network", "compact", "--images", "4", "--size", "32", "--rounds", "2",
        "--backend", "eager", "--precision", "fp32", "--device", "cpu", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    baseline, ours = numbers["runs"]
    assert (baseline["name"], baseline["ratio"]) == ("baseline", 1.0)
    assert ours["name"] == "eager fp32 (eager fp32)"
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


@pytest.mark.slow
def test_infer_fails_below_the_minimum():
    done = benchmark(
        "infer", "--network", "compact", "--images", "1", "--size", "16", "--backend", "eager",
        "--device", "cpu", "--minimum", "1000",
    )  # fmt: skip
    assert done.returncode == 1 and "less than 1000" in done.stderr


@pytest.mark.slow
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


@pytest.mark.slow
def test_fidelity_of_the_model_that_ships(tool, sample, tmp_path):
    pixels = read_image(sorted(sample.glob("*.jpg"))[0]).pixels[:32, :32]
    write_image(Image(np.ascontiguousarray(pixels)), tmp_path / "corner.png")
    weights = Path(img2img.__file__).parent / "weights" / "x2.safetensors"
    done = CliRunner().invoke(
        tool.fidelity,
        ["-m", str(weights), "--photos", str(tmp_path), "--minimum", "35", "--within", "0.9", "--json"],
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["picture"]) == ("x2.safetensors", "corner.png") and row["psnr"] >= 35
