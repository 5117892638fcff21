"""metrics.jsonl, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from drawings import draw_pairs

from img2img.image import read_image
from img2img.training import read_experiment, train
from img2img.training.log import Metrics


class Writer:
    """Remembers what TensorBoard's writer is given."""

    made: ClassVar[list[Writer]] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder, self.purge_step = folder, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.images: list[tuple[str, tuple[int, ...], int, str]] = []
        self.closed = False
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_image(self, name: str, pixels: np.ndarray, step: int, dataformats: str) -> None:
        self.images.append((name, pixels.shape, step, dataformats))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    Writer.made.clear()
    return Writer


def test_tensorboard_gets_every_number_with_its_step(board: type[Writer], tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0, 0)
    metrics.write(5, 10, "training", {"losses": {"g_l1": 2.0}, "epoch": 1})
    metrics.close()
    (writer,) = board.made
    assert Path(writer.folder).parent == tmp_path
    assert ("training/losses/g_l1", 2.0, 5) in writer.scalars
    assert writer.closed


def test_tensorboard_gets_the_grids_of_a_run(board: type[Writer], tmp_path: Path) -> None:
    draw_pairs(tmp_path / "pairs", 4)
    sets = ["steps=2", "sample_every=1", "validate_every=0", "threads=1", "workers=0"]
    train(
        read_experiment("smoke_pix2pix", sets, source={"aligned": str(tmp_path / "pairs")}), tmp_path / "run"
    )
    grid = read_image(tmp_path / "run/samples/step_00000001.png")
    assert [image[2] for image in board.made[0].images] == [1, 2]
    assert board.made[0].images[0] == ("samples", grid.pixels.shape, 1, "HWC")


def test_a_run_that_continues_overrules_later_points(board: type[Writer], tmp_path: Path) -> None:
    Metrics(tmp_path, 7, 14).close()
    assert board.made[0].purge_step == 7


def test_numbers_that_json_lacks_become_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    metrics = Metrics(tmp_path, 0, 0)
    metrics.write(1, 2, "training", {"losses": {"g_l1": float("nan")}})
    metrics.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["losses"] == {"g_l1": None}
    assert not (tmp_path / "tensorboard").exists()
