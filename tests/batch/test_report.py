import json
import os
from pathlib import Path

import pytest

from img2img.batch import Report, Result, Summary, exit_code

DONE = Result(
    Path("a.jpg"), Path("out/a.jpg"), "done", ms={"decode": 1.23456, "process": 2.0}, pixels=3_000_000
)
SKIPPED = Result(Path("b.jpg"), Path("out/b.jpg"), "skipped", "it is up to date")
FAILED = Result(Path("c\x1b[31m.jpg"), None, "failed", "the file is empty", ("a warning",))


def test_report_has_one_flushed_line_a_result(tmp_path):
    path = tmp_path / "report.jsonl"
    with Report(path) as report:
        for i, result in enumerate([DONE, SKIPPED, FAILED], 1):
            report.add(result)
            assert len(path.read_text().splitlines()) == i
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "source": "a.jpg",
        "output": str(Path("out/a.jpg")),
        "status": "done",
        "reason": "",
        "warnings": [],
        "ms": {"decode": 1.235, "process": 2.0, "encode": 0.0},
    }
    assert lines[2]["output"] is None and lines[2]["warnings"] == ["a warning"]


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff\xfe", "日本 é\n\x1b[2J".encode()])
def test_names_survive_the_report_byte_for_byte(tmp_path, name):
    path = tmp_path / "report.jsonl"
    with Report(path) as report:
        report.add(Result(Path(os.fsdecode(name)), None, "failed", "x"))
    assert path.read_bytes().isascii() and len(path.read_text().splitlines()) == 1
    assert os.fsencode(json.loads(path.read_text())["source"]) == name


def test_summary_counts():
    summary = Summary()
    for result in (DONE, SKIPPED, FAILED, DONE):
        summary.add(result)
    summary.finish()
    data = json.loads(json.dumps(summary.to_json()))
    assert (data["done"], data["skipped"], data["failed"]) == (2, 1, 1)
    assert data["failures"] == [{"source": "c\x1b[31m.jpg", "reason": "the file is empty"}]
    assert data["warnings"] == [{"source": "c\x1b[31m.jpg", "warning": "a warning"}]
    assert data["megapixels_per_second"] == pytest.approx(3 * data["images_per_second"], rel=1e-2)
    assert "2 done, 1 skipped, 1 failed" in summary.to_text()


@pytest.mark.parametrize(
    ("failures", "matched", "max_failures", "code"),
    [
        (0, True, None, 0),
        (1, True, None, 1),
        (1, True, 2, 1),
        (2, True, 2, 3),
        (0, False, None, 4),
    ],
)
def test_exit_code(failures, matched, max_failures, code):
    summary = Summary()
    for result in (DONE, SKIPPED, *[FAILED] * failures):
        summary.add(result)
    assert exit_code(summary, matched=matched, max_failures=max_failures) == code
