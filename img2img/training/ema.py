"""Averages of weights over the run, which usually give better pictures than the last ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from img2img.models import Generator


class ExponentialAverage(nn.Module):
    """Follows the parameters and buffers of a network: average += (1 - decay) * (value - average).

    In the first steps the decay is smaller, (1 + n) / (10 + n) after n updates, so that the average does not
    remember the random weights of the start.

    Args:
        network: What is followed; the average starts as a copy of it.
        decay: How much of the average stays in each step; 0.999 forgets in about 1000 steps.

    Attributes:
        network: The averaged copy, in evaluation mode, without gradients.

    References:
        Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging (1992).
    """

    network: Generator
    updates: torch.Tensor

    def __init__(self, network: Generator, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._followed = (network,)  # in a tuple, so that it is no part of this module
        self._count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights of the network."""
        decay = min(self.decay, (1 + self._count) / (10 + self._count))
        self._count += 1
        self.updates.fill_(self._count)
        own, theirs = list(self._floats(self.network)), list(self._floats(self._followed[0]))
        torch._foreach_lerp_(own, theirs, 1 - decay)
        for mine, other in zip(self.network.buffers(), self._followed[0].buffers(), strict=True):
            if not mine.is_floating_point():
                mine.copy_(other)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned, and so how many updates the average has seen."""
        self.load_state_dict(state)
        self._count = int(self.updates)

    @staticmethod
    def _floats(network: nn.Module) -> list[torch.Tensor]:
        tensors = [*network.parameters(), *network.buffers()]
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
