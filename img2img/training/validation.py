"""Scores on held-out samples, and which of them was the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.methods import Method
from img2img.metrics import metrics
from img2img.metrics.confusion import COLUMNS, tally, tally_scores
from img2img.metrics.sets import require_pairs
from img2img.metrics.ssim import WINDOW
from img2img.models import Generator
from img2img.registry import unknown
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

USUAL = ("l1", "psnr", "ssim")
"""What is measured in any case."""


@dataclass
class Scores:
    """The scores of the last validation, of the best one and of the weights that a run began with.

    Each has its step; those of the beginning are there where a run started from weights of others.

    Attributes:
        by: The score that decides which is the best.
    """

    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    by: str = "psnr"

    def update(self, step: int, found: Mapping[str, float]) -> bool:
        """Files the scores of `step`; returns whether they are the best so far."""
        self.last = {**found, "step": step}
        if step == 0:
            self.start = dict(self.last)
        value = found.get(self.by, math.nan)
        if math.isnan(value) or (self.best and not is_better(self.by, value, self.best[self.by])):
            return False
        self.best = dict(self.last)
        return True

    def state(self) -> dict[str, Any]:
        """Returns what `Scores(**state)` takes."""
        return {"best": self.best, "last": self.last, "start": self.start, "by": self.by}


def is_better(name: str, value: float, other: float) -> bool:
    """Returns whether a score called `name` is better than another one."""
    higher = name in COLUMNS or metrics[name].higher_is_better
    return value > other if higher else value < other


class Validation:
    """What is measured on held-out samples.

    Args:
        method: Whose outputs.
        settings: Which metrics beside the usual ones, and which one decides.

    Attributes:
        by: The score that decides: PSNR, for label maps mean IoU, or what the settings say.
        missing: Why a score could not be had the last time, in sentences.

    Raises:
        ConfigError: There is no such metric for what the method makes, or what it needs is not at hand.
    """

    def __init__(self, method: Method, settings: TrainingSettings) -> None:
        first = next(iter(method.exports().values()))
        self.method, self.labels = method, first.output == "labels"
        self.by = settings.validate_by or (COLUMNS[0] if self.labels else "psnr")
        known = [*metrics, *(COLUMNS if self.labels else ())]
        for name in (*settings.metrics, self.by):
            require_pairs(name)
            if name not in known:
                if name in COLUMNS:
                    raise ConfigError(f"{name} is a score of label maps, and the method makes pictures.")
                raise ConfigError(f"validation: {unknown('metric', name, known)}")
        wanted = [*USUAL, *settings.metrics, self.by]
        self.names = tuple(name for name in dict.fromkeys(wanted) if name not in COLUMNS)
        for name in self.names:
            metrics[name].prepare()
        self.missing: list[str] = []

    def __call__(
        self, generators: Mapping[str, Generator], samples: Iterable[Batch], runtime: Runtime
    ) -> dict[str, float]:
        """Returns means over `samples`: L1 (in parts of the range), PSNR (dB), SSIM, and what was asked for.

        Of label maps the scores are those of all pixels together. Pictures smaller than the window of SSIM
        are left out, and of each further metric those that it cannot look at. Empty where the method has no
        truth to compare with, or no picture is large enough.
        """
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        tallied: Tensor | None = None
        reasons: dict[str, str] = {}
        for batch in samples:
            with runtime.autocast():
                pair = self.method.compare(batch, generators)
            if pair is None:
                return {}
            output, truth = pair
            if min(truth.values.shape[-2:]) < WINDOW:
                continue  # SSIM has no window in it
            low, high = truth.value_range
            made = output.values.float().clamp(low, high)
            real = truth.values.float().clamp(low, high)
            if self.labels:
                found = _tally(made, real)
                tallied = found if tallied is None else tallied + found
            for name in self.names:
                try:
                    values = metrics[name].measure(made, real, truth.value_range)
                except ValueError as error:
                    if name in USUAL:
                        raise
                    reasons[name] = str(error)
                    continue
                sums[name] = sums.get(name, 0.0) + float(values.sum())
                counts[name] = counts.get(name, 0) + len(real)
        self.missing = [f"{name}: {why}" for name, why in reasons.items() if name not in counts]
        means = {name: sums[name] / counts[name] for name in self.names if name in counts}
        if tallied is None:
            return means
        labels = dict(zip(COLUMNS, tally_scores(tallied.numpy()).tolist(), strict=True))
        return means | {name: value for name, value in labels.items() if not math.isnan(value)}


def _tally(made: Tensor, real: Tensor) -> Tensor:
    """Returns the tally of likelihoods and one-hot labels (N, K, H, W), 0 where there is no class."""
    truth = torch.where(real.amax(1) > 0, real.argmax(1), -1)
    return tally(made.argmax(1), truth, real.shape[1])
