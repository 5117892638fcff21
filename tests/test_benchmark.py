"""The benchmark of the batch engine runs, small, with all its commands."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

TOOLS = Path(__file__).resolve().parent.parent / "tools"
pytestmark = pytest.mark.slow
SMALL = {
    "engine": ["--images", "1", "--rounds", "1", "--minimum", "0"],
    "memory": ["--few", "5", "--many", "50", "--maximum", "200"],
    "plan": ["--files", "600"],
    "evaluate": ["--pairs", "3", "--maximum", "1000"],
    "startup": ["--rounds", "1", "--only", "completion", "--only", "process", "--maximum", "1000"],
}
ELSEWHERE = {
    "cluster",
    "degrade",
    "fidelity",
    "fused",
    "infer",
    "train",
    "video",
}  # below, test_benchmark_infer.py, test_benchmark_train.py, batch/test_ray.py, video/test_video_edges.py


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("benchmark")


def test_every_command_is_tried_somewhere(tool):
    listed = set(tool.benchmark.list_commands(None))
    assert {name for name in listed if not tool.benchmark.get_command(None, name).hidden} == set(
        SMALL
    ) | ELSEWHERE


@pytest.mark.parametrize("name", SMALL)
def test_a_small_run(tool, name, tmp_path):
    done = CliRunner().invoke(tool.benchmark, [name, *SMALL[name], "--folder", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    found = {
        "engine": lambda: numbers["engine_to_reference"] > 0 and numbers["images"] == 1,
        "memory": lambda: [entry["done"] for entry in numbers["files"].values()] == [5, 50],
        "plan": lambda: numbers["files"] == 600,
        "evaluate": lambda: numbers["pairs"] == 3 and numbers["seconds_for_1000"] > 0,
        "startup": lambda: (
            set(numbers["ratios"]) == {"completion --help", "completion", "process --help", "process"}
        ),
    }
    assert found[name](), numbers
    assert not list(tmp_path.iterdir())


def test_the_engine_fails_below_the_minimum(tool, tmp_path):
    done = CliRunner().invoke(
        tool.benchmark, ["plan", "--files", "5", "--maximum", "0", "--folder", str(tmp_path)]
    )
    assert done.exit_code == 1 and "planning took" in done.output


def test_a_small_run_of_degradations(tool):
    from img2img.processors.degradations import DEGRADATIONS

    command = ["degrade", "--patches", "8", "--steps", "0", "--json"]
    done = CliRunner().invoke(tool.benchmark, command)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["degradations"]
    assert [row["kind"] for row in rows] == list(DEGRADATIONS)
    assert all(row["patches_per_second"] > 0 for row in rows)


def test_a_small_run_of_one_pass(tool):
    from img2img.models.fused import _kernels

    done = CliRunner().invoke(
        tool.benchmark, ["fused", "-m", "clean", "--size", "32", "--rounds", "1", "--json"]
    )
    if not _kernels():
        assert done.exit_code == 1 and "no kernels" in done.output
        return
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["model"] == "clean" and row["ratio"] > 0 and max(row["error"].values()) < 3


def test_a_small_run_of_videos(tool):
    pytest.importorskip("av", reason="videos need PyAV")
    command = ["video", "--frames", "12", "--size", "64x48", "--rounds", "1", "--json"]
    done = CliRunner().invoke(tool.benchmark, command)
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    assert numbers["frames"] == 12 and numbers["bound"] in ("decode", "model", "encode", "cores")
    assert numbers["share"] > 0 and min(numbers[f"{part}_fps"] for part in ("decode", "model", "encode")) > 0


def test_the_start_of_every_command_is_measured(tool):
    startup = importlib.import_module("benchmark_startup")
    assert set(startup.RUNS) == set(startup.names())
