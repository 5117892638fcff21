"""The command of `benchmark.py` that measures training: our trainer against a plain step, one run."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import torch
from benchmark_loading import loading
from benchmark_machine import ceilings, higher, machine, neighbours, options
from plain_steps import Betas, Step, cyclegan_step, esrgan_step, pix2pix_step, pixel_step, with_plain_layers
from torch.utils.flop_counter import FlopCounterMode

from img2img.errors import Img2ImgError
from img2img.methods import Method, methods
from img2img.training.loop import Trainer
from img2img.training.memory_format import memory_format, prepare_networks
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch, ValueRange

RATE = 2e-4
RGB = 3
WARM_UP = {"cpu": 1, "cuda": 12}  # steps that are not counted; on a GPU enough to capture a graph


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        method: The section `method:`.
        plain: Makes the baseline's step.
        size: Usual side of the targets.
        batch: Usual samples a step.
        betas: Of Adam.
    """

    method: Mapping[str, Any]
    plain: Callable[[Method, float, Betas], Step]
    size: int
    batch: int
    betas: Betas

    def make(self, features: int | None) -> Method:
        """Returns the method with fresh weights, always the same ones."""
        torch.manual_seed(0)
        section = dict(self.method)
        if features:
            for role in ("generator", "discriminator"):
                section[role] = {**section.get(role, {}), "features": features}
        cls = methods[section["name"]]
        return cls(cls.Config.model_validate(section), {"source": RGB, "target": RGB})


def _cyclegan(blocks: int) -> dict[str, Any]:
    return {
        "name": "cyclegan",
        "generator": {"name": "resnet", "blocks": blocks},
        "discriminator": {"name": "patchgan", "norm": "instance"},
    }


def _enlarging(name: str) -> dict[str, Any]:
    return {
        "name": "super_resolution",
        "scale": 4,
        "generator": {"name": name},
        "discriminator": {"name": "vgg"},
    }


WORKLOADS = {
    "pix2pix": Workload(
        {"name": "pix2pix", "generator": {"name": "unet"}, "discriminator": {"name": "patchgan"}},
        pix2pix_step,
        256,
        8,
        (0.5, 0.999),
    ),
    "cyclegan": Workload(_cyclegan(6), cyclegan_step, 128, 1, (0.5, 0.999)),
    "cyclegan9": Workload(_cyclegan(9), cyclegan_step, 256, 1, (0.5, 0.999)),
    "compact": Workload(_enlarging("compact"), pixel_step, 160, 16, (0.9, 0.99)),
    "edsr": Workload(_enlarging("edsr"), pixel_step, 160, 16, (0.9, 0.99)),
    "esrgan": Workload(
        {
            **_enlarging("rrdbnet"),
            "objective": "gan",
            "gan": "ragan",
            "pixel_weight": 1e-2,
            "gan_weight": 5e-3,
            "discriminator_weight": 0.5,
        },
        esrgan_step,
        128,
        16,
        (0.9, 0.99),
    ),
}
WAYS = ("auto", "compile", "cuda_graphs")


@dataclass
class Runner:
    """One way of training, and how long its steps took.

    Attributes:
        label: For the table.
        precision: Of its arithmetic, for its ceiling.
        step: Learns from one batch.
        layout: Memory format of each network.
        prepared: Seconds before the steps that count.
        seconds: Of one step, by rounds.
        cpu_seconds: Of all threads of the process for one step, by rounds.
    """

    label: str
    precision: str
    step: Step
    layout: str
    prepared: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


