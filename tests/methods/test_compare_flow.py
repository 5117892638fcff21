"""The tool that compares models of several results measures what it says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from samples import experiment, write

from img2img.fields import PAIRED
from img2img.image import read_image
from img2img.training import train

PATH = Path(__file__).resolve().parents[2] / "tools" / "compare_flow.py"
SPEC = importlib.util.spec_from_file_location("compare_flow", PATH)
assert SPEC is not None and SPEC.loader is not None
compare_flow = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = compare_flow  # its dataclasses look there
SPEC.loader.exec_module(compare_flow)


def test_distances_are_those_by_hand() -> None:
    targets = torch.zeros(2, 3, 4, 4)
    made = torch.stack([targets + value for value in (0.1, 0.2, 0.6)])
    l1, of_mean, apart = compare_flow.measured(made, targets)
    assert (l1, of_mean) == pytest.approx((0.3, 0.3)) and apart == pytest.approx((0.1 + 0.5 + 0.4) / 3)
    signs = torch.stack([targets + 0.1, targets - 0.1])
    assert compare_flow.measured(signs, targets) == pytest.approx((0.1, 0, 0.2), abs=1e-7)
    assert compare_flow.measured(made[:1], targets)[2] == 0


@pytest.mark.slow
def test_a_table_and_a_grid_of_runs(tmp_path: Path) -> None:
    places = write(tmp_path / "data", PAIRED)
    train(experiment("flow", places, "generator.noise=1"), tmp_path / "flow")
    train(experiment("pix2pix", places), tmp_path / "pix2pix")
    command = [str(tmp_path / "flow"), str(tmp_path / "pix2pix"), "--steps", "1,3", "--samples", "2"]
    result = CliRunner().invoke(
        compare_flow.main, [*command, "--json", "--grid", str(tmp_path / "grid.png")], catch_exceptions=False
    )
    rows = {(row["run"], row["way"]): row for row in json.loads(result.stdout)}
    assert list(rows) == [("flow", "1 step"), ("flow", "3 steps"), ("pix2pix", "")]
    assert [row["diversity"] > 0 for row in rows.values()] == [True, True, False]
    assert all(row["l1_of_mean"] <= row["l1"] and row["learned"] == 8 for row in rows.values())
    assert read_image(tmp_path / "grid.png").width > 6 * 128
