"""Number formats: which one pays on this hardware, and a network that computes in it."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.inference.ceiling import cpu_bf16
from img2img.models import Generator

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Returns the device called `name`; "auto" is the first GPU, Apple's included, or else the CPU.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        here += ["mps"] * torch.backends.mps.is_available()
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used ({reason}); here are: {', '.join(here)}."
        ) from None
    if device.type == "meta":
        raise ConfigError("device 'meta' computes nothing; take 'cpu'.")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Returns "fp32", "bf16" or "fp16"; "auto" is the fastest on `device` that is safe.

    It goes by what the hardware has and measures nothing: a choice that depended on how busy the machine is
    would give another result the next time. With AMX bf16 is 4 to 5 times as fast as fp32, with avx512_bf16
    twice as fast.

    Raises:
        ConfigError: `name` is none of them.
    """
    if name in DTYPES:
        return name
    if name != "auto":
        raise ConfigError(f"precision {name!r} is not one of auto, {', '.join(DTYPES)}.")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_bf16() != "none" else "fp32"


def in_precision(generator: Generator, dtype: torch.dtype) -> Generator:
    """Returns a copy of `generator` that computes in `dtype`, except for its output layers.

    Activations follow the weights: each layer that has some takes its input in their type. So it accepts
    fp32, works in `dtype` from the first layer on, and returns fp32 when it names its output layers.
    """
    lowered = copy.deepcopy(generator).to(dtype)
    for name in lowered.output_layers:
        lowered.get_submodule(name).float()
    for module in lowered.modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_pre_hook(_follow_weights)
            if generator.conditions:  # which layers may be handed by name
                module.register_forward_pre_hook(_named_follow_weights, with_kwargs=True)
    return lowered


def _follow_weights(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    dtype = next(module.parameters(recurse=False)).dtype
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)


def _named_follow_weights(
    module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return inputs, dict(zip(named, _follow_weights(module, tuple(named.values())), strict=True))