@click.command()
@click.argument("workload", type=click.Choice([*WORKLOADS, "loading"]), default="pix2pix")
@click.option("--size", type=int, help="Side of the targets. [default: the usual one]")
@click.option("--batch", type=int, help="Samples a step. [default: the usual number]")
@click.option("--rounds", default=5, show_default=True, help="How often baseline and trainer take turns.")
@click.option("--steps", default=2, show_default=True, help="Steps, or for loading epochs, in a round.")
@click.option(
    "--way",
    "ways",
    type=click.Choice(WAYS),
    multiple=True,
    default=["auto"],
    show_default=True,
    help="Repeatable: plain settings, training.compile, training.cuda_graphs.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["auto", "fp32", "bf16"]),
    multiple=True,
    default=["fp32", "auto"],
    show_default=True,
    help="Repeatable: every way computes in each of them.",
)
@click.option(
    "--memory-format",
    type=click.Choice(["auto", "contiguous", "channels_last"]),
    default="auto",
    show_default=True,
)
@click.option("--device", default="auto", show_default=True)
@options
@click.option("--features", type=int, help="Width of all networks. [default: that of the papers, 64]")
@click.option(
    "--aligned",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="For loading: side-by-side files. [default: JPEGs made for the purpose]",
)
@click.option("--minimum", type=float, help="Fail if the slowest way is not this many times as fast.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def train(
    workload: str,
    size: int | None,
    batch: int | None,
    rounds: int,
    steps: int,
    ways: tuple[str, ...],
    precisions: tuple[str, ...],
    memory_format: str,
    device: str,
    threads: int | None,
    busy: int,
    features: int | None,
    aligned: Path | None,
    minimum: float | None,
    as_json: bool,
) -> None:
    """Compare training with a plain loop: same networks, same batches, same losses.

    The baseline is what scripts do: fp32, contiguous, eager, torch's default Adam, the step of the original
    code. Both take turns in one process. Images a second count the samples of a batch. The ratio of CPU time
    is less disturbed by what else the machine does, best with `--threads 1`. `loading` compares reading pairs
    from files with reading them from the cache.
    """
    if threads:
        torch.set_num_threads(threads)
    if workload == "loading":
        with neighbours(busy):
            numbers = loading(aligned, size or 256, batch or 8, rounds)
        click.echo(json.dumps(numbers) if as_json else _loading_table(numbers))
    else:
        settings = {"memory_format": memory_format, "device": device}
        both = [(way, precision) for way in ways for precision in precisions]
        try:
            numbers = compare(workload, size, batch, features, rounds, steps, both, settings, busy)
        except Img2ImgError as error:
            raise click.ClickException(str(error)) from error
        click.echo(json.dumps(numbers) if as_json else _table(numbers))
    worst = min(entry["ratio"] for entry in numbers["runs"][1:])
    if minimum is not None and worst < minimum:
        raise click.ClickException(f"{worst:.2f} times the baseline, less than {minimum}")


def compare(
    name: str,
    size: int | None,
    batch: int | None,
    features: int | None,
    rounds: int,
    steps: int,
    ways: Sequence[tuple[str, str]],
    settings: Mapping[str, Any],
    busy: int = 0,
) -> dict[str, Any]:
    """Returns what was measured for the workload `name`, ready for JSON.

    Args:
        name: In `WORKLOADS`.
        size: Side of the targets; None takes the usual one, as for `batch` and `features`.
        batch: Samples a step.
        features: Width of all networks.
        rounds: How often baseline and trainers take turns.
        steps: In a round.
        ways: Of `WAYS`, each with a precision.
        settings: More of the section `training`.
        busy: Processes that keep a core busy each meanwhile.
    """
    workload = WORKLOADS[name]
    size, batch = size or workload.size, batch or workload.batch
    device = Runtime(settings["device"], precision="fp32").device
    batches = _batches(workload.make(features), size, batch, device)
    runners = [_baseline(workload, features, device)]
    for way, precision in ways:
        runners.append(_ours(workload, features, way, {**settings, "precision": precision}))
    flops, before = 0, ceilings(device)
    for runner in runners:
        started = time.perf_counter()
        if runner is runners[0]:
            with FlopCounterMode(display=False) as counter:
                runner.step(batches[0])
            flops = counter.get_total_flops()
        for once in islice(cycle(batches), WARM_UP[device.type]):
            runner.step(once)
        _wait(device)
        runner.prepared = time.perf_counter() - started
    with neighbours(busy):
        for turn in range(rounds):
            for place in range(len(runners)):
                _take(runners[(turn + place) % len(runners)], batches, steps, device)
    limits = higher(before, ceilings(device))
    return {
        "workload": name,
        "size": size,
        "batch": batch,
        "features": features,
        "machine": machine(device, busy),
        "busy": busy,
        "torch": torch.__version__,
        "tflop_per_step": round(flops / 1e12, 4),
        "ceiling_gflops": {key: round(value, 1) for key, value in limits.items()},
        "runs": [_entry(runner, runners[0], batch, flops, limits) for runner in runners],
    }


def _take(runner: Runner, batches: Sequence[Batch], steps: int, device: torch.device) -> None:
    """Lets `runner` do its steps of a round, and files how long they took."""
    _wait(device)
    started, used = time.perf_counter(), time.process_time()
    for once in islice(cycle(batches), steps):
        runner.step(once)
    _wait(device)
    runner.seconds.append((time.perf_counter() - started) / steps)
    runner.cpu_seconds.append((time.process_time() - used) / steps)


