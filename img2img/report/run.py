"""The folder of a run as others see it: what it learns, how far it is, what it drew; nothing is written."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from img2img.config import load_yaml
from img2img.errors import ConfigError, UsageError, display_path
from img2img.files import is_locked, read_regular
from img2img.report.log import METRICS, Log, is_count, read_log

CONFIG = "config.yaml"
LOCK = ".lock"
RECORD = "run.json"
SAMPLES = "samples"
RunState = Literal["running", "stopped", "finished", "failed"]

_SAMPLE = re.compile(r"step_(\d{1,15})\.png")
_LARGEST_RECORD = 2**22  # bytes
_LOWER = re.compile(
    r"(^|[/_])(l1|l2|mse|mae|rmse|lpips|dists|niqe|fid|kid|fd|kd|loss|error|distance)([/_]|$)"
)
_DEEPEST = 8


@dataclass(frozen=True)
class Best:
    """The best value on the held-out part, with the number that decides and the step."""

    metric: str
    value: float
    step: int


@dataclass
class RunFolder:
    """A run.

    Attributes:
        folder: Where it lies.
        name: What it is called among others.
        method: The name of the method; empty where nothing says it.
        state: "running" where a process holds it now, "finished" at its last step, "failed" where it ended
            with an error or was killed, else "stopped".
        reason: How it failed; empty otherwise.
        total: Its steps in all; None where nothing says it.
        log: What it has logged.
        config: Its configuration, flat: {"method.generator.name": "unet"}.
        environment: Of its last start: versions, device, precision, ...
        by: The number on the held-out part that decides; empty where nothing says it.
        samples: Its grids of pictures by their steps, in order.
        changed: When it last logged something, in seconds since 1970.
        notes: What could not be read, in sentences.
    """

    folder: Path
    name: str
    method: str = ""
    state: RunState = "stopped"
    reason: str = ""
    total: int | None = None
    log: Log = field(default_factory=Log)
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    by: str = ""
    samples: dict[int, Path] = field(default_factory=dict)
    changed: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return self.log.step

    def best(self, metric: str | None = None) -> Best | None:
        """Returns the best value on the held-out part.

        Args:
            metric: Which number decides; None takes the run's own choice, else PSNR, else the first.
        """
        scores = [name for name in self.log.series if name.startswith("validation/")]
        wanted = metric or self.by or self.config.get("training.validate_by")
        names = [f"validation/{wanted}"] if wanted else []
        names += [] if metric else ["validation/mean_iou", "validation/psnr", *scores]
        for name in names:
            if name in scores and (best := self.log.series[name].best(is_higher_better(name))) is not None:
                return Best(name.removeprefix("validation/"), best[1], best[0])
        return None


def is_higher_better(name: str) -> bool:
    """Returns whether more of a number that is called so is better: not of losses, errors and distances."""
    return _LOWER.search(name.lower()) is None


def is_run(folder: Path) -> bool:
    """Returns whether `folder` is that of a run."""
    return any((folder / name).is_file() for name in (METRICS, RECORD)) or (
        (folder / CONFIG).is_file() and (folder / SAMPLES).is_dir()
    )


def find_runs(place: Path, depth: int = 3) -> list[Path]:
    """Returns the folders of runs at and below `place`, by name.

    Args:
        place: A folder.
        depth: How many folders deep is looked; runs hold no others.

    Raises:
        UsageError: There is no such folder.
    """
    if not place.is_dir():
        raise UsageError(f"{display_path(place)}: there is no such folder.")
    return sorted(_runs(place, depth))


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
    elif depth:
        try:
            below = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for each in below:
            if not each.name.startswith("."):
                yield from _runs(each, depth - 1)


def read_run(folder: Path, name: str | None = None) -> RunFolder:
    """Reads what there is of a run, at work or not; of what is missing or damaged a note says so.

    Args:
        folder: Of the run.
        name: What it shall be called; by default as the folder is.

    Raises:
        UsageError: It is not the folder of a run.
    """
    if not folder.is_dir():
        raise UsageError(f"{display_path(folder)}: there is no such folder.")
    if not is_run(folder):
        raise UsageError(
            f"{display_path(folder)} is not the folder of a run: it holds no {METRICS} and no {CONFIG} with "
            f"{SAMPLES}."
        )
    run = RunFolder(folder, name or folder.resolve().name or str(folder))
    record = _record(run)
    run.log = read_log(folder / METRICS)
    run.notes += run.log.notes
    run.config = _config(run)
    run.method = str(run.config.get("method.name", ""))
    starts = record.get("starts")
    last = starts[-1] if isinstance(starts, list) and starts and isinstance(starts[-1], dict) else {}
    environment = last.get("environment")
    run.environment = dict(environment) if isinstance(environment, dict) else {}
    validation = last.get("validation")
    run.by = str(validation.get("by") or "") if isinstance(validation, dict) else ""
    total = record.get("total")
    run.total = total if is_count(total) and total else _total(run)
    run.state, run.reason = _state(run, last)
    run.samples = _samples(folder / SAMPLES)
    run.changed = max((_time(folder / each) for each in (METRICS, CONFIG, RECORD)), default=0.0)
    return run


def read_runs(folders: list[Path]) -> list[RunFolder]:
    """Reads several runs, each called by as much of its path as tells it from the others."""
    whole = [folder.resolve() for folder in folders]
    names = [path.name or str(path) for path in whole]
    for length in range(2, max((len(path.parts) for path in whole), default=0) + 1):
        if len(set(names)) == len(names):
            break
        twice = {name for name in names if names.count(name) > 1}
        names = [
            "/".join(path.parts[-length:]) if name in twice else name
            for name, path in zip(names, whole, strict=True)
        ]
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def flat(tree: Mapping[str, Any], place: str = "", depth: int = 0) -> dict[str, Any]:
    """Returns the values of a configuration by their keys with dots; lists and empty mappings are values."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and depth < _DEEPEST:
            found |= flat(value, f"{place}{key}.", depth + 1)
        else:
            found[f"{place}{key}"] = value
    return found


