"""How sure a mean is, and whether a difference between two of them may be chance.

Pictures are what varies: intervals are percentiles of the means of sets drawn from them with replacement
(bootstrap), and the test asks how often a difference as large as the one found comes up if of every picture
the two numbers are exchanged by chance (paired permutation test, two-sided).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 5000
"""Sets that are drawn, and exchanges that are tried where not all of them are."""
LEVEL = 0.95
"""The share of the draws that lie within an interval."""
TEST = "paired permutation test, two-sided"
_ALL_UP_TO = 12  # pictures of which every exchange is tried: 4096
_SEED = 20_240
_BLOCK = 250  # draws at a time
_TIE = 1e-12  # relative: differences of the same exchange in another order of summing

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """From where to where a number would lie with other pictures of the kind; NaN where it cannot be said."""

    low: float
    high: float


class Rows(NamedTuple):
    """What each picture adds to the numbers of a set.

    Attributes:
        values: (N, D): of pictures their numbers; of label maps their confusion matrices, flat.
        scores: Makes the numbers (R, K) of sums of rows (R, D) over N pictures.
    """

    values: Array
    scores: Callable[[Array, int], Array]


def bootstrap(rows: Rows) -> list[Interval]:
    """Returns an interval for each of the K numbers of a set."""
    found = np.concatenate(
        [rows.scores(draw @ rows.values, len(draw[0])) for draw in _draws(len(rows.values))]
    )
    return _intervals(found)


def bootstrap_difference(first: Rows, second: Rows) -> list[Interval]:
    """Returns an interval for what each number of `second` is above that of `first`, on the same pictures."""
    found = [
        second.scores(draw @ second.values, len(draw[0])) - first.scores(draw @ first.values, len(draw[0]))
        for draw in _draws(len(first.values))
    ]
    return _intervals(np.concatenate(found))


def permutation_test(first: Rows, second: Rows) -> list[float]:
    """Returns for each number how likely a difference as large is if both sets of numbers are of one kind.

    Up to 12 pictures all exchanges are tried, of more 5000 by chance and the one found. With 5 pictures
    nothing is less likely than 2 of 32, 0.0625.
    """
    count = len(first.values)

    def difference(exchanged: Array) -> Array:
        kept = 1 - exchanged
        one = kept @ first.values + exchanged @ second.values
        other = exchanged @ first.values + kept @ second.values
        return np.abs(second.scores(other, count) - first.scores(one, count))

    found = difference(np.zeros((1, count)))[0]
    as_large, tried = np.zeros(len(found)), 0
    for exchanged in _exchanges(count):
        as_large += (difference(exchanged) >= found * (1 - _TIE)).sum(0)
        tried += len(exchanged)
    if count > _ALL_UP_TO:
        as_large, tried = as_large + 1, tried + 1
    return [
        float("nan") if np.isnan(each) else float(large / tried)
        for each, large in zip(found, as_large, strict=True)
    ]


def _draws(count: int) -> Iterator[Array]:
    """Yields how often each of `count` pictures is in sets drawn with replacement, (R, count)."""
    random = np.random.default_rng(_SEED)
    for first in range(0, DRAWS, _BLOCK):
        size = min(_BLOCK, DRAWS - first)
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _exchanges(count: int) -> Iterator[Array]:
    """Yields which of `count` pictures are exchanged, (R, count) of 0 and 1."""
    if count <= _ALL_UP_TO:
        yield (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float64)
        return
    random = np.random.default_rng(_SEED)
    for first in range(0, DRAWS, _BLOCK):
        yield random.integers(0, 2, (min(_BLOCK, DRAWS - first), count)).astype(np.float64)


def _intervals(found: Array) -> list[Interval]:
    """Returns the middle of each column of (R, K)."""
    ends = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [Interval(float(low), float(high)) for low, high in ends.T]
