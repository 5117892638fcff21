"""The words that every package shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class ValueRange(NamedTuple):
    """The closed interval that stands for black to white in a tensor, for example (0, 1) or (-1, 1)."""

    low: float
    high: float


UNIT = ValueRange(0.0, 1.0)
SYMMETRIC = ValueRange(-1.0, 1.0)


@dataclass(frozen=True)
class Batch:
    """What a training method sees; paired, unpaired and super-resolution data alike.

    Attributes:
        source: (N, C, H, W).
        target: (N, C, H*scale, W*scale); for unpaired data the images of the other domain.
        keys: The names of the samples, so that a failure can name its files.
        conditions: Masks, labels or instance maps that some methods need, by name.
    """

    source: Tensor
    target: Tensor
    keys: tuple[str, ...] = ()
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
