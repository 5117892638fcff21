"""docs/python.md: its blocks run as they stand, one after the other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from img2img.image import Image, write_image

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text("utf-8"), re.M | re.S)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for folder, width, count in (("photos", 32, 3), ("pairs", 64, 10), ("truth", 32, 2), ("made", 32, 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            pixels = random.integers(0, 256, (32, width, 3), np.uint8)
            write_image(Image(pixels), tmp_path / folder / f"f{number:02}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # it would take seconds to load
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "runs/pairs/report.html").is_file() and len(list(Path("negatives").glob("*.png"))) == 3
    run = names["run"]
    assert (run.state, run.step, run.total) == ("finished", 6, 6)  # type: ignore[attr-defined]
    assert {"img2img", "torch", "device", "precision"} <= set(run.environment)  # type: ignore[attr-defined]
