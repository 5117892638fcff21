"""trackio and Weights & Biases through one adapter, with modules that write down what they are given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from img2img.errors import ConfigError
from img2img.image import Image
from img2img.training import read_experiment, train
from img2img.training.tracker import Tracker, require_tracker


class Module(ModuleType):
    """What both packages offer; fails from the call number `fails` on."""

    def __init__(self, name: str, fails: int = 1000) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fails = fails

    def _call(self, called: str, /, **values: Any) -> None:
        self.calls.append((called, values))
        if len(self.calls) > self.fails:
            raise RuntimeError("the network is gone\nand more")

    def init(self, **values: Any) -> None:
        self._call("init", **values)

    def log(self, metrics: dict[str, Any], step: int) -> None:
        self._call("log", metrics=metrics, step=step)

    def finish(self) -> None:
        self._call("finish")

    def Image(self, pixels: np.ndarray) -> tuple[int, ...]:  # noqa: N802
        return pixels.shape


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_it_gets_configuration_numbers_and_pictures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Module(name)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    tracker = Tracker(name, tmp_path / "ein Lauf", {"seed": 1}, pytest.fail)
    tracker.numbers("training", {"losses": {"g_l1": 2.0}, "epoch": 1}, 5)
    tracker.picture(Image(np.zeros((4, 6, 3), np.uint8)), 5)
    tracker.close()
    (_, begun), *logged, (last, _) = module.calls
    assert (begun["project"], begun["name"], begun["config"]) == ("img2img", "ein Lauf", {"seed": 1})
    assert begun["resume"] == "allow" and ("id" in begun) == (name == "wandb")
    if name == "wandb":
        assert set(begun["id"]) <= set("abcdefghijklmnopqrstuvwxyzL0123456789-_")
    assert [values for _, values in logged] == [
        {"metrics": {"training/losses/g_l1": 2.0, "training/epoch": 1.0}, "step": 5},
        {"metrics": {"samples": (4, 6, 3)}, "step": 5},
    ]
    assert last == "finish"


@pytest.mark.parametrize("fails", [0, 2])
def test_one_that_fails_is_told_of_once(fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module("trackio", fails)
    monkeypatch.setitem(sys.modules, "trackio", module)
    said: list[str] = []
    tracker = Tracker("trackio", tmp_path / "run", {}, said.append)
    for step in range(4):
        tracker.numbers("training", {"epoch": 1}, step)
    tracker.close()
    assert len(said) == 1 and "the network is gone" in said[0] and "\n" not in said[0]
    assert len(module.calls) == fails + 1


def test_one_that_is_not_installed_is_said_before_anything_starts(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "wandb"
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    experiment = read_experiment("smoke_pix2pix", [f"tracker={missing}"], source={"aligned": str(pairs)})
    with pytest.raises(ConfigError, match=rf"img2img\[{missing}\]"):
        train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    require_tracker("none")
