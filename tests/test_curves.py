"""tools/curves.py draws what metrics.jsonl holds."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from click.testing import CliRunner

PATH = Path(__file__).resolve().parent.parent / "tools" / "curves.py"
SPEC = importlib.util.spec_from_file_location("curves", PATH)
assert SPEC is not None and SPEC.loader is not None
curves = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(curves)
SVG = "{http://www.w3.org/2000/svg}"


def run_folder(folder: Path, values: list[float | None]) -> Path:
    folder.mkdir()
    lines = [{"step": 10 * n, "kind": "training", "losses": {"g_l1": v}} for n, v in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_one_curve_for_each_run_and_one_point_for_each_value(tmp_path: Path) -> None:
    one, two = run_folder(tmp_path / "one", [3.0, 2.0, None, 1.0]), run_folder(tmp_path / "two", [4.0, 5.0])
    output = tmp_path / "c.svg"
    result = CliRunner().invoke(curves.main, [str(one), str(two), "-o", str(output), "--of", "losses.g_l1"])
    assert result.exit_code == 0, result.output
    lines = ElementTree.parse(output).getroot().findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2]


def test_a_name_that_is_not_there_is_said(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "one", [1.0])
    result = CliRunner().invoke(curves.main, [str(run), "-o", str(tmp_path / "c.svg"), "--of", "ssim"])
    assert result.exit_code == 1
    assert "nothing called ssim" in result.output


def test_smoothing_keeps_steps_and_constants() -> None:
    points = [(1, 2.0), (5, 2.0), (9, 2.0)]
    assert curves.smoothed(points, 3) == points
