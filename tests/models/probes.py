"""Measures on a network what its attributes claim."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from img2img.models import Generator


def radius(generator: Generator, side: int) -> int:
    """Returns how many input pixels beyond its cell of `multiple_of` an output pixel in the middle sees."""
    generator = generator.double().eval()
    for module in list(generator.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Tanh):  # saturates, and then has no gradient
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in generator.parameters():  # positive, so that nothing cancels and no ReLU closes
            parameter.abs_().add_(1e-3)
    x = torch.rand(1, generator.in_channels, side, side, dtype=torch.double, requires_grad=True)
    y = generator(x)
    cell, scale = generator.multiple_of, generator.scale
    start = side // 2 // cell * cell
    found = 0
    for row in range(start * scale, (start + cell) * scale):
        (gradient,) = torch.autograd.grad(y[:, :, row].sum(), x, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        found = max(found, start - int(rows[0]), int(rows[-1]) - (start + cell - 1))
    return found


class _Live(TorchDispatchMode):
    """Adds up the tensors that are alive after every operation."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights, self.seen, self.peak = weights, list[tuple[Any, int, int]](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in self.weights:
                storage = leaf.untyped_storage()
                self.seen.append((weakref.ref(leaf), storage.data_ptr(), storage.nbytes()))
        self.seen = [entry for entry in self.seen if entry[0]() is not None]
        self.peak = max(self.peak, sum({place: size for _, place, size in self.seen}.values()))
        return result


@torch.no_grad()
def live_features(generator: Generator, side: int) -> float:
    """Returns the peak of activation values alive at once, per input pixel."""
    kept = [*generator.parameters(), *generator.buffers()]
    mode = _Live({tensor.untyped_storage().data_ptr() for tensor in kept})
    x = torch.rand(1, generator.in_channels, side, side)
    with mode:
        generator.eval()(x)
    return mode.peak / x.element_size() / side**2


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
