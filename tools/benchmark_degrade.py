"""The command `benchmark.py degrade`: how fast degradations make patches, against a step that eats them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from img2img.data import Data, DataConfig, batches, open_data
from img2img.fields import enlarging
from img2img.image import EncodeOptions, Image, write_image
from img2img.methods import methods
from img2img.processors.degradations import DEGRADATIONS
from img2img.training.experiment import read_experiment
from img2img.types import UNIT, Batch

_CONFIGS = {1: "restore_clean_cpu", 4: "restore_photo_x4_cpu"}  # by the scale that a degradation is for
_MADE = 6  # pictures, where none are given
_RANGES = {"source": UNIT, "target": UNIT}


@click.command()
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Pictures to cut patches from. [default: made for the purpose]",
)
@click.option("--patches", default=64, show_default=True, help="Patches of each degradation.")
@click.option("--steps", default=2, show_default=True, help="Steps of training; 0 leaves them out.")
@click.option("--cores", default=2, show_default=True, help="That the training step may use.")
@click.option("--minimum", default=5.0, show_default=True, help="Fail below this ratio.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def degrade(photos: Path | None, patches: int, steps: int, cores: int, minimum: float, as_json: bool) -> None:
    """Measure the degradations: patches a second of one worker, and how many times a step's appetite that is.

    Patches have the crop of restore_clean_cpu (scale 1) or restore_photo_x4_cpu, and a step is one of those
    networks, batch and optimizer, on so many cores. Both are counted in seconds of CPU time, so that other
    programs on the machine hardly disturb them: a worker is one process on one core, the step has them all.
    """
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = photos or _make_photos(Path(name))
        eaten = {scale: _eaten(scale, steps, cores) for scale in _CONFIGS} if steps else {}
        for kind, degradation in DEGRADATIONS.items():
            scale = degradation.natural_scale
            experiment = read_experiment(_CONFIGS[scale], source={"images": str(folder)})
            section = experiment.data.model_dump(mode="json")
            section |= {"degradation": kind, "cache": "memory", "cache_folder": name}
            section |= {"validation": None, "validation_fraction": 0}
            data = open_data(DataConfig.model_validate(section), fields=enlarging(scale), seed=1)
            made = patches / _cpu_seconds(_reading(data, patches))
            row = {"kind": kind, "scale": scale, "crop": section["crop_size"][0], "patches_per_second": made}
            rows.append(row | ({"ratio": made / eaten[scale]} if eaten else {}))
    if as_json:
        click.echo(json.dumps({"steps_patches_per_second": eaten, "degradations": rows}))
    else:
        for scale, speed in eaten.items():
            click.echo(f"a step of {_CONFIGS[scale]}: {speed:.1f} patches/s on {cores} cores")
        for row in rows:
            text = (
                f"{row['kind']:14} x{row['scale']} {row['crop']:4} {row['patches_per_second']:8.0f} patches/s"
            )
            click.echo(text + (f"  {row['ratio']:6.1f} times the step" if eaten else ""))
    slow = [row["kind"] for row in rows if eaten and row["ratio"] < minimum]
    if slow:
        raise click.ClickException(f"below {minimum:g} times the speed of the step: {', '.join(slow)}")


def _reading(data: Data, patches: int) -> Callable[[], None]:
    for place in range(6 * data.train.count):  # decoding is over after the first epoch
        data.train.sample(place // data.train.count, place % data.train.count)
    stream = batches(data.train, batch_size=8, seed=1, ranges=_RANGES)

    def read() -> None:
        for _ in islice(stream, patches // 8):
            pass

    return read


def _eaten(scale: int, steps: int, cores: int) -> float:
    """Returns the patches that a training takes in a second on so many cores, without reading any."""
    experiment = read_experiment(_CONFIGS[scale], source={"images": "."})
    method = methods[experiment.method.name](experiment.method, {"source": 3, "target": 3})
    optimizer = torch.optim.Adam(method.parameters())
    size, batch = experiment.data.crop_size, experiment.training.batch_size
    assert size is not None
    target = torch.rand(batch, 3, *size)
    source = torch.rand(batch, 3, *(side // scale for side in size))
    sample = Batch({"source": source, "target": target})

    def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    def run() -> None:
        for _ in range(steps):
            method.step(sample, optimize)

    run()
    return batch * steps * cores / _cpu_seconds(run)


def _cpu_seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _make_photos(folder: Path) -> Path:
    """Fills a folder with pictures that compress about as photographs do."""
    place = folder / "photos"
    place.mkdir()
    for seed in range(_MADE):
        rng = np.random.default_rng(seed)
        y, x, c = np.ogrid[0:480, 0:640, 0:3]
        waves: Any = np.sin(x / rng.uniform(5, 40) + c) + np.cos(y / rng.uniform(5, 40) - c)
        pixels = (128 + 50 * waves + rng.normal(0, 8, (480, 640, 3))).clip(0, 255).astype(np.uint8)
        write_image(Image(pixels), place / f"{seed}.jpg", EncodeOptions(quality=90))
    return place
