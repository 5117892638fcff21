"""tools/gpu_check.py: whatever a check does, the others run, and the report tells."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"
GOOD = 'print(\'noise\'); print(\'{"status": "passed", "reason": "", "figures": {"speed": 2.5}}\')'
BAD = {
    "raises": ("raise ValueError('no')", "ended with code 1"),
    "dies": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    "hangs": ("import time; time.sleep(60)", "not done after 1 s"),
    "says nothing": ("", "without a result"),
    "says something else": ("print('[1, 2]')", "without a result"),
    "fails": ('print(\'{"status": "failed", "reason": "wrong", "figures": {}}\')', "wrong"),
}


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("gpu_check")


def checks(tool, **codes: str):
    return [
        tool.Check(name, [sys.executable, "-S", "-c", code], 1.0 if name == "hangs" else 30.0)
        for name, code in codes.items()
    ]


def test_one_that_fails_in_any_way_is_reported_and_the_others_run(tool, capsys):
    codes = {name: code for name, (code, _) in BAD.items()}
    report = tool.run(checks(tool, first=GOOD, **codes, last=GOOD), limit=100)
    assert (report["passed"], report["failed"], report["skipped"]) == (2, len(BAD), 0)
    by_name = {check["name"]: check for check in report["checks"]}
    assert by_name["last"] == {**by_name["first"], "name": "last", "seconds": by_name["last"]["seconds"]}
    assert by_name["last"]["status"] == "passed" and by_name["last"]["figures"] == {"speed": 2.5}
    for name, (_, reason) in BAD.items():
        assert by_name[name]["status"] == "failed" and reason in by_name[name]["reason"]
    assert "[8/8] last: passed" in capsys.readouterr().err
    page = tool.page({**report, "tiny": True, "device": "cpu"})
    assert "| dies | failed |" in page and "| last | passed | speed 2.5 |" in page


@pytest.mark.slow
def test_what_there_is_no_time_for_is_skipped_not_passed(tool):
    report = tool.run(checks(tool, hangs=BAD["hangs"][0], late=GOOD), limit=1.5)
    assert [check["status"] for check in report["checks"]] == ["failed", "skipped"]
    assert "are over" in report["checks"][1]["reason"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_every_check_has_a_time_and_every_network_a_check(tool):
    modules = {name: importlib.import_module(name) for name in ("device_checks", "benchmark_infer")}
    assert set(tool.NETWORKS) == set(modules["benchmark_infer"].NETWORKS)
    others = {name for name in tool.BUDGETS if not name.startswith(("inference ", "training "))}
    assert others == set(modules["device_checks"].PLAIN)


def check(*arguments: str) -> tuple[int, dict]:
    done = subprocess.run(
        [sys.executable, str(TOOLS / "gpu_check.py"), "--tiny", *arguments], capture_output=True, text=True
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_tiny_on_a_cpu_it_comes_to_its_end(tool, tmp_path):
    code, report = check(
        "--device", "cpu", "--report", str(tmp_path / "r"), "--markdown", str(tmp_path / "m")
    )
    found = {entry["name"]: entry for entry in report["checks"]}
    assert code == 0 and report["failed"] == 0, report
    assert set(found) == set(tool.BUDGETS) and json.loads((tmp_path / "r").read_text()) == report
    assert "# Checked on a device" in (tmp_path / "m").read_text()
    skipped = {name for name, entry in found.items() if entry["status"] == "skipped"}
    needs_cuda = {"tests marked gpu", "peak memory", "training pix2pix, graphs", "training cyclegan, graphs"}
    needs_compiler = {name for name in tool.BUDGETS if "compile" in name}
    assert needs_cuda <= skipped <= needs_cuda | needs_compiler
    assert all(found[name]["reason"] for name in skipped)
    for name in tool.NETWORKS:
        assert {"fp32", "bf16", "fp16"} <= set(found[f"inference {name}"]["figures"])
    assert found["out of memory"]["figures"]["times"] > 0


@pytest.mark.slow
def test_without_a_gpu_cuda_fails_instead_of_passing():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    code, report = check("--device", "cuda", "--check", "out of memory")
    assert code == 1 and [entry["status"] for entry in report["checks"]] == ["failed", "failed"]
    assert "no CUDA device" in report["checks"][1]["reason"]
