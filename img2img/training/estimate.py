"""What a run will take, before it begins."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from img2img.data import open_data
from img2img.methods import Method, methods
from img2img.training.experiment import Experiment, scale_of, stages
from img2img.types import Batch

GIB = 2**30


def estimate(experiment: Experiment) -> list[str]:
    """Returns sentences on data, length, parameters and memory.

    The memory of activations is what one step keeps for its backward passes, counted on the meta device, in
    fp32; bf16 takes about half of it.

    Raises:
        ConfigError: The data or the networks do not fit the configuration.
        ImageError: A picture cannot be read.
    """
    settings = experiment.training
    cls = methods[experiment.method.name]
    scale = scale_of(experiment)
    data = open_data(experiment.data, kind=cls.data_kind, scale=scale, seed=experiment.seed)
    with torch.device("meta"):
        method = cls(experiment.method, data.source_channels, data.target_channels)
    sentences = [data.describe()]
    parts = stages(settings, len(data.train), settings.devices * settings.nodes)
    total = parts[-1].last
    per_step = settings.batch_size * settings.devices * settings.nodes
    length = f"{total} steps of {per_step} samples, {total * per_step / len(data.train):.1f} epochs of {len(data.train)}"
    sentences.append(length + ".")
    groups = method.parameter_groups()
    counts = {name: sum(p.numel() for p in parameters) for name, parameters in groups.items()}
    sentences.append(
        "Parameters: " + ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items()) + "."
    )
    weights = 16 * sum(counts.values())  # weight, gradient and two averages of Adam, four bytes each
    if settings.ema:
        weights += 4 * sum(p.numel() for g in method.generators().values() for p in g.parameters())
    side = experiment.data.crop_size
    if side is None:
        sentences.append(f"Memory: {weights / GIB:.2f} GiB for weights; whole pictures are trained on, so the rest depends on them.")
        return sentences
    small = (side[0] // scale, side[1] // scale)
    batch = Batch(
        torch.empty(settings.batch_size, data.source_channels, *small, device="meta"),
        torch.empty(settings.batch_size, data.target_channels, *side, device="meta"),
    )
    kept = max(activations(method, stage.name, batch) for stage in parts)
    sentences.append(
        f"Memory of a process: about {weights / GIB:.2f} GiB for weights and optimizer, {kept / GIB:.2f} GiB for activations "
        f"in fp32; a state takes {weights * 3 / 4 / GIB:.2f} GiB on the disk."
    )
    return sentences


def activations(method: Method, stage: str, batch: Batch) -> int:
    """Returns the bytes that one step on `batch` keeps for its backward passes; both on the meta device."""
    held: dict[int, int] = {}
    weights = {parameter.data_ptr() if not parameter.is_meta else id(parameter) for parameter in method.parameters()}
    peak = 0

    def pack(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights and not isinstance(tensor, torch.nn.Parameter):
            held[id(tensor.untyped_storage())] = tensor.numel() * tensor.element_size()
        return tensor

    def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
        nonlocal peak
        peak = max(peak, sum(held.values()))

    method.train()
    method.begin(stage)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        method.step(batch, optimize)
    return peak
