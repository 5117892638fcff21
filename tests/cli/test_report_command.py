"""`img2img report`, `grid` and `runs` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from run_folders import draw, facts_of, make_run

from img2img.cli.main import cli


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_report_of_a_folder_of_runs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / "runs" / name)
    result = img2img("report", tmp_path / "runs", "-o", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert [run["name"] for run in facts_of(tmp_path / "r.html")["runs"]] == ["a", "b"]


def test_a_report_of_folders_measures_against_the_target(tmp_path: Path) -> None:
    for folder in ("in", "out", "truth"):
        draw(tmp_path / folder / "x.png", 1)
    places = tmp_path / "in", tmp_path / "out"
    result = img2img("report", *places, "--target", tmp_path / "truth", "-o", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    table = facts_of(tmp_path / "r.html")["galleries"][0]
    assert table["folders"] == ["truth", "in", "out"] and table["rows"][0]["values"][0] == "inf"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere"], "there is no such folder or file"),
        (["report", "empty"], "there is no picture here"),
        (["report", "run", "--target", "empty"], "--target is for folders"),
        (["report", "run", "-o", "run/metrics.jsonl"], "is no report"),
        (["report", "text.json"], "is not what"),
        (["grid", "empty", "-o", "s.png"], "there is no picture here"),
        (["grid", "run/samples", "-o", "s.gif.txt"], "a sheet is a picture or a PDF"),
        (["grid", "run/samples", "-o", "run/samples/step_00000005.png"], "is there already"),
        (["grid", "run/samples", "-o", "s.png", "--only", "step_00000006.png"], "did you mean"),
        (["grid", "run/samples", "-o", "s.png", "--crop", "0", "0", "0", "4"], "at least one pixel"),
        (["grid", "run/samples", "-o", "s.png", "--crop", "30", "0", "9", "4"], "outside of its 32x24"),
        (["grid", "run/samples", "-o", "s.png", "--columns", "a,b"], "1 folders need 1 different names"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("{}")
    result = img2img(*arguments)
    assert result.exit_code in (1, 2) and said in result.output, result.output
    assert not (tmp_path / "s.png").exists() and not (tmp_path / "report.html").exists()


def test_a_grid_takes_rows_evenly_or_by_name(tmp_path: Path) -> None:
    for number in range(9):
        draw(tmp_path / "a" / f"{number}.png", number)
        draw(tmp_path / "b" / f"{number}.png", number)
    places = tmp_path / "a", tmp_path / "b"
    assert img2img("grid", *places, "-o", tmp_path / "s.png", "--rows", 3, "--cell", 32).exit_code == 0
    result = img2img("grid", *places, "-o", tmp_path / "t.pdf", "--only", "4", "--columns", "A, B")
    assert result.exit_code == 0 and (tmp_path / "t.pdf").exists(), result.output
    # a picture that cannot be read is named, and the rest is there
    (tmp_path / "b" / "4.png").write_bytes(b"nothing")
    result = img2img("grid", *places, "-o", tmp_path / "u.png")
    assert result.exit_code == 1 and "4.png" in result.output and (tmp_path / "u.png").exists()


def test_runs_are_listed_sorted_and_as_json(tmp_path: Path) -> None:
    make_run(tmp_path / "low")
    make_run(tmp_path / "high", steps=6, shift=3.0)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "metrics.jsonl").touch()
    result = img2img("runs", tmp_path, "--sort", "best")
    assert result.exit_code == 0, result.output
    table = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    assert [name for name in table if name in ("low", "high", "begun")] == ["high", "low", "begun"]
    facts = json.loads(img2img("runs", tmp_path, "--sort", "name", "--json").stdout)
    assert [run["name"] for run in facts] == ["begun", "high", "low"]
    assert [run["state"] for run in facts] == ["stopped", "stopped", "finished"]
    assert facts[2]["best"] == {"metric": "psnr", "value": 25.0, "step": 5}
    (tmp_path / "none").mkdir()
    assert img2img("runs", tmp_path / "none").exit_code == 4
