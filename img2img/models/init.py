"""The weights that training begins with."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from img2img.errors import ConfigError
from img2img.models.symmetric import SymmetricConv2d
from img2img.registry import unknown

InitKind = Literal["default", "normal", "xavier", "kaiming", "orthogonal"]

_SETTLE = 20
"""Power iterations after which the largest singular value of new weights is known."""


@torch.no_grad()
def initialize(module: nn.Module, kind: InitKind = "normal", gain: float = 0.02) -> None:
    """Draws new weights for every convolution, linear layer and batch norm inside `module`, in place.

    Weights of convolutions and linear layers are drawn as `kind` says, those of batch norm from N(1, gain),
    and all their biases are 0. Everything else, and with "default" everything, stays as it is.

    Args:
        module: A network; its spectral norms are brought up to date.
        kind: "normal" is N(0, gain), what pix2pix and CycleGAN begin with; "xavier" (CUT) and "orthogonal"
            are scaled by `gain`; "kaiming" is not.
        gain: The standard deviation or factor.

    Raises:
        ConfigError: There is no such kind.

    References:
        Glorot and Bengio, 2010; He et al. (arXiv:1502.01852); Saxe et al. (arXiv:1312.6120).
    """
    if kind not in get_args(InitKind):
        raise ConfigError(unknown("initialisation", kind, get_args(InitKind)))
    if kind == "default" or not all(map(has_values, module.parameters())):
        return
    for layer in module.modules():
        if isinstance(layer, _ConvNd | nn.Linear):
            _draw(_weight(layer), kind, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            _settle(layer)
            if isinstance(layer, SymmetricConv2d):
                layer.settle()
        elif isinstance(layer, _BatchNorm) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, gain)
            nn.init.zeros_(layer.bias)


def has_values(tensor: Tensor) -> bool:
    """Returns whether a tensor is more than its size; on the meta device or in a dry run it is not."""
    return not tensor.is_meta and not isinstance(tensor, FakeTensor)


def _draw(weight: Tensor, kind: InitKind, gain: float) -> None:
    match kind:
        case "normal":
            nn.init.normal_(weight, 0.0, gain)
        case "xavier":
            nn.init.xavier_normal_(weight, gain)
        case "kaiming":
            nn.init.kaiming_normal_(weight)
        case "orthogonal":
            nn.init.orthogonal_(weight, gain)


def _parametrization(layer: nn.Module) -> ParametrizationList | None:
    if not is_parametrized(layer, "weight"):
        return None
    return cast(dict[str, ParametrizationList], layer.parametrizations)["weight"]


def _weight(layer: nn.Module) -> Tensor:
    """Returns the parameter itself, not what a parametrisation such as spectral norm makes of it."""
    parametrization = _parametrization(layer)
    weight: Tensor = layer.weight if parametrization is None else parametrization.original  # type: ignore[assignment]
    return weight


def _settle(layer: nn.Module) -> None:
    """Lets a spectral norm find the largest singular value of its new weights, one iteration a call."""
    parametrization = _parametrization(layer)
    if parametrization is not None:
        training = parametrization.training
        parametrization.train()
        for _ in range(_SETTLE):
            parametrization()
        parametrization.train(training)
