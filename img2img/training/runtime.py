"""Device, precision and processes: the one place that knows Lightning Fabric."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from img2img.errors import ConfigError
from img2img.inference.ceiling import cpu_bf16

Precision = Literal["auto", "fp32", "bf16"]


class Runtime:
    """Where and how a run computes: one process or several, each with its device.

    Several processes come from `devices`, from torchrun or from SLURM; each runs the same program, and
    `launch` returns in all of them.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        devices: Processes on this machine.
        nodes: Machines.
        precision: "bf16" computes under autocast and keeps weights in fp32; "auto" takes it where the
            hardware has units for it.

    Attributes:
        device: Of this process.
        precision: "fp32" or "bf16".

    Raises:
        ConfigError: There is no such device here, or fewer than asked for.
    """

    def __init__(
        self,
        device: str = "auto",
        devices: int = 1,
        nodes: int = 1,
        precision: Precision = "auto",
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device is cuda, but torch finds no CUDA device here; take cpu.")
        if device == "cuda" and torch.cuda.device_count() < devices:
            raise ConfigError(f"devices is {devices}, but this machine has {torch.cuda.device_count()} GPUs.")
        if precision == "auto":
            has_bf16 = cpu_bf16() != "none" if device == "cpu" else device == "cuda"
            precision = "bf16" if has_bf16 else "fp32"
        self.precision: str = precision
        launched = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
        several = devices * nodes > 1 or launched > 1
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it says what was asked for
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for users of Fabric, who are not ours
            self._fabric = Fabric(
                accelerator=device,
                devices=devices if launched == 1 else max(1, launched // nodes),
                num_nodes=nodes,
                strategy="ddp" if several else "auto",
                precision="bf16-mixed" if precision == "bf16" else "32-true",
            )

    def launch(self) -> None:
        """Starts the other processes, if there are to be any; from here on every process runs on."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._fabric.launch()

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self._fabric.device)

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self._fabric.global_rank)

    @property
    def world(self) -> int:
        """The number of processes."""
        return int(self._fabric.world_size)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Within it, networks compute in the precision of the run."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Undoes `autocast` for what must not be rounded: the backward pass and the optimizer."""
        with torch.autocast(self.device.type, enabled=False):
            yield

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces `tensors` by their mean over the processes, in one message per dtype."""
        if self.world == 1 or not tensors:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            own = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in own])
            distributed.all_reduce(flat)
            flat /= self.world
            for tensor, mean in zip(own, torch.split(flat, [tensor.numel() for tensor in own]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def maximum(self, value: Tensor) -> Tensor:
        """Returns the largest of each element of `value` over the processes; it may be changed in place."""
        if self.world > 1:
            distributed.all_reduce(value, op=distributed.ReduceOp.MAX)
        return value

    def any(self, flag: bool) -> bool:
        """Returns whether `flag` is set in any process."""
        if self.world == 1:
            return flag
        return bool(self.maximum(torch.tensor(float(flag), device=self.device)) > 0)

    def gather(self, value: Any) -> list[Any]:
        """Returns `value` of every process, in their order, in every process."""
        if self.world == 1:
            return [value]
        gathered: list[Any] = [None] * self.world
        distributed.all_gather_object(gathered, value)
        return gathered

    def share(self, value: Any) -> Any:
        """Returns the `value` of the first process in every process."""
        if self.world == 1:
            return value
        shared = [value]
        distributed.broadcast_object_list(shared)
        return shared[0]

    def share_weights(self, module: nn.Module) -> None:
        """Gives every process the parameters and buffers of the first."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor.data, 0)

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.world > 1:
            distributed.barrier()

    def close(self) -> None:
        """Leaves the group of processes."""
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
