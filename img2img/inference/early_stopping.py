"""When to stop fitting one picture without knowing the true one: where its outputs vary least.

A network that is fitted to a damaged picture draws what pictures have in common first and the damage last.
Between the two its outputs hardly change from step to step, and their variance has a valley.

References:
    Wang et al., Early Stopping for Deep Image Prior (arXiv:2112.06074): algorithm 1 (WMV) and 2 (EMV).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import Literal, get_args

from torch import Tensor

from img2img.errors import ConfigError
from img2img.registry import unknown

StoppingRule = Literal["windowed", "moving", "none"]
WINDOW, PATIENCE, SHARE = 100, 1000, 0.1  # the authors'


class Stopping(ABC):
    """Watches the outputs of successive steps.

    Args:
        patience: How many steps in a row without a lower variance end it.

    Attributes:
        variance: Mean over the values of a picture of their variance over the last steps; NaN while there
            are too few.
        least: The lowest so far.
        step: How many outputs were seen, and `best`: at which of them the variance was lowest, 0 before.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self.patience = patience
        self.variance, self.least = math.nan, math.inf
        self.step = self.best = 0

    def add(self, picture: Tensor) -> bool:
        """Takes the output of one step and returns whether the variance is the lowest so far."""
        self.step += 1
        self.variance = self._after(picture.detach().cpu().flatten())
        if not self.variance < self.least:
            return False
        self.least, self.best = self.variance, self.step
        return True

    @property
    def done(self) -> bool:
        """Whether the lowest variance is so long ago that no lower one is expected."""
        return self.best > 0 and self.step - self.best >= self.patience

    @abstractmethod
    def _after(self, values: Tensor) -> float:
        """Takes values (n,) and returns the variance, NaN while it is none."""


class WindowedVariance(Stopping):
    """The variance within the last `window` outputs; holds all of them."""

    def __init__(self, window: int = WINDOW, patience: int = PATIENCE) -> None:
        super().__init__(patience)
        self._outputs: deque[Tensor] = deque()
        self._window = window
        self._sum: Tensor | None = None
        self._squares = 0.0

    def _after(self, values: Tensor) -> float:
        # sums in double precision that gain and lose one output at a time: no step reads all of them
        new = values.double()
        self._outputs.append(values)
        self._sum = new.clone() if self._sum is None else self._sum.add_(new)
        self._squares += float(new @ new)
        if len(self._outputs) > self._window:
            old = self._outputs.popleft().double()
            self._sum.sub_(old)
            self._squares -= float(old @ old)
        if len(self._outputs) < self._window:
            return math.nan
        mean = self._sum / self._window
        return max(0.0, self._squares / self._window - float(mean @ mean)) / len(values)


class MovingVariance(Stopping):
    """The exponential moving variance; holds one picture. The first `window` outputs do not count."""

    def __init__(self, share: float = SHARE, window: int = WINDOW, patience: int = PATIENCE) -> None:
        super().__init__(patience)
        self._share, self._window = share, window
        self._mean: Tensor | None = None
        self._moving = 0.0

    def _after(self, values: Tensor) -> float:
        if self._mean is None:
            self._mean = values.clone()
        else:
            off = values - self._mean
            self._mean.add_(off, alpha=self._share)
            self._moving = (1 - self._share) * (self._moving + self._share * float(off @ off))
        return self._moving / len(values) if self.step > self._window else math.nan


def stopping(rule: StoppingRule) -> Stopping | None:
    """Returns a fresh rule with the authors' numbers; None for "none".

    Raises:
        ConfigError: There is no such rule.
    """
    if rule not in get_args(StoppingRule):
        raise ConfigError(unknown("rule", rule, get_args(StoppingRule)))
    if rule == "none":
        return None
    return WindowedVariance() if rule == "windowed" else MovingVariance()
