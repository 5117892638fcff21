"""A network between two others.

Wang et al.: ESRGAN (arXiv:1809.00219), section 3.4, network interpolation: the weights of a model trained for
PSNR and of the one that adversarial training made of it, mixed, give every degree between faithful and crisp.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from img2img.errors import ConfigError
from img2img.models.base import Generator


def interpolate(first: Generator, second: Generator, alpha: float) -> Generator:
    """Returns the network with the weights (1 - alpha) * first + alpha * second.

    Averages that norm layers keep are interpolated like weights; whole numbers, such as how many batches they
    have seen, are those of the nearer network (of `first` half way).

    Args:
        first: What 0 gives, exactly.
        second: What 1 gives, exactly. It needs the architecture of `first`, and should have grown from the
            same weights: of networks that were trained from different beginnings the mean makes noise.
        alpha: 0 to 1.

    Raises:
        ConfigError: alpha is outside, or the architectures differ; the message says in what.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha {alpha} is not from 0 (the first model) to 1 (the second).")
    if found := differences(first, second):
        raise ConfigError(f"the two models cannot be blended: {'; '.join(found)}.")
    ours, theirs = first.state_dict(), second.state_dict()
    mixed = copy.deepcopy(second if alpha > 0.5 else first)
    if 0 < alpha < 1:
        mixed.load_state_dict({name: _mix(ours[name], theirs[name], alpha) for name in ours})
    return mixed


def differences(first: Generator, second: Generator) -> list[str]:
    """Returns in words what keeps two networks from being blended; nothing if they can be."""
    if any(next(network.parameters(), None) is None for network in (first, second)):
        return ["an ONNX file keeps its weights to itself, so take what it was made of"]
    if first.spec.name != second.spec.name:
        return [f"the first has the architecture {first.spec.name}, the second {second.spec.name}"]
    ours, theirs = first.spec.arguments, second.spec.arguments
    found = [
        f"{name} is {_value(ours, name)} in the first and {_value(theirs, name)} in the second"
        for name in dict.fromkeys((*ours, *theirs))
        if _value(ours, name) != _value(theirs, name)
    ]
    if found:
        return found
    shapes, others = ({name: tuple(v.shape) for name, v in n.state_dict().items()} for n in (first, second))
    different = [name for name in {**shapes, **others} if shapes.get(name) != others.get(name)]
    return [f"their weights differ in shape, first {different[0]}"] if different else []


def _value(arguments: dict[str, Any], name: str) -> str:
    return repr(arguments[name]) if name in arguments else "missing"


def _mix(ours: Tensor, theirs: Tensor, alpha: float) -> Tensor:
    if not ours.is_floating_point():
        return theirs if alpha > 0.5 else ours
    # in double precision: the result is the mean of the two, rounded once
    return ((1 - alpha) * ours.double() + alpha * theirs.double()).to(ours.dtype)