def _record(run: RunFolder) -> dict[str, Any]:
    try:
        record = json.loads(read_regular(run.folder / RECORD, _LARGEST_RECORD))
    except FileNotFoundError:
        return {}  # runs of older versions have none
    except (OSError, ValueError, RecursionError):
        run.notes.append(f"{RECORD} cannot be read.")
        return {}
    return record if isinstance(record, dict) else {}


def _config(run: RunFolder) -> dict[str, Any]:
    path = run.folder / CONFIG
    if not path.is_file():
        run.notes.append(f"There is no {CONFIG}.")
        return {}
    try:
        tree = load_yaml(path)
    except ConfigError as error:
        run.notes.append(str(error))
        return {}
    return flat(tree) if isinstance(tree, dict) else {}


def _total(run: RunFolder) -> int | None:
    """Returns how many steps a run without a record has in all.

    Of one that counts epochs the log tells how many samples an epoch has: with the last sample of a line
    the epoch `e` is not over before `samples` / (e + 1).
    """
    stages = run.config.get("training.stages")
    if isinstance(stages, list) and stages:
        lengths = [each.get("steps") for each in stages if isinstance(each, dict)]
        counts = [each for each in lengths if is_count(each)]
        return sum(counts) if len(counts) == len(stages) else None
    steps, epochs = (run.config.get(f"training.{key}") for key in ("steps", "epochs"))
    if is_count(steps):
        return steps
    log = run.log
    if not is_count(epochs) or not (log.step and log.samples and log.epoch):
        return None
    samples = math.ceil(log.samples / (log.epoch + 1))
    return math.ceil(epochs * samples * log.step / log.samples)


def _state(run: RunFolder, last: Mapping[str, Any]) -> tuple[RunState, str]:
    if is_locked(run.folder / LOCK):
        return "running", ""
    ended = last.get("ended")
    if isinstance(ended, dict) and ended.get("state") in get_args(RunState):
        return ended["state"], str(ended.get("reason", ""))
    if last:
        return "failed", "It ended without a word: it was killed, or the machine went down."
    if run.total is not None and run.step >= run.total:
        return "finished", ""
    return "stopped", ""


def _samples(folder: Path) -> dict[int, Path]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return {}
    found = {int(match[1]): path for path in entries if (match := _SAMPLE.fullmatch(path.name))}
    return dict(sorted(found.items()))


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
