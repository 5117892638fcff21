"""torch.compile for the networks of a method, where this machine can do it."""

from __future__ import annotations

import logging

import torch

from img2img.methods import Method
from img2img.methods.adversary import Adversary
from img2img.models import Generator
from img2img.models.discriminators import Discriminator

_logger = logging.getLogger(__name__)


def compile_networks(method: Method, device: torch.device) -> None:
    """Lets generators and discriminators be compiled when they are first called.

    Their weights keep their names. A discriminator with its gradient in its loss stays as it is: compiled
    networks cannot be differentiated twice. Where nothing can be compiled, that is logged as a warning and
    everything stays as it is.

    Args:
        method: Its networks are changed in place.
        device: Where they will compute.
    """
    reason = _obstacle(device)
    if reason is not None:
        tools = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        _logger.warning(
            "training.compile has no effect: torch.compile does not work here (%s); it needs %s.",
            reason,
            tools,
        )
        return
    twice = {
        adversary.discriminator
        for adversary in method.modules()
        if isinstance(adversary, Adversary) and (adversary.config.gradient_penalty or adversary.config.r1)
    }
    for network in method.modules():
        if isinstance(network, Generator | Discriminator) and network not in twice:
            network.compile()


def _obstacle(device: torch.device) -> str | None:
    """Returns why nothing can be compiled, which a small function shows; None if it can."""
    small = torch.compile(lambda x: torch.relu(x) + 1)
    try:
        small(torch.zeros(2, device=device))
    except (RuntimeError, OSError, ImportError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0].rstrip(":.") if lines else type(error).__name__
    return None
