"""The page's look at a run: what is written so far, and nothing from elsewhere."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from img2img.errors import UsageError
from img2img.ui.places import Roots
from img2img.ui.trainings import curves, open_run, runs, words


@pytest.fixture
def root(tmp_path: Path) -> Path:
    run = tmp_path / "root" / "runs" / "one"
    (run / "samples").mkdir(parents=True)
    lines = [
        {"step": s, "kind": "training", "losses": {"g_l1": 1 / s, "norm_g": 9.0, "bad": None}}
        for s in range(1, 2001)
    ]
    lines.append({"step": 2000, "samples": 2000, "kind": "validation", "psnr": 31.5})
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 2001, "kind": "trai')
    (run / "config.yaml").write_text("method: {name: pix2pix}\ntraining: {steps: 4000}\n")
    for step in (1000, 2000):
        (run / "samples" / f"step_{step:08}.png").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    (run / "samples" / "step_00003000.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "root"


def test_curves_scores_grids_and_how_far_it_is(root: Path) -> None:
    run = open_run(Roots([root]), "runs/one")
    assert words(run) == (
        "pix2pix, stopped, step 2,000 of 4,000, best psnr 31.5 at step 2,000, samples of step 2,000."
    )
    losses = curves(run, "losses")
    assert {name for name, points in losses.items() if points} == {"g_l1"}
    assert len(losses["g_l1"]) <= 400
    # means of neighbours: the sum over all steps is kept
    assert math.fsum(5 * value for _, value in losses["g_l1"]) == pytest.approx(
        math.fsum(1 / s for s in range(1, 2001)), rel=1e-3
    )
    assert curves(run, "validation") == {"psnr": [(2000, 31.5)]}
    assert list(run.samples) == [1000, 2000]


def test_runs_are_found_below_the_roots_and_others_are_refused(root: Path) -> None:
    outside = root.parent / "elsewhere"
    outside.mkdir()
    (outside / "metrics.jsonl").write_text('{"step": 1, "kind": "training"}\n')
    (root / "linked").mkdir()
    (root / "linked" / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    (root / "all").symlink_to(outside)
    assert runs(Roots([root])) == [(root / "runs" / "one").resolve()]
    for name in ("runs", "../elsewhere", "/", "linked", "all", "runs/one/config.yaml", ""):
        with pytest.raises(UsageError):
            open_run(Roots([root]), name)
