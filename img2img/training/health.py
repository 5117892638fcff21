"""The usual deaths of a run, noticed early and said once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from img2img.methods import Column

WINDOW = 20  # statuses; a short run of luck is no collapse
_SATURATED = 0.02  # of the loss of a discriminator that cannot tell
_FLAT = 0.01  # standard deviation over a picture, of the whole range
_SAME = 0.02  # how much outputs differ from each other, of how much their inputs do
_INVERTED = -0.3  # correlation


class Health:
    """Watches the losses and the pictures, and has a sentence for each of the usual troubles, once each."""

    def __init__(self) -> None:
        self._discriminators: dict[str, deque[float]] = {}
        self._highest: dict[str, float] = {}
        self._said: set[str] = set()

    def state(self) -> dict[str, Any]:
        """Returns what a run that continues has to know."""
        losses = {name: list(values) for name, values in self._discriminators.items()}
        return {"losses": losses, "highest": dict(self._highest), "said": sorted(self._said)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> Self:
        """Returns one that goes on from what `state` returned; without a state a new one."""
        health = cls()
        if state is not None:
            health._discriminators = {
                n: deque(values, maxlen=WINDOW) for n, values in state["losses"].items()
            }
            health._highest = dict(state["highest"])
            health._said = set(state["said"])
        return health

    def losses(self, means: Mapping[str, float]) -> Iterator[str]:
        """Yields warnings about the mean losses since the last status."""
        totals: dict[str, float] = {}
        for loss, value in means.items():
            name, _, of = loss.rpartition("_")
            if of in ("real", "fake") and (name == "d" or name.startswith("d_")):
                totals[name] = totals.get(name, 0.0) + value
        for name, total in totals.items():
            self._highest[name] = max(self._highest.get(name, total), total)
            recent = self._discriminators.setdefault(name, deque(maxlen=WINDOW))
            recent.append(total)
            if len(recent) == WINDOW and 0 <= max(recent) < _SATURATED * self._highest[name]:
                whose = "" if name == "d" else f" of {name.removeprefix('d_').upper()}"
                yield from self._once(
                    f"saturated {name}",
                    f"the discriminator{whose} has won: its loss has been near zero for a long time, and the "
                    "generator learns nothing from it. Try method.real_label 0.9, a smaller "
                    "learning_rates.discriminator, fewer discriminator layers, or more data.",
                )

    def columns(self, columns: Mapping[str, Column]) -> Iterator[str]:
        """Yields warnings about a sample grid, whose columns are those of `Method.columns`."""
        targets = {name: column for name, column in columns.items() if column.role == "target"}
        for name, column in columns.items():
            if column.role != "output":
                continue
            values, given = _unit(column), _input_of(column, columns)
            if bool((values.flatten(1).std(1) < _FLAT).all()):
                yield from self._once(
                    f"flat {name}",
                    f"the {name} is one flat colour for every sample. Lower the learning rate, check "
                    "`img2img data preview`, or start again with another seed.",
                )
            elif given is not None and _alike(values, _unit(columns[given])):
                yield from self._once(
                    f"same {name}",
                    f"the {name} is the same picture for every sample: the generator ignores its input "
                    "(mode collapse). Try a smaller learning rate, more data, or a larger weight of the "
                    "pixel or cycle loss.",
                )
            if targets:
                if any(_negative(column, target) for target in targets.values()):
                    yield from self._once(
                        "inverted",
                        "outputs are negatives of their targets: colours are inverted. Check data.direction "
                        "and the data with `img2img data preview`; if they are right, start again with "
                        "another seed.",
                    )
            elif given is not None and _negative(column, columns[given]):
                yield from self._once(
                    f"inverted {name}",
                    f"what is made on the way {name} are negatives of {given}: colours are inverted, which "
                    "the cycle loss does not mind. If the two kinds of pictures are not negatives of each "
                    "other, raise method.identity, or start again with another seed.",
                )

    def _once(self, key: str, text: str) -> Iterator[str]:
        if key not in self._said:
            self._said.add(key)
            yield text


def _unit(column: Column) -> Tensor:
    """Returns the values with black at 0 and white at 1."""
    low, high = column.value_range
    return (column.values.float() - low) / (high - low)


def _input_of(column: Column, columns: Mapping[str, Column]) -> str | None:
    """Returns the caption of the column that another one was made from."""
    return column.of or next((name for name, other in columns.items() if other.role == "input"), None)


def _alike(outputs: Tensor, inputs: Tensor) -> bool:
    """Returns whether outputs (N, C, H, W) of inputs that differ do not."""
    _, numbers = torch.unique(inputs.flatten(1), dim=0, return_inverse=True)
    rows = [int((numbers == number).nonzero()[0]) for number in range(int(numbers.max()) + 1)]
    if len(rows) < 2:
        return False
    return _variety(outputs[rows]) < _SAME * _variety(inputs[rows])


def _variety(images: Tensor) -> float:
    return float((images - images.mean(0)).abs().mean())


def _negative(made: Column, of: Column) -> bool:
    """Returns whether one column shows negatives of another."""
    return correlation(made.values.float(), of.values.float()) < _INVERTED


def correlation(a: Tensor, b: Tensor) -> float:
    """Returns the mean over the samples of the correlation between two batches (N, C, H, W)."""
    if a.shape != b.shape:
        return 0.0
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    scale = a.norm(dim=1) * b.norm(dim=1)
    return float(((a * b).sum(1) / scale.clamp(min=1e-12)).mean())