def _baseline(workload: Workload, features: int | None, device: torch.device) -> Runner:
    method = workload.make(features)
    with_plain_layers(method)
    method.to(device).train()
    return Runner("baseline", "fp32", workload.plain(method, RATE, workload.betas), "contiguous")


def _ours(workload: Workload, features: int | None, way: str, given: Mapping[str, Any]) -> Runner:
    """Returns the trainer as `img2img train` makes it."""
    extra = {} if way == "auto" else {way: True}
    settings = TrainingSettings.model_validate({"steps": 1, "betas": workload.betas, **given, **extra})
    runtime = Runtime(settings.device, precision=settings.precision)
    method = workload.make(features)
    prepare_networks(method, settings, runtime)
    method.begin("")
    trainer = Trainer(method, settings, runtime, lambda step, group: RATE)
    layouts = {
        name: str(memory_format(network, settings, runtime)).removeprefix("torch.").removesuffix("_format")
        for name, network in method.named_children()
    }
    different = set(layouts.values())
    layout = different.pop() if len(different) == 1 else ", ".join(f"{k} {v}" for k, v in layouts.items())
    label = given["precision"] if way == "auto" else f"{way} {given['precision']}"
    return Runner(label, runtime.precision, trainer.step, layout)


def _batches(method: Method, size: int, batch: int, device: torch.device) -> list[Batch]:
    """Returns two batches of noise in the ranges of the networks."""
    generator = next(iter(method.generators().values()))
    small = size // method.scale

    def noise(side: int, value_range: ValueRange) -> torch.Tensor:
        low, high = value_range
        return (torch.rand(batch, RGB, side, side) * (high - low) + low).to(device)

    return [
        Batch({"source": noise(small, generator.input_range), "target": noise(size, generator.output_range)})
        for _ in range(2)
    ]


def _entry(
    runner: Runner, baseline: Runner, batch: int, flops: int, limits: Mapping[str, float]
) -> dict[str, Any]:
    seconds = statistics.median(runner.seconds)
    ratios = [theirs / ours for theirs, ours in zip(baseline.seconds, runner.seconds, strict=True)]
    cpu = statistics.median(runner.cpu_seconds)
    speed = flops / seconds / 1e9
    return {
        "name": runner.label,
        "precision": runner.precision,
        "memory_format": runner.layout,
        "images_per_second": round(batch / seconds, 3),
        "steps_per_second": round(1 / seconds, 3),
        "ratio": round(statistics.median(baseline.seconds) / seconds, 2),
        "ratio_of_rounds": [round(min(ratios), 2), round(max(ratios), 2)],
        "cpu_seconds": round(cpu, 3),
        "cpu_ratio": round(statistics.median(baseline.cpu_seconds) / cpu, 2),
        "gflops": round(speed, 1),
        "share_of_ceiling": round(speed / limits[runner.precision], 3),
        "prepare_seconds": round(runner.prepared, 2),
    }


def _table(numbers: Mapping[str, Any]) -> str:
    limits = ", ".join(f"{name} {value:.0f}" for name, value in numbers["ceiling_gflops"].items())
    lines = [
        f"{numbers['workload']}, batches of {numbers['batch']} at {numbers['size']}x{numbers['size']}, "
        f"{numbers['tflop_per_step']:.3f} TFLOP a step, on {numbers['machine']}",
        f"matrix products: {limits} GFLOP/s",
        f"{'':18}{'images/s':>10}{'steps/s':>10}{'ratio':>8}{'(rounds)':>14}{'of CPU time':>13}"
        f"{'GFLOP/s':>10}{'of ceiling':>12}  precision, memory",
    ]
    for entry in numbers["runs"]:
        low, high = entry["ratio_of_rounds"]
        lines.append(
            f"{entry['name']:18}{entry['images_per_second']:10.2f}{entry['steps_per_second']:10.2f}"
            f"{entry['ratio']:8.2f}{f'({low:.2f}-{high:.2f})':>14}{entry['cpu_ratio']:13.2f}{entry['gflops']:10.0f}"
            f"{entry['share_of_ceiling']:12.0%}  {entry['precision']}, {entry['memory_format']}"
        )
    return "\n".join(lines)


def _loading_table(numbers: Mapping[str, Any]) -> str:
    lines = [
        f"{numbers['samples']} samples, {numbers['data']}, crops of {numbers['size']}",
        *(
            f"{entry['name']:10}{entry['samples_per_second']:12.1f} samples/s{entry['ratio']:8.2f}"
            f"{entry['cpu_ratio']:8.2f} of CPU time"
            for entry in numbers["runs"]
        ),
    ]
    return "\n".join(lines)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
