"""One of two processes that train together: `python pair.py RANK PORT FOLDER NAMES`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from samples import batch, configured, made, part
from torch import Tensor
from toy import register

from img2img.methods import methods
from img2img.training import Runtime, Trainer
from img2img.training.memory_format import prepare_networks
from img2img.training.settings import TrainingSettings

STEPS = 3


def learned(name: str, runtime: Runtime, steps: int = STEPS) -> dict[str, Tensor]:
    """Returns the weights after steps of two samples, in double precision, shared out among the processes."""
    torch.manual_seed(0)
    keys = type(configured(name)).model_fields
    method = made(name, **({"pool": 0} if "pool" in keys else {})).double()  # each process has its own pool
    settings = TrainingSettings(steps=9, sync_batch_norm=True)
    prepare_networks(method, settings, runtime)
    trainer = Trainer(method, settings, runtime, lambda step, group: 1e-3)
    own = slice(None) if runtime.world == 1 else slice(runtime.rank, runtime.rank + 1)
    for seed in range(steps):
        samples = batch(method, methods[name].fields_of(configured(name)), seed=seed)
        samples = samples.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        torch.manual_seed(seed)
        trainer.step(part(samples, own))
    return {label: value.detach().clone() for label, value in method.named_parameters()}


def main() -> None:
    rank, port, folder, names = sys.argv[1:]
    register()
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    runtime = Runtime("cpu", devices=2, precision="fp32")
    runtime.launch()
    torch.save({name: learned(name, runtime) for name in names.split(",")}, Path(folder) / f"{rank}.pt")
    runtime.close()


if __name__ == "__main__":
    main()
