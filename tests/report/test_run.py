"""What the folder of a run says of it: state, length, best value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folders import CONFIG, line, make_run

from img2img.errors import UsageError
from img2img.report import find_runs, is_run, read_run
from img2img.report.run import is_higher_better, read_runs
from img2img.training.lock import locked


def test_a_finished_run_and_one_that_was_broken_off(tmp_path: Path) -> None:
    done = read_run(make_run(tmp_path / "done"))
    assert (done.state, done.step, done.total, done.method, done.notes) == ("finished", 10, 10, "pix2pix", [])
    best = done.best()
    assert best is not None and (best.metric, best.value, best.step) == ("psnr", 25.0, 5)
    assert list(done.samples) == [5, 10] and done.config["method.generator.name"] == "unet"
    assert read_run(make_run(tmp_path / "part", steps=6)).state == "stopped"


def test_a_run_whose_lock_is_held_is_running_and_nothing_is_written(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with locked(folder):
        before = {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
        assert read_run(folder).state == "running"
        assert before == {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
    (folder / ".lock").write_text("12345")  # a killed process left it
    assert read_run(folder).state == "finished"


@pytest.mark.parametrize(
    ("ended", "state", "reason"),
    [
        ({"state": "failed", "reason": "the disk is full."}, "failed", "the disk is full."),
        ({"state": "stopped"}, "stopped", ""),
        ({"state": "finished"}, "finished", ""),
        (None, "failed", "It ended without a word: it was killed, or the machine went down."),
    ],
)
def test_the_record_says_how_it_ended(ended: object, state: str, reason: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=5)
    start = {"environment": {"torch": "2.13"}} | ({} if ended is None else {"ended": ended})
    (folder / "run.json").write_text(json.dumps({"total": 40, "starts": [start]}))
    run = read_run(folder)
    assert (run.state, run.reason, run.total, run.environment) == (state, reason, 40, {"torch": "2.13"})


@pytest.mark.parametrize(
    "record", ["", "[]", "[" * 10_000, '{"starts": [1], "total": "x"}', '{"starts": {}}']
)
def test_a_damaged_record_is_no_obstacle(record: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "run.json").write_text(record)
    assert read_run(folder).step == 10


def test_of_epochs_the_log_tells_the_steps_in_all(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    text = CONFIG.format(method="pix2pix", steps="null") + "  epochs: 20\n"
    (folder / "config.yaml").write_text(text)
    lines = [line(step, "training", epoch=(4 * step - 1) // 278, losses={}) for step in (50, 100, 500, 1390)]
    (folder / "metrics.jsonl").write_text("".join(lines))  # 278 pictures an epoch, four a step
    run = read_run(folder)
    assert (run.total, run.state) == (1390, "finished")


@pytest.mark.parametrize(
    "config", [None, "a: [", "- 1\n", "training: 3\n", "training:\n  stages: [1, {steps: x}]\n"]
)
def test_a_configuration_that_is_damaged_or_not_there(config: str | None, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "config.yaml").unlink()
    if config is not None:
        (folder / "config.yaml").write_text(config)
    run = read_run(folder)
    assert run.step == 10 and run.total is None


def test_runs_are_found_and_bear_names_that_differ(tmp_path: Path) -> None:
    places = [make_run(tmp_path / each) for each in ("a/run", "b/run", "b/ünï <b>")]
    (tmp_path / "b" / ".hidden").mkdir()
    assert find_runs(tmp_path) == places
    assert [run.name for run in read_runs(places)] == ["a/run", "b/run", "ünï <b>"]
    assert is_run(places[0]) and not is_run(tmp_path)
    with pytest.raises(UsageError, match="not the folder of a run"):
        read_run(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        find_runs(tmp_path / "nowhere")


def test_the_metric_that_decides_can_be_chosen(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    best = run.best("ssim")
    assert best is not None and best.step == 5
    assert run.best("lpips") is None
    assert is_higher_better("psnr_y") and is_higher_better("mean_iou") and is_higher_better("ms_ssim")
    assert not any(map(is_higher_better, ("l1", "validation/lpips_vgg", "fid", "cycle_distance", "val/loss")))


@pytest.mark.parametrize(
    "config",
    [
        "training: {epochs: 5}",
        f"training: {{epochs: 1{'0' * 400}}}",
        f"training: {{steps: 1{'0' * 400}}}",
        "training: {steps: -5}",
        "training: {stages: [{steps: 5}, 3]}",
    ],
)
def test_numbers_that_count_nothing_are_no_total_and_no_obstacle(config: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "config.yaml").write_text(config)
    (folder / "metrics.jsonl").write_text(line(1, "training", samples=0, epoch=2, losses={}))
    run = read_run(folder)
    assert (run.step, run.total) == (1, None)
