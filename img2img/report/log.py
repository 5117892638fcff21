"""The numbers that a run has logged, and curves of as many points as a screen shows."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from img2img.errors import display_path
from img2img.files import open_regular

METRICS = "metrics.jsonl"
_MOST_SERIES = 300  # of one run; a file that names more is none of ours
_LONGEST_LINE = 2**20  # bytes
_DEEPEST = 4
_SECTIONS = {"training": ""}  # what stands before the names of each kind of line; others: the kind
_ABOUT = frozenset(("step", "samples", "kind", "epoch"))


@dataclass
class LoggedSeries:
    """One number over the run.

    Attributes:
        steps, samples: When it was logged: steps done, and samples seen; the steps never fall.
        values: The numbers; NaN where it was no finite number.
    """

    steps: array[int] = field(default_factory=lambda: array("q"))
    samples: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def last(self) -> float | None:
        """Returns the last finite value, or None."""
        return next((value for value in reversed(self.values) if math.isfinite(value)), None)

    def best(self, higher: bool) -> tuple[int, float] | None:
        """Returns step and value of the best finite value, the first of equal ones; None without any."""
        finite = [(s, v) for s, v in zip(self.steps, self.values, strict=True) if math.isfinite(v)]
        if not finite:
            return None
        return max(finite, key=lambda each: each[1]) if higher else min(finite, key=lambda each: each[1])

    def points(self, most: int) -> dict[str, list[Any]]:
        """Returns the curve for a screen, as JSON takes it.

        Returns:
            Lists of one length: `x` (steps), `n` (samples) and `y` (values, None for what is not finite). Of
            more than `most` values neighbours are taken together: then `y` are their means, and `low` and
            `high` their extremes, so that no spike is lost.
        """
        count = len(self.values)
        if count <= most:
            y = [_short(value) for value in self.values]
            return {"x": list(self.steps), "n": list(self.samples), "y": y}
        found: dict[str, list[Any]] = {"x": [], "n": [], "y": [], "low": [], "high": []}
        for part in range(most):
            start, stop = part * count // most, (part + 1) * count // most
            finite = [value for value in self.values[start:stop] if math.isfinite(value)]
            found["x"].append(self.steps[stop - 1])
            found["n"].append(self.samples[stop - 1])
            found["y"].append(_short(math.fsum(finite) / len(finite)) if finite else None)
            found["low"].append(_short(min(finite)) if finite else None)
            found["high"].append(_short(max(finite)) if finite else None)
        return found


@dataclass
class Log:
    """What metrics.jsonl holds.

    Attributes:
        series: By name: losses/g_l1, rates/generator, validation/psnr, images_per_second.
        step, samples: Of the last line.
        epoch: Of the last line that has one, 0 for the first.
        notes: What is wrong with the file, in sentences.
    """

    series: dict[str, LoggedSeries] = field(default_factory=dict)
    step: int = 0
    samples: int = 0
    epoch: int = 0
    notes: list[str] = field(default_factory=list)


def read_log(path: Path) -> Log:
    """Reads metrics.jsonl, whatever has happened to it; what cannot be used is counted in the notes."""
    log = Log()
    name = display_path(path.name)
    bad = 0
    cut = False
    unnamed = False
    try:
        with open_regular(path) as file:
            while line := file.readline(_LONGEST_LINE):
                cut = not line.endswith(b"\n")
                if not line.strip():
                    continue
                row = _row(line)
                if row is None:
                    bad += 1
                else:
                    cut = False
                    unnamed |= not _add(log, row)
    except FileNotFoundError:
        log.notes.append(f"There is no {name}: the run has logged nothing yet.")
        return log
    except OSError as error:
        log.notes.append(f"{name} cannot be read: {error.strerror or error}.")
        return log
    if cut:
        bad -= 1
        log.notes.append(f"The last line of {name} is cut off and left out.")
    if bad:
        log.notes.append(f"{bad} line{'s' * (bad > 1)} of {name} cannot be read and left out.")
    if unnamed:
        log.notes.append(f"{name} names more than {_MOST_SERIES} numbers; the first ones are shown.")
    if not log.series and not log.notes:
        log.notes.append(f"{name} is empty: the run has logged nothing yet.")
    for key, series in log.series.items():
        _put_in_order(series)
        lost = sum(not math.isfinite(value) for value in series.values)
        if lost:
            log.notes.append(
                f"{display_path(key)}: {lost} of {len(series.values)} values are no finite numbers; the "
                "curve has gaps there."
            )
    return log


def _row(line: bytes) -> dict[str, Any] | None:
    """Returns what a line says if it is of the form that a run writes."""
    try:
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    fits = isinstance(row, dict) and is_count(row.get("step")) and isinstance(row.get("kind"), str)
    return row if fits else None


def is_count(value: object) -> TypeGuard[int]:
    """Returns whether a value is a number of things: whole, not negative, and exact in a browser, too."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _add(log: Log, row: Mapping[str, Any]) -> bool:
    """Files the numbers of a line; returns whether there was room for all."""
    step = row["step"]
    samples = row["samples"] if is_count(row.get("samples")) else step
    log.step, log.samples = step, samples
    if is_count(row.get("epoch")):
        log.epoch = row["epoch"]
    kind = row["kind"]
    whole = True
    for name, value in _numbers({k: v for k, v in row.items() if k not in _ABOUT}, _SECTIONS.get(kind, kind)):
        series = log.series.get(name)
        if series is None:
            if len(log.series) >= _MOST_SERIES:
                whole = False
                continue
            series = log.series[name] = LoggedSeries()
        series.steps.append(step)
        series.samples.append(samples)
        series.values.append(value)
    return whole


def _numbers(values: Mapping[str, Any], place: str, depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yields what are numbers among `values`, by their names; null is one that was not finite."""
    for name, value in values.items():
        where = f"{place}/{name}" if place else name
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _numbers(value, where, depth + 1)
        elif value is None:
            yield where, math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                yield where, float(value)
            except OverflowError:
                yield where, math.nan


def _put_in_order(series: LoggedSeries) -> None:
    """Sorts by steps; what was logged twice for a step, as by a run that was copied together, stays."""
    if all(a <= b for a, b in zip(series.steps, series.steps[1:], strict=False)):
        return
    order = sorted(range(len(series.steps)), key=series.steps.__getitem__)
    series.steps = array("q", [series.steps[i] for i in order])
    series.samples = array("q", [series.samples[i] for i in order])
    series.values = array("d", [series.values[i] for i in order])


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
