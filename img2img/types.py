"""The words that every package shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    """What a training method sees: some samples, field by field.

        batch = Batch({"source": photographs, "mask": holes}, keys=("1.jpg", "2.jpg"))
        batch.source, batch["mask"]

    Attributes:
        fields: By name (N, C, H, W) for what has a height and a width, (N, K) for vectors.
        keys: The names of the samples, so that a failure can name its files.
    """

    fields: Mapping[str, Tensor]
    keys: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Tensor:
        return self.fields[name]

    def __getattr__(self, name: str) -> Tensor:
        fields: Mapping[str, Tensor] = self.__dict__.get("fields", {})  # none while it is unpickled
        if name not in fields:
            raise AttributeError(f"the batch has no field {name!r}, but {', '.join(fields) or 'none'}")
        return fields[name]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Returns the same samples with `change` done to every field."""
        return Batch({name: change(tensor) for name, tensor in self.fields.items()}, self.keys)
