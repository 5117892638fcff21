"""What the benchmarks of networks share: the machine, its ceiling, and neighbours that keep it busy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
import torch

from img2img.inference.ceiling import cpu_bf16, matrix_ceilings

F = TypeVar("F", bound=Callable[..., None])
_NEIGHBOUR = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(100_000))
"""


def options(command: F) -> F:
    """Adds --threads and --busy to a command."""
    command = click.option("--threads", type=int, help="CPU threads. [default: torch's choice]")(command)
    return click.option(
        "--busy",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Processes that calculate without a pause beside all that is measured.",
    )(command)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Within it `count` processes keep a core busy each; they end with it, or with this process."""
    command = [sys.executable, "-c", _NEIGHBOUR]
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ceilings(device: torch.device) -> dict[str, float]:
    """Returns GFLOP/s of matrix products by precision."""
    return matrix_ceilings(str(device), 4096 if device.type == "cuda" else 2048, 0.5)


def higher(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Returns the higher of two measurements of `ceilings`, so that one disturbance does not lower it."""
    return {name: max(speed, after[name]) for name, speed in before.items()}


def machine(device: torch.device, busy: int = 0) -> str:
    """Returns in words what is measured on."""
    beside = f", {busy} busy process{'es' * (busy > 1)} beside" if busy else ""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}{beside}"
    return f"{torch.get_num_threads()} CPU threads, bf16 units: {cpu_bf16()}{beside}"
