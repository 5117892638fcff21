"""metrics.jsonl, whatever has happened to it: what it says is shown, what is lost is said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from run_folders import line

from img2img.report.log import LoggedSeries, read_log


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join(each.encode() if isinstance(each, str) else each for each in lines))
    return path


def test_numbers_have_their_names_and_steps(tmp_path: Path) -> None:
    log = read_log(
        write(
            tmp_path / "metrics.jsonl",
            line(2, "training", epoch=0, losses={"g_l1": 3.0}, rates={"generator": 0.1}, images_per_second=7),
            line(4, "validation", psnr=20.0, classes={"sky": 0.5}),
        )
    )
    assert set(log.series) == {
        "losses/g_l1",
        "rates/generator",
        "images_per_second",
        "validation/psnr",
        "validation/classes/sky",
    }
    assert list(log.series["losses/g_l1"].steps) == [2] and list(log.series["losses/g_l1"].samples) == [8]
    assert (log.step, log.samples, log.epoch, log.notes) == (4, 16, 0, [])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty"),
        (
            [line(1, "training", losses={"a": 1.0}), '{"step": 2, "samp'],
            "last line of metrics.jsonl is cut off",
        ),
        ([b"\xff\xfe\x00", b"\n", line(1, "training", losses={"a": 1.0})], "1 line of"),
        (["[" * 100_000 + "\n", line(1, "training", losses={"a": 1.0})], "1 line of"),
        (["[1]\n", "null\n", '{"step": -1, "kind": "x"}\n', '{"step": true, "kind": "x"}\n'], "4 lines of"),
        ([line(1, "training", losses={"a": None}), line(2, "training", losses={"a": 1})], "a: 1 of 2 values"),
        (['{"step": 1, "kind": "training", "losses": {"a": NaN, "b": 1e999}}\n'], "no finite numbers"),
    ],
)
def test_damage_is_survived_and_said(lines: list[str | bytes], said: str, tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "metrics.jsonl", *lines))
    assert any(said in note for note in log.notes), log.notes
    assert not any("cut off" in note and "cut off" not in said for note in log.notes)


def test_a_last_line_without_an_end_counts_if_it_is_whole(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "metrics.jsonl", line(3, "training", losses={"a": 1.0}).rstrip()))
    assert log.step == 3 and log.notes == []


def test_a_file_that_is_not_there_is_a_note(tmp_path: Path) -> None:
    assert "logged nothing yet" in read_log(tmp_path / "metrics.jsonl").notes[0]


def test_thinning_keeps_means_and_extremes() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    values[1234] = 50.0
    series = LoggedSeries()
    series.steps.extend(range(10_000))
    series.samples.extend(range(0, 40_000, 4))
    series.values.extend(values)
    points = series.points(100)
    assert {len(column) for column in points.values()} == {100}
    assert max(points["high"]) == 50.0 and min(points["low"]) == pytest.approx(values.min(), rel=1e-4)
    assert np.mean(points["y"]) == pytest.approx(values.mean(), abs=1e-4)
    assert points["x"][-1] == 9_999 and points["n"][-1] == 39_996


def test_gaps_stay_gaps() -> None:
    series = LoggedSeries()
    for step, value in enumerate((1.0, math.nan, 3.0)):
        series.steps.append(step)
        series.samples.append(step)
        series.values.append(value)
    assert series.points(10)["y"] == [1.0, None, 3.0]
    assert series.points(3)["y"] == [1.0, None, 3.0] and json.dumps(series.points(2), allow_nan=False)


def test_the_best_goes_by_the_direction_and_the_first_of_equals() -> None:
    series = LoggedSeries()
    for step, value in ((1, 2.0), (2, math.nan), (3, 5.0), (4, 5.0), (5, 1.0)):
        series.steps.append(step)
        series.samples.append(step)
        series.values.append(value)
    assert series.best(higher=True) == (3, 5.0)
    assert series.best(higher=False) == (5, 1.0)


@pytest.mark.slow
def test_a_million_lines_become_a_curve(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for step in range(1, 1_000_001):
            file.write(f'{{"step":{step},"samples":{step},"kind":"training","losses":{{"a":{step % 7}}}}}\n')
    log = read_log(path)
    assert log.step == 1_000_000 and len(log.series["losses/a"].points(1000)["y"]) == 1000
