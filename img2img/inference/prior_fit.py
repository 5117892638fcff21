"""Fitting an untrained network to one damaged picture: Deep Image Prior (arXiv:1711.10925)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from img2img.inference.early_stopping import Stopping
from img2img.inference.prior_tasks import PriorRecipe
from img2img.models.hourglass import Hourglass

AVERAGING = 0.99
"""Share of what was before in the average of outputs, once there are many."""
_INPUT = 0.1  # the largest number in the input
_WORSE = 10**0.5  # times the loss before: the authors' 5 dB


@dataclass(frozen=True)
class FitState:
    """How far a fit is, after one step.

    Attributes:
        step: How many steps are done.
        steps: At most.
        seconds: Per step, without the first one.
        output: Of this step, (1, C, H, W) between 0 and 1; belongs to the fit.
        average: The average of outputs, likewise.
        loss: Mean squared error of this step against the observation.
    """

    step: int
    steps: int
    seconds: float
    output: Tensor
    average: Tensor
    loss: float


@dataclass(frozen=True)
class FittedPicture:
    """What a fit came to.

    Attributes:
        picture: (1, C, H, W) between 0 and 1: the average of outputs at step `chosen`.
        chosen: The step at which the rule saw the lowest variance; without a rule, or before it could tell,
            the last.
        steps: How many were done.
        ended: Why there were no more: "variance", "steps" or "time".
    """

    picture: Tensor
    chosen: int
    steps: int
    ended: Literal["variance", "steps", "time"]


def network_for(recipe: PriorRecipe, channels: int, seed: int) -> Hourglass:
    """Returns the network of `recipe` with weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Hourglass(recipe.inputs or 2, channels, recipe.widths, recipe.bridges, recipe.enlarging)


def padded(size: tuple[int, int], unit: int) -> tuple[int, int]:
    """Returns the height and width at which a network draws a picture of this size."""
    height, width = (max(2 * unit, math.ceil(side / unit) * unit) for side in size)
    return height, width


def fit(
    recipe: PriorRecipe,
    observed: Tensor,
    observe: Callable[[Tensor], Tensor],
    size: tuple[int, int],
    *,
    seed: int = 0,
    rule: Stopping | None = None,
    seconds: float | None = None,
    on_step: Callable[[FitState], None] = lambda state: None,
) -> FittedPicture:
    """Fits a fresh network until what is observed of its output is like `observed`, or rather until before.

    When the loss rises by 5 dB in one step, the weights of before come back, as the authors do it. Unlike
    there the output is averaged in all tasks, the average takes fewer outputs in early steps (the share of
    what was before is (1 + step) / (10 + step), at most 0.99), and sides that are no multiples of the
    network's are extended instead of cut: what is drawn there counts for nothing.

    Args:
        recipe: Of the task.
        observed: (1, C, h, w); black is 0, white is 1.
        observe: What becomes of a picture (1, C, H, W) when it is observed, of the shape of `observed`.
        size: (H, W) of the picture.
        seed: Of the weights, the input and its jitter.
        rule: When to stop, and which average to return; a fresh one.
        seconds: After that time no new step begins.
        on_step: Called after each step. What it raises ends the fit.

    Returns:
        The picture; equal arguments give equal ones, on one machine with one number of threads and
        without a limit of time.
    """
    device = observed.device
    network = network_for(recipe, observed.shape[1], seed).to(device)
    random = torch.Generator(device).manual_seed(seed)
    still = _input(recipe, padded(size, network.multiple_of), random)
    weights = list(network.parameters())
    kept = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.Adam(weights, recipe.learning_rate)
    average = chosen = torch.empty(0)
    last, step, at = math.inf, 0, 0
    ended: Literal["variance", "steps", "time"] = "steps"
    began = time.monotonic()
    after_first = began
    while step < recipe.steps:
        if seconds is not None and step and time.monotonic() - began >= seconds:
            ended = "time"
            break
        jitter = torch.empty_like(still).normal_(0, recipe.jitter, generator=random)
        output = network(still + jitter)[..., : size[0], : size[1]]
        error = (observe(output) - observed).square().mean()
        loss = error.item()
        step += 1
        if not loss <= last * _WORSE:  # nor is it a number, perhaps
            with torch.no_grad():
                for weight, before in zip(weights, kept, strict=True):
                    weight.copy_(before)
            continue
        last = loss
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                before.copy_(weight)
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        output = output.detach()
        share = min(AVERAGING, (1 + step) / (10 + step))
        average = output.clone() if step == 1 else average.lerp_(output, 1 - share)
        if rule is not None and rule.add(output):
            chosen, at = average.clone(), step
        now = time.monotonic()
        after_first = now if step == 1 else after_first
        pace = (now - after_first) / (step - 1) if step > 1 else now - began
        on_step(FitState(step, recipe.steps, pace, output, average, loss))
        if rule is not None and rule.done:
            ended = "variance"
            break
    return FittedPicture(chosen if at else average, at or step, step, ended)


def _input(recipe: PriorRecipe, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """Returns the input of the network, (1, C, H, W)."""
    height, width = size
    if recipe.inputs is not None:
        noise = torch.rand(1, recipe.inputs, height, width, generator=random, device=random.device)
        return noise * _INPUT
    rows, columns = (torch.linspace(0, 1, side, device=random.device) for side in size)
    return torch.stack((columns.expand(height, width), rows[:, None].expand(height, width)))[None]
