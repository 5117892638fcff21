"""Device, precision and processes: the one place that knows Lightning Fabric."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn

from img2img.errors import ConfigError, Img2ImgError
from img2img.inference.ceiling import cpu_bf16
from img2img.inference.memory import keep_freed_memory
from img2img.training.processes import Children, LostProcessError, Places, end_with_parent

TrainingPrecision = Literal["auto", "fp32", "bf16"]

_logger = logging.getLogger(__name__)
# The others wait so long for one that measures or writes. One that has died is noticed at once: its end of
# the connection closes.
_PATIENCE = timedelta(minutes=60)
_GOODBYE = "img2img/the first process has told why it ends"


class Runtime:
    """Where and how a run computes: one process or several, each with its device.

    Several processes come from `devices` and `nodes`, from torchrun or from SLURM; each runs the same
    program, and `launch` returns in all of them. Whatever the processes say to each other goes through here.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        devices: Processes on this machine; torchrun and SLURM overrule it.
        nodes: Machines; torchrun and SLURM overrule it.
        precision: "bf16" computes under autocast and keeps weights in fp32; "auto" takes it where the
            hardware has units for it.

    Attributes:
        precision: "fp32" or "bf16".
        places: How many processes there are, and which one this is.

    Raises:
        ConfigError: There is no such device here, or fewer than asked for.
    """

    def __init__(
        self,
        device: str = "auto",
        devices: int = 1,
        nodes: int = 1,
        precision: TrainingPrecision = "auto",
    ) -> None:
        self.places = places = Places.find(devices, nodes)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device is cuda, but torch finds no CUDA device here; take cpu.")
        if device == "cuda" and (found := torch.cuda.device_count()) < places.local:
            raise ConfigError(f"{places.local} processes are asked for, and this machine has {found} GPUs.")
        if device == "mps" and places.world > 1:
            raise ConfigError("device is mps, which takes one process; take cpu for several.")
        if precision == "auto":
            precision = "bf16" if _has_bf16(device) else "fp32"
        self.precision: str = precision
        if device == "cpu":
            keep_freed_memory()
        self._children: Children | None = None
        self._control: Any = None  # the group for decisions: they never wait for a GPU
        self._store: Any = None
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it says what was asked for
        # It loads the compiler of torch, too, which takes seconds: to read a configuration needs none of it.
        from lightning_fabric import Fabric
        from lightning_fabric.plugins import environments
        from lightning_fabric.strategies.ddp import DDPStrategy

        environment = {
            "torchrun": environments.torchelastic.TorchElasticEnvironment,
            "SLURM": environments.slurm.SLURMEnvironment,
        }.get(places.started_by, environments.lightning.LightningEnvironment)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for users of Fabric, who are not ours
            self._fabric = Fabric(
                accelerator=device,
                devices=places.local,
                num_nodes=places.nodes,
                strategy=DDPStrategy(cluster_environment=environment(), timeout=_PATIENCE)
                if places.world > 1
                else "auto",
                precision="bf16-mixed" if precision == "bf16" else "32-true",
            )

    def launch(
        self, command: Sequence[str] | None = None, tell: Callable[[str], None] = _logger.warning
    ) -> None:
        """Starts the other processes, if there are to be any; from here on every process runs on.

        Args:
            command: What starts a process; by default the running program once more.
            tell: Called before this process is ended because another one has died, with what has happened:
                "process 1 of 2 was killed".

        Raises:
            LostProcessError: They do not find each other.
        """
        if self.places.starts_others:
            self._children = Children(self.places, command, tell)
        elif self.places.started_by == "environment":
            end_with_parent()
        with warnings.catch_warnings(), self._answers():
            warnings.simplefilter("ignore")
            self._fabric.launch()
            if self.world > 1:
                self._store = distributed.distributed_c10d._get_default_store()
                if distributed.get_backend() != "gloo":
                    self._control = distributed.new_group(backend="gloo", timeout=_PATIENCE)

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
            with self._answers():
                distributed.all_reduce(flat)
            flat /= self.world
            for tensor, mean in zip(own, torch.split(flat, [tensor.numel() for tensor in own]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def maximum(self, value: Tensor) -> Tensor:
        """Returns the largest of each element of `value` over the processes; it may be changed in place."""
        if self.world > 1:
            with self._answers():
                distributed.all_reduce(value, op=distributed.ReduceOp.MAX)
        return value

    def any(self, flag: bool) -> bool:
        """Returns whether `flag` is set in any process."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag))
        with self._answers():
            distributed.all_reduce(value, op=distributed.ReduceOp.MAX, group=self._control)
        return bool(value > 0)

    def gather(self, value: Any) -> list[Any]:
        """Returns `value` of every process, in their order, in every process."""
        if self.world == 1:
            return [value]
        gathered: list[Any] = [None] * self.world
        with self._answers():
            distributed.all_gather_object(gathered, value, group=self._control)
        return gathered

    def collect(self, value: Any) -> list[Any]:
        """Returns `value` of every process, in their order, in the first process; elsewhere an empty list."""
        if self.world == 1:
            return [value]
        collected: list[Any] | None = [None] * self.world if self.is_first else None
        with self._answers():
            distributed.gather_object(value, collected, group=self._control)
        return collected or []

    def share(self, value: Any) -> Any:
        """Returns the `value` of the first process in every process."""
        if self.world == 1:
            return value
        shared = [value]
        with self._answers():
            distributed.broadcast_object_list(shared, group=self._control)
        return shared[0]

    def share_weights(self, module: nn.Module) -> None:
        """Gives every process the parameters and buffers of the first."""
        if self.world > 1:
            with self._answers():
                for tensor in module.state_dict().values():
                    distributed.broadcast(tensor.data, 0)

    def barrier(self) -> None:
        """Waits for all processes."""
        self.any(False)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails in it in one process fails in all, and the first one tells of it.

        Within it the processes must not wait for each other.

        Raises:
            Img2ImgError: It has failed, here or, with that process named, elsewhere.
            SystemExit: It has failed, and this is not the first process.
        """
        error = None
        try:
            yield
        except Img2ImgError as caught:
            if self.world == 1:
                raise
            error = caught
        reasons = self.gather(None if error is None else str(error))
        failed = [(rank, text) for rank, text in enumerate(reasons) if text]
        if failed:
            self.fail(error or Img2ImgError(f"process {failed[0][0]} of {self.world}: {failed[0][1]}"))

    def fail(self, error: Img2ImgError) -> None:
        """Ends the run for a reason that all processes know; the first one alone tells of it.

        Raises:
            Img2ImgError: `error`.
            SystemExit: This is not the first process.
        """
        if self.is_first:
            raise error
        raise SystemExit(1)

    def is_silence(self, error: Exception) -> bool:
        """Returns whether `error` says that another process does not answer.

        Batch norm over all processes talks to them by itself, and gets what torch raises.
        """
        if isinstance(error, LostProcessError):
            return True
        from_torch = isinstance(error, distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error)
        return self.world > 1 and from_torch

    def who_died(self) -> str:
        """Returns in words which process has died, as far as that is known here.

        Raises:
            SystemExit: The first process is there to say it.
        """
        if not self.is_first:
            # It leaves word before it goes. Without one it is the one that has died, or as good as that.
            with suppress(RuntimeError):
                assert self._store is not None
                self._store.wait([_GOODBYE], timedelta(seconds=5))
                raise SystemExit(1)
            if self.rank > 1:
                raise SystemExit(1)
            return f"the first of {self.world} processes has died"
        dead = self._children.dead(wait=5.0) if self._children is not None else None
        return dead or f"one of {self.world} processes does not answer any more"

    def close(self, failed: bool = False) -> None:
        """Leaves the group of processes.

        Args:
            failed: Whether the others are to end, too.
        """
        if failed and self.is_first and self._store is not None:
            with suppress(RuntimeError):
                self._store.set(_GOODBYE, "")
        if distributed.is_available() and distributed.is_initialized() and self.world > 1:
            with suppress(RuntimeError):
                distributed.destroy_process_group()
        if self._children is not None:
            self._children.close()
        elif failed and self.is_first and self._store is not None:
            time.sleep(1.0)  # the others read the word from a store that may go with this process

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turns what torch raises when a process does not answer into `LostProcessError`."""
        if self.places.world == 1:
            yield
            return
        try:
            yield
        except RuntimeError as error:
            _logger.debug("a process does not answer", exc_info=True)
            raise LostProcessError(str(error).splitlines()[0]) from error


def _has_bf16(device: str) -> bool:
    """Returns whether `device` has units for bf16."""
    if device == "cpu":
        return cpu_bf16() != "none"
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
