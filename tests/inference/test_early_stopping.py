"""When a fit is stopped without the truth: two variances against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError
from img2img.inference.early_stopping import MovingVariance, WindowedVariance, stopping


def outputs(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 1, 3, 4, 5)).astype(np.float32)


def test_the_windowed_variance_is_that_of_the_last_outputs() -> None:
    rule, pictures = WindowedVariance(window=7), outputs(20)
    for step, picture in enumerate(pictures, 1):
        rule.add(torch.from_numpy(picture))
        if step < 7:
            assert math.isnan(rule.variance) and rule.best == 0
        else:
            last = pictures[step - 7 : step].astype(np.float64)
            assert rule.variance == pytest.approx(np.square(last - last.mean(0)).mean(), rel=1e-9)


def test_the_windowed_variance_forgets_what_was_large() -> None:
    """Sums that gain and lose one output a step do not drift."""
    rule = WindowedVariance(window=5)
    for _ in range(50):
        rule.add(1e3 * torch.rand(60))
    for _ in range(5):
        rule.add(torch.full((60,), 0.5))
    assert rule.variance < 1e-10


def test_the_moving_variance_is_that_of_the_paper() -> None:
    rule, pictures = MovingVariance(share=0.1, window=3), outputs(12).astype(np.float64)
    mean, variance = pictures[0], 0.0
    rule.add(torch.from_numpy(pictures[0]))
    for step, picture in enumerate(pictures[1:], 2):
        off = picture - mean
        mean, variance = mean + 0.1 * off, 0.9 * (variance + 0.1 * np.square(off).sum())
        rule.add(torch.from_numpy(picture))
        if step > 3:
            assert rule.variance == pytest.approx(variance / picture.size, rel=1e-6)
        else:
            assert math.isnan(rule.variance)


@pytest.mark.parametrize(
    "rule", [WindowedVariance(4, patience=6), MovingVariance(0.5, 2, patience=6)], ids=["windowed", "moving"]
)
def test_the_valley_is_found_and_waited_for(rule: WindowedVariance | MovingVariance) -> None:
    random = np.random.default_rng(1)
    spread = np.abs(np.arange(60) - 30) + 1.0  # least at step 31
    lowest = []
    for size in spread:
        if rule.done:
            break
        if rule.add(torch.from_numpy(size * random.standard_normal(2000))):
            lowest.append(rule.step)
    assert rule.done and rule.step == rule.best + 6
    assert lowest[-1] == rule.best and 30 <= rule.best <= 36


def test_a_rule_by_its_name() -> None:
    assert isinstance(stopping("windowed"), WindowedVariance)
    assert isinstance(stopping("moving"), MovingVariance)
    assert stopping("none") is None
    with pytest.raises(ConfigError, match="did you mean 'windowed'"):
        stopping("window")  # type: ignore[arg-type]
