"""How the activations of networks lie in memory, and what is compiled: chosen before the first step."""

from __future__ import annotations

import torch
from torch import nn

from img2img.methods import Method
from img2img.models.norm import batch_norms
from img2img.training.compiling import compile_networks
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings


def prepare_networks(method: Method, settings: TrainingSettings, runtime: Runtime) -> None:
    """Puts the weights of each network into its memory format, which its activations then follow."""
    for network in method.children():
        network.to(memory_format=memory_format(network, settings, runtime))
    if settings.compile:
        compile_networks(method, runtime.device)
    for layer in batch_norms(method):
        layer.synchronised = settings.sync_batch_norm and runtime.world > 1


def memory_format(network: nn.Module, settings: TrainingSettings, runtime: Runtime) -> torch.memory_format:
    """Returns the format in which `network` learns fastest.

    Convolutions in bf16 are several times as fast in channels_last, and with the norm layers of this package
    so are whole networks; in fp32 on a CPU contiguous memory is as good, and it is what everyone else has.
    The choice goes by such measurements (by tools/benchmark.py), not by the clock of this
    run, so that a run that continues on a busy machine computes the same.
    """
    if settings.memory_format != "auto":
        contiguous = settings.memory_format == "contiguous"
        return torch.contiguous_format if contiguous else torch.channels_last
    if runtime.device.type == "cpu" and runtime.precision == "fp32":
        return torch.contiguous_format
    return torch.channels_last
