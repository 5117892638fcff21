"""Several models or folders measured on the same pictures: their numbers, differences, and what is chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError
from img2img.evaluation.resampling import (
    DRAWS,
    LEVEL,
    TEST,
    Array,
    Interval,
    Rows,
    bootstrap,
    bootstrap_difference,
    permutation_test,
)
from img2img.evaluation.result import Evaluation, finite
from img2img.metrics.confusion import tally_scores

UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Difference:
    """What one number of a set is above that of the first one, on the pictures that both have.

    Attributes:
        mean: Second minus first.
        interval: In which it would lie with other pictures.
        p: How likely one as large is by chance; NaN where it cannot be said.
        better: Whether it is for the better; None where it is nothing.
    """

    mean: float
    interval: Interval
    p: float
    better: bool | None


@dataclass(frozen=True)
class Contest:
    """What comes out where more than one thing is measured against the same targets.

    Attributes:
        evaluations: By the name of the model or folder, all under one protocol; the first is what the others
            are held against.
    """

    evaluations: Mapping[str, Evaluation]

    def __post_init__(self) -> None:
        if len(self.evaluations) < 2:
            raise ConfigError("a comparison needs two models or folders, or more.")

    @property
    def first(self) -> str:
        """What the others are held against."""
        return next(iter(self.evaluations))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the numbers."""
        return self.evaluations[self.first].protocol.columns

    @cached_property
    def common(self) -> tuple[str, ...]:
        """The targets that all of them have numbers for, in order."""
        each = [{score.name for score in found.scores} for found in self.evaluations.values()]
        shared = set.intersection(*each)
        return tuple(s.name for s in self.evaluations[self.first].scores if s.name in shared)

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """By name and column, in which interval the mean would lie with other pictures."""
        return {name: intervals(found) for name, found in self.evaluations.items()}

    @cached_property
    def differences(self) -> dict[str, dict[str, Difference]]:
        """By name and column, of all but the first one."""
        names = list(self.evaluations)[1:]
        return {name: self._difference(name) for name in names} if self.common else {}

    def requirements(self) -> dict[str, dict[str, float]]:
        """Returns what conditions can be on: the means by name, and of all but the first `gain_COLUMN`."""
        found = {name: evaluation.mean() for name, evaluation in self.evaluations.items()}
        for name, columns in self.differences.items():
            found[name] |= {f"gain_{column}": each.mean for column, each in columns.items()}
        return found

    def _difference(self, name: str) -> dict[str, Difference]:
        pair = [self._shared(each) for each in (self.first, name)]
        columns = pair[0].protocol.columns
        means = [one.mean() for one in pair]
        rows = _paired(*pair)
        with np.errstate(invalid="ignore"):  # a draw may hold no picture with the number
            inner, chances = bootstrap_difference(*rows), permutation_test(*rows)
            totals = [each.scores(each.values.sum(0)[None], len(each.values))[0] for each in rows]
        found = {}
        for place, column in enumerate(columns):
            mean = float(totals[1][place] - totals[0][place])
            if math.isnan(mean) and means[0][column] != means[1][column]:
                mean = means[1][column] - means[0][column]
            known = math.isfinite(mean) and len(self.common) > 1
            interval = inner[place] if known else UNKNOWN
            up = pair[0].protocol.higher_is_better(column)
            better = None if mean == 0 or math.isnan(mean) else (mean > 0) == up
            found[column] = Difference(mean, interval, chances[place] if known else math.nan, better)
        return found

    def _shared(self, name: str) -> Evaluation:
        """Returns one of the sets with the pictures that all of them have, in one order."""
        found = self.evaluations[name]
        scores = {score.name: score for score in found.scores}
        return Evaluation(found.protocol, [scores[each] for each in self.common])

    def remarks(self) -> list[str]:
        """Returns what a reader of differences should know."""
        counts = [len(found.scores) for found in self.evaluations.values()]
        said = [
            f"In brackets: {LEVEL:.0%} bootstrap intervals over pictures ({DRAWS} draws). Differences from "
            f"{self.first}, p by a {TEST}."
        ]
        if any(count != len(self.common) for count in counts):
            said.append(f"Differences are over what all of them have: {len(self.common)} pictures.")
        if len({str(found.equal()) for found in self.evaluations.values()}) > 1:
            said.append(
                "A picture that is equal to its target in one of two sets alone has no finite difference; it "
                "is left out there."
            )
        if 1 < len(self.common) < 6:
            least = 2.0 ** (1 - len(self.common))
            said.append(
                f"With {len(self.common)} pictures p cannot fall below {least:.3g}: measure more of them."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Returns everything as JSON takes it; a number that is infinite or unknown is None."""
        return {
            "first": self.first,
            "test": TEST,
            "bootstrap": {"level": LEVEL, "draws": DRAWS},
            "pictures": len(self.common),
            "candidates": [
                {
                    "name": name,
                    **found.to_json(),
                    "intervals": {c: _pair(i) for c, i in self.intervals[name].items()},
                    "differences": {
                        column: {
                            **finite({"mean": each.mean, "p": each.p}),
                            "interval": _pair(each.interval),
                            "better": each.better,
                        }
                        for column, each in self.differences.get(name, {}).items()
                    },
                }
                for name, found in self.evaluations.items()
            ],
        }


def intervals(found: Evaluation) -> dict[str, Interval]:
    """Returns in which interval each mean of a set would lie with other pictures of the kind."""
    columns = found.protocol.columns
    if len(found.scores) < 2:
        return dict.fromkeys(columns, UNKNOWN)
    with np.errstate(invalid="ignore"):  # a draw may hold no picture with the number
        inner = bootstrap(rows_of(found))
    return dict(zip(columns, inner, strict=True))


def rows_of(found: Evaluation) -> Rows:
    """Returns what each picture of a set adds to its numbers; of infinite and missing ones, nothing."""
    confusions = [score.confusion for score in found.scores]
    matrices = [each for each in confusions if each is not None]
    if len(matrices) < len(confusions) or not matrices:
        values = _values(found)
        return _means(values, np.isfinite(values))
    ignore = matrices[0].ignore
    flat = np.stack([each.tally.ravel() for each in matrices]).astype(np.float64)

    def scores(sums: Array, count: int) -> Array:
        return tally_scores(sums.reshape(-1, 3, len(matrices[0].labels)), ignore)

    return Rows(flat, scores)


def _paired(first: Evaluation, second: Evaluation) -> list[Rows]:
    """Returns the rows of two sets of the same pictures: of each number those that have it in both.

    Where both are equal to the target there is no difference. Where one of them alone is, the difference is
    infinite, and the picture is no part of it.
    """
    if first.confusion() is not None:
        return [rows_of(first), rows_of(second)]
    both = [_values(each) for each in (first, second)]
    same = both[0] == both[1]
    counted = same | (np.isfinite(both[0]) & np.isfinite(both[1]))
    return [_means(np.where(np.isfinite(values), values, 0), counted) for values in both]


def _values(found: Evaluation) -> Array:
    """Returns the numbers (pictures, columns)."""
    return np.array([[score.values[c] for c in found.protocol.columns] for score in found.scores])


def _means(values: Array, counted: NDArray[np.bool_]) -> Rows:
    """Returns rows whose scores are the means of what is counted; NaN where nothing is."""
    columns = values.shape[1]
    rows = np.hstack([np.where(counted, values, 0), counted])

    def scores(sums: Array, count: int) -> Array:
        found: Array = sums[:, :columns] / sums[:, columns:]
        return found

    return Rows(rows, scores)


def _pair(interval: Interval) -> list[float] | None:
    return None if math.isnan(interval.low) else list(interval)
