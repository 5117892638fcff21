"""Generators of SRGAN and SRResNet in the layouts of the code that people train them with.

    leftthomas/SRGAN          block1.0, block2.conv1, ..., block7.0, block8.0.conv, block8.2
    Lornatang/SRGAN-PyTorch   conv_block1.0 or conv1.0, trunk.0.rcb.0, ..., upsampling.0.upsample_block.0
    BasicSR, mmsr, mmagic     conv_first, body.0.conv1, upconv1, conv_hr, conv_last, and their earlier names

The first one ends in (tanh + 1) / 2: here that is tanh with an output range of (-1, 1), the same picture.
A bias in front of a batch norm moves into its running mean, which subtracts it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec
from img2img.models.srresnet import STEPS


@layouts.register("srgan")
def srgan(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises SRResNet with batch norm."""
    if "block1.0.weight" in state and "block2.conv1.weight" in state:
        return _leftthomas(state)
    for first in ("conv_block", "conv"):
        if f"{first}1.0.weight" in state and "trunk.0.rcb.0.weight" in state:
            return _lornatang(state, first)
    return None


@layouts.register("msrresnet")
def msrresnet(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises SRResNet without batch norm."""
    body = next((b for b in ("body", "recon_trunk", "trunk_net") if f"{b}.0.conv1.weight" in state), None)
    hr = next((name for name in ("conv_hr", "HRconv") if f"{name}.weight" in state), None)
    if body is None or hr is None or "conv_first.weight" not in state or "conv_last.weight" not in state:
        return None
    blocks = count(state, body + ".{}.conv1.weight")
    modules = {"conv_first": "first", hr: "before_last", "conv_last": "last"}
    for block in range(blocks):
        for conv in ("conv1", "conv2"):
            modules[f"{body}.{block}.{conv}"] = f"blocks.{block}.{conv}"
    for pattern in ("upconv{}", "upsample{}.upsample_conv"):
        for step in range(count(state, pattern + ".weight", start=1)):
            modules[pattern.format(step + 1)] = f"up.{step}"
    renamed = _rename(state, modules)
    features = renamed["first.weight"].shape[0]
    scale = _scale(renamed, "up.{}.weight", features)
    if scale is None:
        return None
    arguments = {
        "in_channels": renamed["first.weight"].shape[1],
        "out_channels": renamed["last.weight"].shape[0],
        "scale": scale,
        "features": features,
        "blocks": blocks,
    }
    return Recognised(ArchSpec("msrresnet", arguments), renamed, f"MSRResNet, x{scale}", ModelInfo())


def _leftthomas(state: Mapping[str, Tensor]) -> Recognised | None:
    blocks = count(state, "block{}.conv1.weight", start=2)
    trunk_end, up = f"block{blocks + 2}", f"block{blocks + 3}"
    steps = count(state, up + ".{}.conv.weight")
    has_norm = f"{trunk_end}.1.running_mean" in state
    modules = {
        "block1.0": "first.conv",
        "block1.1": "first.activation",
        f"{trunk_end}.0": "trunk_end.conv",
        f"{trunk_end}.1": "trunk_end.norm" if has_norm else "trunk_end.activation",
        f"{up}.{steps}": "last.conv",
    }
    for block in range(blocks):
        for theirs, ours in _BLOCK.items():
            modules[f"block{block + 2}.{theirs}"] = f"blocks.{block}.{ours}"
    for step in range(steps):
        modules[f"{up}.{step}.conv"] = f"up.{step}.conv"
        modules[f"{up}.{step}.prelu"] = f"up.{step}.activation"
    found = _srresnet(_rename(state, modules), "SRGAN (leftthomas)", "norm" if has_norm else "prelu", "tanh")
    return found and replace(found, info=replace(found.info, adversarial=True))  # its code trains no other


_BLOCK = {"conv1": "conv1", "bn1": "norm1", "prelu": "activation", "conv2": "conv2", "bn2": "norm2"}


def _lornatang(state: Mapping[str, Tensor], conv: str) -> Recognised | None:
    modules = {
        f"{conv}1.0": "first.conv",
        f"{conv}1.1": "first.activation",
        f"{conv}2.0": "trunk_end.conv",
        f"{conv}2.1": "trunk_end.norm",
        f"{conv}3": "last.conv",
    }
    for block in range(count(state, "trunk.{}.rcb.0.weight")):
        for place, ours in enumerate(_BLOCK.values()):
            modules[f"trunk.{block}.rcb.{place}"] = f"blocks.{block}.{ours}"
    for step in range(count(state, "upsampling.{}.upsample_block.0.weight")):
        modules[f"upsampling.{step}.upsample_block.0"] = f"up.{step}.conv"
        modules[f"upsampling.{step}.upsample_block.2"] = f"up.{step}.activation"
    return _srresnet(_rename(state, modules), "SRResNet (Lornatang)", "norm", "linear")


def _srresnet(state: dict[str, Tensor], family: str, trunk_end: str, output: str) -> Recognised | None:
    """Reads the arguments of an SRResNet off its tensors, which have our names."""
    if "first.conv.weight" not in state or "last.conv.weight" not in state:
        return None
    features, in_channels = state["first.conv.weight"].shape[:2]
    scale = _scale(state, "up.{}.conv.weight", features)
    if scale is None:
        return None
    for key in [key for key in state if key.endswith("running_mean")]:
        norm = key.removesuffix(".running_mean")
        bias = f"{norm.replace('norm', 'conv')}.bias"
        if bias in state:
            state[key] = state[key].float() - state.pop(bias).float()
        state.setdefault(f"{norm}.num_batches_tracked", torch.tensor(0))
    arguments = {
        "in_channels": in_channels,
        "out_channels": state["last.conv.weight"].shape[0],
        "scale": scale,
        "features": features,
        "blocks": count(state, "blocks.{}.conv1.weight"),
        "trunk_end": trunk_end,
        "output": output,
    }
    return Recognised(ArchSpec("srresnet", arguments), state, f"{family}, x{scale}", ModelInfo())


def _scale(state: Mapping[str, Tensor], pattern: str, features: int) -> int | None:
    """Returns the scale that the upsampling convolutions make, or None for one that is not built here."""
    steps: list[int] = []
    while pattern.format(len(steps)) in state:
        steps.append(math.isqrt(state[pattern.format(len(steps))].shape[0] // features))
    scale = math.prod(steps)
    return scale if steps and STEPS.get(scale) == tuple(steps) else None


def _rename(state: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, Tensor]:
    """Returns `state` under our names; whatever has none keeps its own, so that reading reports it."""
    parts = ((key.rpartition("."), value) for key, value in state.items())
    return {f"{modules.get(module, module)}.{leaf}": value for (module, _, leaf), value in parts}
