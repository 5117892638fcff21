"""Averages of weights over the run, which usually give better pictures than the last ones."""

from __future__ import annotations

import copy

import torch
from torch import nn

from img2img.models import Generator


class ExponentialAverage(nn.Module):
    """Follows what a network's state holds: average += (1 - decay) * (value - average).

    Constants, which are buffers that no state dict has, are left as they are.

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
        self._kept = frozenset(network.state_dict())
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
        pairs = list(zip(self._tensors(self.network), self._tensors(self._followed[0]), strict=True))
        floats = [(mine, other) for mine, other in pairs if mine.is_floating_point()]
        own, theirs = [mine for mine, _ in floats], [other for _, other in floats]
        torch._foreach_lerp_(own, theirs, [weight] * len(own))
        for mine, other in pairs:
            if not mine.is_floating_point():
                mine.copy_(torch.where(skip > 0, mine, other))
        self.updates += (1 - skip).long()

    def _tensors(self, network: nn.Module) -> list[torch.Tensor]:
        """Returns parameters and buffers, each once, but for constants."""
        buffers = (buffer for name, buffer in network.named_buffers() if name in self._kept)
        return [tensor.detach() for tensor in (*network.parameters(), *buffers)]
