"""Averages of weights over the run, which usually give better pictures than the last ones."""

from __future__ import annotations

import copy

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
        device = next(network.parameters()).device
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64, device=device))
        self._followed = (network,)  # in a tuple, so that it is no part of this module

    @torch.no_grad()
    def update(self, skip: torch.Tensor) -> None:
        """Takes in the present weights of the network, which must be finite.

        Args:
            skip: 0-dim; at 1 the average stays as it is. It is never looked at by the host, and neither is
                the number of updates, so that nothing waits for the device.
        """
        count = self.updates.double()
        decay = torch.clamp((1 + count) / (10 + count), max=self.decay)
        weight = ((1 - decay) * (1 - skip)).float()
        own, theirs = list(self._floats(self.network)), list(self._floats(self._followed[0]))
        torch._foreach_lerp_(own, theirs, [weight] * len(own))
        for mine, other in zip(self.network.buffers(), self._followed[0].buffers(), strict=True):
            if not mine.is_floating_point():
                mine.copy_(torch.where(skip > 0, mine, other))
        self.updates += (1 - skip).long()

    @staticmethod
    def _floats(network: nn.Module) -> list[torch.Tensor]:
        tensors = [*network.parameters(), *network.buffers()]
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
