"""Learning rates as pure functions of the position in the run: nothing to save, nothing to resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Position(BaseModel):
    """How far a run is.

    Attributes:
        step: Steps done in the present part of the run; 0 at its start.
        epoch: Whole passes over the data since the start of that part; 0 during the first.
        total: Steps of the part.
        epochs: Whole passes over the data in the part, at least 1.
    """

    model_config = ConfigDict(frozen=True)

    step: int
    epoch: int
    total: int
    epochs: int


class _ScheduleBase(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Constant(_ScheduleBase):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from zero first.")

    def factor(self, position: Position) -> float:
        """Returns what the learning rate is multiplied by."""
        return _warm(position.step, self.warmup)


class Linear(_ScheduleBase):
    """Constant, then in a straight line towards zero, epoch by epoch: pix2pix and CycleGAN.

    During epoch e, counted from 0, the factor is 1 - max(0, e + 1 - constant_epochs) / (decay_epochs + 1):
    the first decrease comes after `constant_epochs` whole epochs, and the last epoch still learns.

    References:
        Isola et al. (arXiv:1611.07004) and Zhu et al. (arXiv:1703.10593), as in the present version of the
        authors' code; its older one was an epoch ahead and learned nothing in the last.
    """

    kind: Literal["linear"] = "linear"
    constant_epochs: int | None = Field(
        None, ge=0, description="Epochs at the full rate; null takes what decay_epochs leaves, or half."
    )
    decay_epochs: int | None = Field(
        None, ge=0, description="Epochs on the way to zero; null takes all after constant_epochs."
    )
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from zero first.")

    def factor(self, position: Position) -> float:
        """Returns what the learning rate is multiplied by."""
        constant, decay = self.constant_epochs, self.decay_epochs
        if constant is None:
            constant = position.epochs // 2 if decay is None else max(0, position.epochs - decay)
        if decay is None:
            decay = max(0, position.epochs - constant)
        decrease = max(0, position.epoch + 1 - constant) / (decay + 1)
        return max(0.0, 1.0 - decrease) * _warm(position.step, self.warmup)


class Cosine(_ScheduleBase):
    """Half a cosine from the full rate to `floor`, over the whole run or in equal cycles that restart.

    References:
        Loshchilov and Hutter, SGDR (arXiv:1608.03983).
    """

    kind: Literal["cosine"] = "cosine"
    cycles: int = Field(1, ge=1, description="Equal cycles, each from the full rate down.")
    floor: float = Field(0.0, ge=0, le=1, description="Factor at the end of each cycle.")
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from zero first.")

    def factor(self, position: Position) -> float:
        """Returns what the learning rate is multiplied by."""
        place = position.step * self.cycles / max(1, position.total)
        place = 1.0 if place >= self.cycles else place % 1.0
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * place))
        return cosine * _warm(position.step, self.warmup)


class MultiStep(_ScheduleBase):
    """Multiplied by `gamma` at each milestone: ESRGAN."""

    kind: Literal["multistep"] = "multistep"
    milestones: Sequence[Annotated[int, Field(gt=0)]] = Field(description="Steps at which the rate drops.")
    gamma: float = Field(0.5, gt=0, le=1, description="What it is multiplied by there.")
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from zero first.")

    def factor(self, position: Position) -> float:
        """Returns what the learning rate is multiplied by."""
        passed = sum(position.step >= milestone for milestone in self.milestones)
        return float(self.gamma**passed) * _warm(position.step, self.warmup)


class Trapezoid(_ScheduleBase):
    """Constant, then in a straight line to zero at the very end: a run of unknown length.

    Because the full rate does not depend on the length, a run that turns out too short can go on from any
    state before its descent, with more steps.

    References:
        Zhai et al., Scaling Vision Transformers (arXiv:2106.04560), section 3.5, on such schedules.
    """

    kind: Literal["trapezoid"] = "trapezoid"
    descent: int = Field(gt=0, description="Steps of the straight line to zero at the end.")
    warmup: int = Field(0, ge=0, description="Steps over which the rate rises from zero first.")

    def factor(self, position: Position) -> float:
        """Returns what the learning rate is multiplied by."""
        left = max(0, position.total - position.step)
        return min(1.0, left / self.descent) * _warm(position.step, self.warmup)


Schedule = Annotated[Constant | Linear | Cosine | MultiStep | Trapezoid, Field(discriminator="kind")]


def _warm(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0
