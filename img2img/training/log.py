"""What a run writes for people and programs: metrics.jsonl, TensorBoard when it is installed, messages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    Attributes:
        step, total: Steps done, and steps in all.
        epoch: Whole passes over the data, 0 during the first.
        losses: Means since the last status.
        steps_per_second, images_per_second: Speed since the last status, all processes together.
        seconds_left: Estimate at the mean speed so far, or None at the start.
    """

    step: int
    total: int
    epoch: int
    losses: Mapping[str, float] = field(default_factory=dict)
    steps_per_second: float = math.nan
    images_per_second: float = math.nan
    seconds_left: float | None = None


class Watch(Protocol):
    """What a run tells while it goes on; the command line shows it."""

    def status(self, status: Status) -> None:
        """Losses and speed."""

    def say(self, text: str) -> None:
        """One sentence."""

    def warn(self, text: str) -> None:
        """Something that somebody should look at."""


class Silent:
    """A `Watch` that says nothing."""

    def status(self, status: Status) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""


class Metrics:
    """The file metrics.jsonl: one JSON object a line, each with its step.

    Args:
        folder: Of the run.
        step: Where the run continues; later lines are of a run that went on after its last state, and go.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / "metrics.jsonl"
        kept = [line for line in _lines(path) if _step(line) <= step] if step else []
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder, step)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Adds a line; values that are no finite number become null, as JSON has no NaN."""
        line = {"step": step, "kind": kind} | {name: _plain(value) for name, value in values.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in _flat(values):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _step(line: str) -> float:
    """Returns the step of a line; infinity for one that a crash cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            found.append((f"{prefix}{name}", float(value)))
    return found


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)
