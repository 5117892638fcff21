"""The page's look at a run: what is written so far, a line that is being written included."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from img2img.errors import UsageError
from img2img.ui.places import Roots
from img2img.ui.trainings import read_run, runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    run = tmp_path / "root" / "runs" / "one"
    (run / "samples").mkdir(parents=True)
    told = {"norm_g": 9.0, "bad": None}
    lines = [
        {"step": s, "kind": "training", "losses": {"g_l1": 1 / s, **told}, "images_per_second": 2.5}
        for s in range(1, 2001)
    ]
    lines.append({"step": 2000, "samples": 2000, "kind": "validation", "psnr": 31.5})
    text = "\n".join(map(json.dumps, lines)) + '\n[1]\nnull\n{"step": 2001, "kind": "trai'
    (run / "metrics.jsonl").write_text(text)
    (run / "config.yaml").write_text("method: {name: pix2pix}\n")
    for name in ("step_00001000.png", "step_00002000.png", "step_x.png"):
        (run / "samples" / name).write_bytes(b"")
    return tmp_path / "root"


def test_curves_scores_grids_and_how_far_it_is(root: Path) -> None:
    run = read_run(Roots([root]), "runs/one")
    assert run.step == 2000
    assert run.facts == "pix2pix, step 2,000, 2.5 images/s"
    assert set(run.losses) == {"g_l1"}
    curve = run.losses["g_l1"]
    assert len(curve) <= 400
    assert curve[-1][0] == 2000
    # means of neighbours: the sum over all steps is kept
    assert math.fsum(5 * value for _, value in curve) == pytest.approx(
        math.fsum(1 / s for s in range(1, 2001))
    )
    assert run.scores == {"psnr": [(2000, 31.5)]}
    assert list(run.grids) == [1000, 2000]


def test_runs_are_found_below_the_roots(root: Path) -> None:
    assert runs(Roots([root])) == [(root / "runs" / "one").resolve()]


@pytest.mark.parametrize("name", ["runs", "../root2", "/", "linked", "runs/one/config.yaml"])
def test_other_places_are_refused(root: Path, name: str) -> None:
    outside = root.parent / "elsewhere"
    outside.mkdir()
    (outside / "metrics.jsonl").write_text('{"step": 1}\n')
    (root / "linked").mkdir()
    (root / "linked" / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    with pytest.raises(UsageError):
        read_run(Roots([root]), name)
    assert runs(Roots([root])) == [(root / "runs" / "one").resolve()]
