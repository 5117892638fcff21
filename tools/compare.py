"""Compares upscalers that learned equally long: `python tools/compare.py ROW... --images DIR --target DIR`.

A row is a configuration with changes, in quotes: "edsr_x4 optimizer=adam generator.blocks=8". Each is trained
for so many seconds of CPU time from the same seed on the same pictures, by the method and the trainer that
users run, and measured as papers do. It is time of the CPU, not of the clock, so that other work on the
machine favours no row; reading pictures and measuring do not count. Several threads wait for each other
busily where others want the cores too, so one is the fairest. The schedule of the learning rate is stretched
over that time.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from img2img.checkpoint import ModelInfo, save_model
from img2img.data import batches, open_data
from img2img.errors import ConfigError, Img2ImgError
from img2img.evaluation import evaluate
from img2img.fields import enlarging
from img2img.inference import Translator, load_model
from img2img.methods import SuperResolution, SuperResolutionConfig
from img2img.models import Generator
from img2img.training import Experiment, Runtime, Trainer, read_experiment
from img2img.training.experiment import stages
from img2img.training.memory_format import prepare_networks

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PHOTO = (480, 640, 3)
TIMES = 3  # of which the fastest counts: what is slower, something else made slower


@dataclass
class Row:
    """What is known of one network.

    Attributes:
        name: As it was asked for.
        parameters: Of the generator.
        steps: That were done.
        seconds: Of CPU time that they took.
        psnr_y, ssim_y: Means over the targets.
        photo_ms: Milliseconds for a photograph of 640x480, on the clock.
    """

    name: str
    parameters: int
    steps: int
    seconds: float
    psnr_y: float
    ssim_y: float
    photo_ms: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("rows", nargs=-1, required=True, metavar="ROW...")
@click.option("--images", type=FOLDER, required=True, help="Sharp pictures to learn from.")
@click.option("--target", type=FOLDER, required=True, help="Pictures to measure on, such as Set5.")
@click.option("--seconds", default=480.0, show_default=True, help="CPU time of each training.")
@click.option("--threads", default=1, show_default=True, help="Of each training.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def compare(
    rows: tuple[str, ...],
    images: Path,
    target: Path,
    seconds: float,
    threads: int,
    precision: str,
    as_json: bool,
) -> None:
    """Train each ROW, "CONFIG [KEY=VALUE ...]", for the same time and print what came out."""
    found = []
    try:
        fixed = ["training.device=cpu", f"training.precision={precision}", f"training.threads={threads}"]
        experiments = [_read(row, images, fixed) for row in rows]
        for name, experiment in zip(rows, experiments, strict=True):
            row = measured(name, experiment, seconds, target)
            found.append(row)
            click.echo(f"{row.name}: {row.psnr_y:.2f} dB after {row.steps} steps", err=True)
    except Img2ImgError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], indent=1))
        return
    click.echo(f"| trained for {seconds:g} s | parameters | steps | PSNR (Y) | SSIM (Y) | ms for 640x480 |")
    click.echo("|---|---|---|---|---|---|")
    for row in sorted(found, key=lambda row: -row.psnr_y):
        click.echo(
            f"| {row.name} | {row.parameters:,} | {row.steps} | {row.psnr_y:.2f} | {row.ssim_y:.4f} "
            f"| {row.photo_ms:.0f} |"
        )


def _read(row: str, images: Path, fixed: list[str]) -> Experiment:
    """Returns the configuration of a row, with the changes that all of them share."""
    config, *changes = shlex.split(row)
    experiment = read_experiment(config, [*changes, *fixed], source={"images": str(images)})
    method = experiment.method
    if not isinstance(method, SuperResolutionConfig) or method.objective != "psnr":
        raise ConfigError(f"{row}: PSNR after equal time is for super-resolution with objective psnr.")
    if experiment.training.stages:
        raise ConfigError(f"{row}: a comparison has one stage; leave training.stages out.")
    return experiment


def measured(name: str, experiment: Experiment, seconds: float, target: Path) -> Row:
    """Trains for `seconds` of CPU time and measures the result."""
    cores = torch.get_num_threads()
    torch.set_num_threads(experiment.training.threads or cores)
    try:
        generator, steps, spent = trained(experiment, seconds)
    finally:
        torch.set_num_threads(cores)
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, generator, ModelInfo("like_input", None, {}))
        model = load_model(path, device="cpu")
    scores = evaluate(target, model=model, protocol="sr").mean()
    if not scores:
        raise ConfigError(f"{target}: no picture could be measured.")
    return Row(name, parameters, steps, spent, scores["psnr_y"], scores["ssim_y"], photo_ms(model))


def trained(experiment: Experiment, seconds: float) -> tuple[Generator, int, float]:
    """Returns the generator, or its average, with the number of steps and their CPU time."""
    settings, seed = experiment.training, experiment.seed
    torch.manual_seed(seed)
    assert isinstance(experiment.method, SuperResolutionConfig)
    data = open_data(experiment.data, fields=enlarging(experiment.method.scale), seed=seed)
    method = SuperResolution(experiment.method, data.channels)
    runtime = Runtime(settings.device, precision=settings.precision)
    prepare_networks(method, settings, runtime)
    (stage,) = stages(settings, len(data.train))
    warmup = stage.schedule.warmup
    stage = replace(stage, schedule=stage.schedule.model_copy(update={"warmup": 0}))
    spent = 0.0

    def rate(step: int, group: str) -> float:
        place = int(stage.last * min(1.0, spent / seconds))
        return stage.rate(group, place) * (min(1.0, (step + 1) / warmup) if warmup else 1.0)

    trainer = Trainer(method, settings, runtime, rate)
    stream = batches(
        data.train,
        batch_size=settings.batch_size,
        seed=seed,
        ranges={"source": method.generator.input_range, "target": method.generator.output_range},
    )
    while spent < seconds:
        batch = next(stream)
        before = time.process_time()
        trainer.step(batch)
        spent += time.process_time() - before
    return trainer.evaluated()["generator"], trainer.step_count, spent


def photo_ms(model: Translator) -> float:
    """Returns the milliseconds that `model` takes for one photograph."""
    photo = np.random.default_rng(0).integers(0, 256, PHOTO, np.uint8)
    model(photo)
    taken = []
    for _ in range(TIMES):
        before = time.perf_counter()
        model(photo)
        taken.append(time.perf_counter() - before)
    return 1000 * min(taken)


if __name__ == "__main__":
    compare()
