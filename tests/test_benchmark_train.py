"""The benchmark of training compares like with like, and its numbers fit each other."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from img2img.inference.ceiling import matrix_ceilings
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / "benchmark.py"), "train", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("pix2pix", 256),
        ("cyclegan", 32),
        ("compact", 32),
        ("edsr", 32),
        pytest.param("esrgan", 128, marks=pytest.mark.slow),
    ],
)
@pytest.mark.sampled(1)
def test_the_plain_step_learns_what_the_trainer_learns(name, size, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    tool = importlib.import_module("benchmark_train")
    workload = tool.WORKLOADS[name]
    cpu = torch.device("cpu")
    ours, theirs = workload.make(4), workload.make(4)
    start = {key: value.clone() for key, value in ours.state_dict().items()}
    importlib.import_module("plain_steps").with_plain_layers(theirs)
    settings = TrainingSettings(steps=1, betas=workload.betas)
    runtime = Runtime("cpu", precision="fp32")
    trainer = Trainer(ours, settings, runtime, lambda step, group: tool.RATE)
    plain = workload.plain(theirs.train(), tool.RATE, workload.betas)
    torch.manual_seed(0)
    batches = tool._batches(ours, size, 1, cpu)
    for step in (trainer.step, plain):
        torch.manual_seed(1)  # of dropout
        for batch in batches:
            step(batch)
    found, moved = theirs.state_dict(), 0
    assert found.keys() == start.keys()
    for key, value in ours.state_dict().items():
        if key.endswith("weight") and value.ndim == 4:
            change = (value - start[key]).norm()
            moved += bool(change > 0)
            # Adam's first steps are as long as the rate allows: where gradients are tiny, rounding shows
            assert (value - found[key]).norm() <= 0.05 * change, key
    assert moved >= 10


@pytest.mark.slow
def test_training_is_compared_with_the_baseline():
    done = benchmark(
        "compact", "--features", "8", "--size", "64", "--batch", "2", "--rounds", "2", "--device", "cpu",
        "--precision", "fp32", "--threads", "1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    baseline, ours = numbers["runs"]
    assert (baseline["name"], baseline["ratio"], ours["name"]) == ("baseline", 1.0, "fp32")
    assert ours["ratio"] == pytest.approx(ours["images_per_second"] / baseline["images_per_second"], abs=0.02)
    assert ours["images_per_second"] == pytest.approx(2 * ours["steps_per_second"], rel=0.05)
    assert baseline["memory_format"] == ours["memory_format"] == "contiguous"
    # 3x3 convolutions of 2 x 16x16 positions: forward, to the weights, and but for the first to the input
    first, inner, last = 3 * 8, 16 * 8 * 8, 8 * 48
    products = 2 * 9 * 2 * 16 * 16 * (2 * first + 3 * (inner + last))
    assert numbers["tflop_per_step"] == pytest.approx(products / 1e12, abs=1e-4)
    assert ours["share_of_ceiling"] == pytest.approx(
        ours["gflops"] / numbers["ceiling_gflops"]["fp32"], abs=0.02
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [("pix2pix", 256), ("cyclegan", 32), ("cyclegan9", 32), ("compact", 32), ("edsr", 32), ("esrgan", 128)],
)
def test_every_workload_runs_in_both_precisions_beside_a_busy_process(name, size, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    tool = importlib.import_module("benchmark_train")
    assert name in tool.WORKLOADS and len(tool.WORKLOADS) == 6
    monkeypatch.setattr(tool, "ceilings", lambda device: matrix_ceilings("cpu", 64, 0.01))
    options = ["--features", "4", "--size", str(size), "--batch", "1", "--rounds", "1", "--steps", "1"]
    done = CliRunner().invoke(tool.train, [name, *options, "--device", "cpu", "--busy", "1", "--json"])
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    assert [entry["name"] for entry in numbers["runs"]] == ["baseline", "fp32", "auto"] and numbers[
        "busy"
    ] == 1
    assert all(entry["ratio"] > 0 and entry["cpu_ratio"] > 0 for entry in numbers["runs"])


@pytest.mark.slow
def test_training_fails_below_the_minimum():
    done = benchmark(
        "compact", "--features", "4", "--size", "32", "--batch", "1", "--rounds", "1", "--device", "cpu",
        "--minimum", "1000",
    )  # fmt: skip
    assert done.returncode == 1 and "less than 1000" in done.stderr and "images/s" in done.stdout


@pytest.mark.slow
def test_loading_makes_its_own_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    tool = importlib.import_module("benchmark_train")
    done = CliRunner().invoke(tool.train, ["loading", "--size", "32", "--rounds", "1"])
    assert done.exit_code == 0 and "JPEGs of 512x256" in done.output, done.output


@pytest.mark.slow
def test_loading_from_the_cache_is_compared_with_loading_from_files(test_data):
    done = benchmark(
        "loading", "--aligned", str(test_data / "data" / "facades" / "train"), "--rounds", "1", "--json"
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    files, cache = numbers["runs"]
    assert (files["name"], files["ratio"], cache["name"], numbers["samples"]) == ("files", 1.0, "cache", 64)
    assert cache["ratio"] == pytest.approx(
        cache["samples_per_second"] / files["samples_per_second"], rel=0.02
    )
