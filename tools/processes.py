"""Compares steps in several processes with the same steps in one: `python tools/processes.py`.

Each of N processes takes one sample of every batch, one process takes all N; both go through the method and
the trainer that users run, in float64 on the CPU, from the same weights. What is left is rounding, as long as
the losses are means over samples that do not know of each other: with instance norm, and with batch norm
over all processes.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, multiprocessing

from img2img.methods import Method, methods
from img2img.training import Runtime, Trainer
from img2img.training.memory_format import prepare_networks
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

TOLERANCE = 1e-10
SIDE = 32
_CYCLEGAN = {
    "generator": {"name": "resnet", "features": 8, "blocks": 2, "norm": "instance", "dropout": False},
    "discriminator": {"name": "patchgan", "features": 8, "layers": 2, "norm": "instance"},
    "pool": 0,
}
CASES: dict[str, dict[str, Any]] = {
    "pix2pix, instance norm": {
        "name": "pix2pix",
        "generator": {"name": "unet", "features": 8, "downs": 5, "norm": "instance", "dropout": False},
        "discriminator": {"name": "patchgan", "features": 8, "layers": 2, "norm": "instance"},
    },
    "pix2pix, batch norm over all": {
        "name": "pix2pix",
        "generator": {"name": "unet", "features": 8, "downs": 4, "norm": "batch", "dropout": False},
        "discriminator": {"name": "patchgan", "features": 8, "layers": 2, "norm": "batch"},
    },
    "cyclegan, no pool": {"name": "cyclegan", **_CYCLEGAN},
    "discogan": {"name": "cyclegan", **_CYCLEGAN, "gan": "vanilla", "cycle_loss": "l2", "identity": 0},
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--processes", default=2, show_default=True, type=click.IntRange(min=2), help="N.")
@click.option("--steps", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--case", "cases", multiple=True, type=click.Choice(list(CASES)), help="Only this; repeatable.")
def compare(processes: int, steps: int, cases: tuple[str, ...]) -> None:
    """Print the largest differences of any weight, as JSON; exit with 1 where one is above 1e-10.

    Biases that feed an instance norm have no gradient but rounding, of which Adam makes small steps. They are
    told apart by where they are after all steps: where they began, to eight digits.
    """
    chosen = cases or tuple(CASES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        arguments = (processes, steps, chosen, port, folder)
        multiprocessing.spawn(work, arguments, nprocs=processes)  # type: ignore[no-untyped-call]
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(processes)]
    runtime = Runtime("cpu", precision="fp32")
    report = {case: differences(case, steps, [rank[case] for rank in ranks], runtime) for case in chosen}
    passed = all(found["weights"] <= TOLERANCE for found in report.values())
    click.echo(json.dumps({"processes": processes, "steps": steps, "largest_difference": report}, indent=1))
    raise SystemExit(0 if passed else 1)


def work(rank: int, processes: int, steps: int, cases: tuple[str, ...], port: int, folder: str) -> None:
    """Does the steps of one of the processes and leaves its weights in `folder`."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    runtime = Runtime("cpu", devices=processes, precision="fp32")
    runtime.launch()
    torch.save({case: train(case, steps, processes, runtime) for case in cases}, Path(folder) / f"{rank}.pt")
    runtime.close()


def train(case: str, steps: int, samples: int, runtime: Runtime) -> Mapping[str, Tensor]:
    """Returns the weights after `steps` steps of `samples` samples each, shared out among the processes."""
    torch.manual_seed(0)
    config = methods[CASES[case]["name"]].Config.model_validate(CASES[case])
    method: Method = methods[config.name](config, {"source": 3, "target": 3}).double()
    settings = TrainingSettings(steps=max(steps, 1), sync_batch_norm=True)
    prepare_networks(method, settings, runtime)
    trainer = Trainer(method, settings, runtime, lambda step, group: 2e-4)
    own = slice(None) if runtime.world == 1 else slice(runtime.rank, runtime.rank + 1)
    images = torch.Generator().manual_seed(1)
    for _ in range(steps):
        a, b = (
            torch.rand(samples, 3, SIDE, SIDE, dtype=torch.float64, generator=images) * 2 - 1 for _ in "AB"
        )
        trainer.step(Batch({"source": a[own], "target": b[own]}))
    return {name: value.detach().clone() for name, value in method.named_parameters()}


def differences(
    case: str, steps: int, ranks: list[Mapping[str, Tensor]], runtime: Runtime
) -> dict[str, float]:
    """Returns the largest differences between the weights of `ranks` and those of one process."""
    start, alone = train(case, 0, len(ranks), runtime), train(case, steps, len(ranks), runtime)
    moved = {name: largest(alone[name], value) for name, value in start.items()}
    idle = {name for name, way in moved.items() if name.endswith(".bias") and way < 1e-8}
    apart = {name: max(largest(rank[name], alone[name]) for rank in ranks) for name in alone}
    return {
        "weights": max(value for name, value in apart.items() if name not in idle),
        "idle_biases": max((apart[name] for name in idle), default=0.0),
        "between_ranks": max(largest(rank[name], ranks[0][name]) for rank in ranks for name in alone),
        "way_from_the_start": max(moved.values()),
    }


def largest(one: Tensor, other: Tensor) -> float:
    """Returns the largest difference of any two elements."""
    return float((one - other).abs().max())


if __name__ == "__main__":
    compare()
