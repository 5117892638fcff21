"""The words that every package shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


class ValueRange(NamedTuple):
    """The closed interval that stands for black to white in a tensor, for example (0, 1) or (-1, 1)."""

    low: float
    high: float


Logits: TypeAlias = "Tensor | Sequence[Tensor]"
"""What a discriminator makes of images, before any sigmoid; of several scales one tensor each."""

Features: TypeAlias = "Sequence[Tensor] | Sequence[Sequence[Tensor]]"
"""The outputs of a discriminator's stages, logits last; of several scales one such list each."""

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
