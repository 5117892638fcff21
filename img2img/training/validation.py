"""Scores on held-out samples, and which of them was the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from img2img.methods import Method
from img2img.metrics import l1, psnr, ssim
from img2img.metrics.ssim import WINDOW
from img2img.models import Generator
from img2img.training.runtime import Runtime
from img2img.types import Batch

BEST = "psnr"
"""The score that decides which model file is the best one; higher is better."""


@dataclass
class Scores:
    """The scores of the last validation, of the best one and of the weights that a run began with.

    Each has its step; those of the beginning are there where a run started from weights of others.
    """

    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)

    def update(self, step: int, found: Mapping[str, float]) -> bool:
        """Files the scores of `step`; returns whether they are the best so far."""
        self.last = {**found, "step": step}
        if step == 0:
            self.start = dict(self.last)
        if self.best and found[BEST] <= self.best[BEST]:
            return False
        self.best = dict(self.last)
        return True

    def state(self) -> dict[str, Any]:
        """Returns what `Scores(**state)` takes."""
        return {"best": self.best, "last": self.last, "start": self.start}


def validate(
    method: Method, generators: Mapping[str, Generator], samples: Iterable[Batch], runtime: Runtime
) -> dict[str, float]:
    """Returns the means of L1 (in parts of the range), PSNR (dB) and SSIM over `samples`.

    Pictures smaller than the window of SSIM are left out. Empty where the method has no truth to compare
    with, or no picture is large enough.
    """
    sums: dict[str, float] = {}
    count = 0
    for batch in samples:
        with runtime.autocast():
            pair = method.compare(batch, generators)
        if pair is None:
            return {}
        output, truth = pair
        if min(truth.values.shape[-2:]) < WINDOW:
            continue  # SSIM has no window in it
        low, high = truth.value_range
        made = output.values.float().clamp(low, high)
        real = truth.values.float()
        scores = {
            "l1": l1(made, real, truth.value_range),
            "psnr": psnr(made, real, truth.value_range),
            "ssim": ssim(made, real, truth.value_range),
        }
        for name, values in scores.items():
            sums[name] = sums.get(name, 0.0) + float(values.sum())
        count += len(real)
    return {name: value / count for name, value in sums.items()} if count else {}
