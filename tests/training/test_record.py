"""run.json, report.html and callbacks of a run: how it goes, where, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import img2img
from img2img.report import read_run
from img2img.training import TrainingSummary

SETS = [
    *("steps=4", "log_every=2", "sample_every=2", "validate_every=2", "save_every=2", "precision=fp32"),
    *("threads=1", "generator.downs=3", "generator.features=4", "discriminator.layers=1", "workers=0"),
]


class Calls(img2img.Watch):
    """Writes down what it is told; fails in the validation of step `fails`."""

    def __init__(self, fails: int = -1) -> None:
        self.fails = fails
        self.steps: list[int] = []
        self.samples: list[tuple[int, bool]] = []
        self.scores: list[tuple[int, bool]] = []
        self.warned: list[str] = []

    def step(self, step: int, total: int) -> None:
        self.steps.append(step)

    def sample(self, step: int, path: Path) -> None:
        self.samples.append((step, path.is_file()))

    def validation(self, step: int, scores: dict[str, float], is_best: bool) -> None:
        assert set(scores) >= {"psnr", "ssim", "l1"}
        self.scores.append((step, is_best))
        if step == self.fails:
            raise ValueError("enough")

    def warn(self, text: str) -> None:
        self.warned.append(text)


def go(pairs: Path, folder: Path, watch: Calls, stop_at: int = 99, resume: bool = False) -> TrainingSummary:
    experiment = img2img.read_experiment("smoke_pix2pix", SETS, source={"aligned": str(pairs)})
    questions = iter(range(99))  # the first one comes before the first step
    stop = lambda: next(questions) == stop_at  # noqa: E731
    return img2img.train(experiment, folder, watch=watch, stop=stop, resume=resume)


def test_a_run_tells_of_samples_and_scores_and_leaves_a_record(pairs: Path, tmp_path: Path) -> None:
    calls = Calls()
    go(pairs, tmp_path / "run", calls, stop_at=3)
    assert calls.steps == [1, 2, 3] and calls.samples == [(2, True)] and calls.scores == [(2, True)]
    run = read_run(tmp_path / "run")
    assert (run.state, run.total) == ("stopped", 4) and run.environment["precision"] == "fp32"
    assert '"state":"stopped"' in (tmp_path / "run" / "report.html").read_text()
    go(pairs, tmp_path / "run", calls := Calls(), resume=True)
    assert [step for step, _ in calls.scores] == [4] and calls.samples == [(4, True)]
    assert read_run(tmp_path / "run").state == "finished"
    assert '"state":"finished"' in (tmp_path / "run" / "report.html").read_text()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [start["ended"]["state"] for start in record["starts"]] == ["stopped", "finished"]


def test_what_a_callback_raises_ends_the_run_which_says_so(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="enough"):
        go(pairs, tmp_path / "run", Calls(fails=2))
    run = read_run(tmp_path / "run")
    assert (run.state, run.reason) == ("failed", "ValueError: enough")


def test_a_report_that_cannot_be_written_is_a_warning(pairs: Path, tmp_path: Path) -> None:
    class Blocks(Calls):
        def step(self, step: int, total: int) -> None:
            super().step(step, total)
            (tmp_path / "run" / "report.html").mkdir(exist_ok=True)

    summary = go(pairs, tmp_path / "run", calls := Blocks(), stop_at=2)
    assert summary.step == 2 and any("report.html" in text for text in calls.warned)
