"""The tool that compares ways to fill holes measures what it says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

PATH = Path(__file__).resolve().parent.parent / "tools" / "compare_inpainting.py"
SPEC = importlib.util.spec_from_file_location("compare_inpainting", PATH)
assert SPEC is not None and SPEC.loader is not None
compare_inpainting = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(compare_inpainting)


def test_smaller_holes_are_nearer_to_the_truth(sample: Path, tmp_path: Path) -> None:
    arguments = ["--images", sample, "--ratios", "0.1,0.4", "--side", "48", "--count", "2"]
    arguments += ["--sheet", tmp_path / "sheet", "--json", tmp_path / "scores.json"]
    result = CliRunner().invoke(compare_inpainting.main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0 and "2 photographs" in result.output
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    for kind in ("strokes", "blobs"):
        for way in ("telea", "navier_stokes"):
            few, many = (scores[f"{kind} {ratio}"][way] for ratio in ("0.1", "0.4"))
            assert few[0] > many[0] and few[1] > many[1]
            # what is known has no error: the whole is better than the holes by their share
            assert few[0] - few[2] == pytest.approx(-10 * np.log10(0.1), abs=0.1)
    assert len(list((tmp_path / "sheet").iterdir())) == 8
