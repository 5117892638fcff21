"""Optimizers that can leave out an update without the host knowing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from img2img.training.settings import TrainingSettings

_SMALLEST = 16  # channels on either side from which a convolution counts as a matrix for Muon
_ROUNDS = 5  # of Newton-Schulz


def make_optimizer(
    settings: TrainingSettings, parameters: Mapping[str, nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """Returns the optimizer of `settings` for named parameters.

    Every one of them leaves everything as it is in a `step` with the attribute `found_inf` set to 1. Adam
    comes in its fused form, which passes over the weights once: on the CPU five times as fast as the plain
    one. With CUDA graphs the rate is a tensor, so that a replay sees it.
    """
    graphs = settings.cuda_graphs and device.type == "cuda"
    rate: Any = torch.tensor(settings.learning_rate, device=device) if graphs else settings.learning_rate
    common: dict[str, Any] = {"lr": rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
    if settings.optimizer == "muon":
        return Muon(parameters.values(), **common)
    cls = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return cls(list(parameters.values()), fused=True, capturable=graphs, **common)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before each step; Adam for everything that is no matrix.

    A convolution with at least 16 channels on both sides counts as a matrix (out, in * k * k). Its step has
    singular values near 1, so all its directions learn at one speed. Vectors, and convolutions from or to a
    picture, take the step of Adam. The learning rate is Adam's; for matrices it is multiplied by `boost`.

    Args:
        parameters: What learns.
        lr: Learning rate.
        betas: Decay of Adam's averages.
        weight_decay: Decoupled decay of the weights.
        momentum: Decay of the momentum of matrices, in Nesterov's form.
        boost: Ratio of the two learning rates.

    Attributes:
        found_inf: 0-dim tensor; at 1 the step changes nothing.

    References:
        Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024), with the coefficients
        of its quintic Newton-Schulz iteration; here in fp32 and for convolutions.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        boost: float = 5.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "boost": boost,
        }
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Takes one step along the gradients that are there."""
        if self.found_inf is not None and bool(self.found_inf > 0):
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                state = self.state[parameter]
                if parameter.ndim == 4 and min(parameter.shape[:2]) >= _SMALLEST:
                    self._step_matrix(parameter, parameter.grad, state, group)
                else:
                    self._step_adam(parameter, parameter.grad, state, group)

    @staticmethod
    def _step_matrix(
        parameter: nn.Parameter, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        matrix = gradient.lerp(state["momentum"], group["momentum"]).reshape(len(parameter), -1)
        rows, columns = matrix.shape
        direction = orthogonal(matrix).view_as(parameter) * max(1.0, rows / columns) ** 0.5
        parameter.sub_(direction * (group["lr"] * group["boost"]))

    @staticmethod
    def _step_adam(
        parameter: nn.Parameter, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        if not state:
            state |= {
                "step": 0,
                "mean": torch.zeros_like(parameter),
                "square": torch.zeros_like(parameter),
            }
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(gradient.square(), 1 - beta2)
        mean = state["mean"] / (1 - beta1 ** state["step"])
        square = state["square"] / (1 - beta2 ** state["step"])
        parameter.sub_(group["lr"] * mean / (square.sqrt() + 1e-8))


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns a matrix near the orthogonal factor of the polar decomposition of `matrix`, shape (m, n).

    Singular values end between about 0.7 and 1.2: enough for a direction, at the price of a few products.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
