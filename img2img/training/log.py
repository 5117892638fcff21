"""What a run tells people and programs: metrics.jsonl, and callbacks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from img2img.errors import display_path
from img2img.image import Image, write_bytes
from img2img.report.log import METRICS
from img2img.training.state import DiskError
from img2img.training.tracker import Board, tensorboard


@dataclass(frozen=True)
class TrainingStatus:
    """Where a run stands.

    Attributes:
        step, total: Steps done, and steps in all.
        epoch: The pass over the data that the last step belongs to, 0 for the first.
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


class Clock:
    """Tells the speed since the last look, and the time that is left at the mean speed since the start."""

    def __init__(self, step: int) -> None:
        self._started = self._looked = time.perf_counter()
        self._first = self._last = step

    def look(self, step: int, total: int) -> tuple[float, float]:
        """Returns steps a second and the seconds that are left."""
        now = time.perf_counter()
        speed = (step - self._last) / max(now - self._looked, 1e-9)
        left = (total - step) * (now - self._started) / (step - self._first)
        self._looked, self._last = now, step
        return speed, left


class Watch:
    """Callbacks: what a run tells while it goes on. A subclass has those that it wants, others do nothing.

    All are called between two steps, of several processes in the first alone (but for `warn`); what they
    raise ends the run.

        class Print(img2img.Watch):
            def validation(self, step, scores, is_best):
                print(step, scores["psnr"], "the best so far" if is_best else "")

        img2img.train(experiment, "runs/facades", watch=Print())
    """

    def step(self, step: int, total: int) -> None:
        """One more step was done; nothing is known of it yet."""

    def status(self, status: TrainingStatus) -> None:
        """Losses and speed, each `training.log_every` steps."""

    def sample(self, step: int, path: Path) -> None:
        """A grid of pictures was written to `path`, each `training.sample_every` steps."""

    def validation(self, step: int, scores: Mapping[str, float], is_best: bool) -> None:
        """The held-out part was measured, each `training.validate_every` steps.

        Args:
            step: Steps done.
            scores: Means by the names of the metrics.
            is_best: Whether they are the best so far; the model file `best` is of this step then.
        """

    def say(self, text: str) -> None:
        """One sentence."""

    def warn(self, text: str) -> None:
        """Something that somebody should look at."""


class Metrics:
    """The file metrics.jsonl: one JSON object a line, each with its step.

    Args:
        folder: Of the run.
        step: Where the run continues.
        samples: How many samples it has seen there; lines with more are of a run that went on after its last
            state, and go.
        boards: Get the same numbers and the grids of pictures; TensorBoard does where it is installed.

    Raises:
        ImageWriteError: The file cannot be written.
    """

    def __init__(self, folder: Path, step: int, samples: int, boards: Iterable[Board] = ()) -> None:
        self.path = folder / METRICS
        kept = [line for line in _lines(self.path) if _is_before(line, step, samples)] if samples else []
        write_bytes("".join(line + "\n" for line in kept).encode(), self.path)
        self._file = self.path.open("a", encoding="utf-8")
        board = tensorboard(folder, step)
        self._boards: list[Board] = [*boards, *([] if board is None else [board])]

    def write(self, step: int, samples: int, kind: str, values: Mapping[str, Any]) -> None:
        """Adds a line; values that are no finite number become null, as JSON has no NaN.

        Raises:
            DiskError: It cannot be written.
        """
        line = {"step": step, "samples": samples, "kind": kind}
        line |= {name: _plain(value) for name, value in values.items()}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise DiskError(
                f"{display_path(self.path)}: a line could not be written ({error.strerror}). What was saved "
                "before is untouched; make room, then continue with `resume`."
            ) from error
        for board in self._boards:
            board.numbers(kind, values, step)

    def show(self, step: int, grid: Image) -> None:
        """Gives the grid of pictures to all boards."""
        for board in self._boards:
            board.picture(grid, step)

    def close(self) -> None:
        """Closes the files."""
        with suppress(OSError):  # it flushes again what could not be written, as was said already
            self._file.close()
        for board in self._boards:
            board.close()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _is_before(line: str, step: int, samples: int) -> bool:
    """Returns whether a line belongs to what is kept of the run; one that a crash cut off does not."""
    try:
        values = json.loads(line)
        return bool(values["samples"] <= samples if "samples" in values else values["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
