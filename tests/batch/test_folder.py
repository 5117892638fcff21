"""`convert_folder`: plan and run in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import img2img
from img2img.batch import Result, Rules
from img2img.errors import PlanError
from img2img.image import Image, read_image, write_image
from img2img.processors import parse_operations


def test_a_folder_in_one_call(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(Image(np.full((4, 6, 3), 9, np.uint8)), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    results: list[Result] = []
    summary = img2img.convert_folder(
        tmp_path / "in",
        str(tmp_path / "out"),
        parse_operations(["rotate=90"]),
        rules=Rules(suffix="_r"),
        on_result=results.append,
        jobs=1,
    )
    assert (summary.done, summary.failed) == (1, 1)
    assert sorted(result.status for result in results) == ["done", "failed"]
    assert read_image(tmp_path / "out" / "a_r.png").pixels.shape == (6, 4, 3)


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(PlanError, match="in"):
        img2img.convert_folder([tmp_path / "in"], tmp_path / "out", parse_operations(["flip"]))
    assert not (tmp_path / "out").exists()
