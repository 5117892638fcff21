"""What does not learn in a part of a run: groups of parameters, networks, or parts of networks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from img2img.errors import ConfigError
from img2img.methods import Method
from img2img.registry import unknown

_DEPTH = 2  # of names that a message offers


def frozen_parameters(method: Method, names: Iterable[str]) -> set[nn.Parameter]:
    """Returns the parameters that `names` stand for.

    Args:
        method: What is trained.
        names: Of groups in `parameter_groups()`, or of modules in the method: "generator.base".

    Raises:
        ConfigError: There is no such group and no such module with parameters, or nothing is left to learn.
    """
    groups = method.parameter_groups()
    modules = {
        name: module
        for name, module in method.named_modules()
        if name and any(True for _ in module.parameters())
    }
    found: set[nn.Parameter] = set()
    for name in names:
        if name in groups:
            found.update(groups[name])
        elif name in modules:
            found.update(modules[name].parameters())
        else:
            offered = dict.fromkeys((*groups, *(each for each in modules if each.count(".") < _DEPTH)))
            raise ConfigError(f"training.stages: frozen: {unknown('group or network', name, offered)}")
    if found and all(parameter in found for group in groups.values() for parameter in group):
        raise ConfigError("training.stages: frozen names everything that learns; leave something out.")
    return found
