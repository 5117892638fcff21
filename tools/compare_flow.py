"""Compares models of pairs that make several results: `python tools/compare_flow.py RUN... --grid FILE`.

Each RUN is the folder of a training; its averaged weights are measured on its held-out pairs, at the size of
the training. A flow makes samples by its noise, in 1, 2, ... steps; a pix2pix by its dropout, and without.

Measured in parts of white, means over pictures: how far a sample is from the truth (L1), how far the mean of
all samples is, and how far samples are from each other (L1 of all pairs): the diversity.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from img2img.checkpoint import open_model
from img2img.data import open_data
from img2img.data.loader import in_order
from img2img.errors import ConfigError, Img2ImgError
from img2img.image import Image, write_image
from img2img.image.sheet import sheet
from img2img.image.tensor import to_pixels
from img2img.models import Generator
from img2img.models.dropout import set_dropout
from img2img.models.noise import set_noise
from img2img.training import read_experiment
from img2img.training.whole import of_any_size
from img2img.types import ValueRange

MODEL = "ema.safetensors"
SHOWN = 4  # samples of a picture in the grid


@dataclass(frozen=True)
class Row:
    """What is known of one way to use one model.

    Attributes:
        run: Its folder.
        way: "5 steps", "dropout" or "".
        parameters: Of the network.
        learned: Samples that it has seen.
        l1: Of one sample.
        l1_of_mean: Of the mean of the samples.
        diversity: Mean L1 distance of two samples of one picture.
        ms: Milliseconds of CPU time for one sample of one picture.
    """

    run: str
    way: str
    parameters: int
    learned: int
    l1: float
    l1_of_mean: float
    diversity: float
    ms: float


def unit(images: Tensor, values: ValueRange) -> Tensor:
    """Returns `images` with black at 0 and white at 1, as they would be stored."""
    return ((images - values.low) / (values.high - values.low)).clamp(0, 1)


def held_out(run: Path, most: int) -> tuple[Tensor, Tensor]:
    """Returns sources and targets (N, C, H, W) of the held-out pairs of a run, from 0 to 1."""
    experiment = read_experiment(run / "config.yaml")
    data = open_data(experiment.data, experiment.fields, seed=experiment.seed)
    if data.validation is None or not {"source", "target"} <= set(data.validation.fields):
        raise ConfigError(f"{run} holds no pairs back; its data need a folder val, or validation_fraction.")
    names = ("source", "target")
    batches = in_order(data.validation, batch_size=1, ranges=dict.fromkeys(names, ValueRange(0, 1)))
    pairs = [(batch.source, batch.target) for batch in itertools.islice(batches, most)]
    sources, targets = (torch.cat([pair[place] for pair in pairs]) for place in range(2))
    return sources, targets


def ways(generator: Generator, steps: Sequence[int]) -> dict[str, tuple[int | None, Callable[[int], object]]]:
    """Returns how samples are made: by name the steps, and what gives the model a seed."""
    if generator.steps is not None:
        seeded = lambda seed: set_noise(generator, seed)  # noqa: E731
        return {f"{count} step{'s' * (count > 1)}": (count, seeded) for count in steps}
    found: dict[str, tuple[int | None, Callable[[int], object]]] = {"": (None, lambda seed: None)}
    if set_dropout(generator, None):
        found["dropout"] = (None, lambda seed: set_dropout(generator, seed))
    return found


@torch.inference_mode()
def samples(generator: Generator, sources: Tensor, reseed: Callable[[int], object], count: int) -> Tensor:
    """Returns `count` results of each source, (count, N, C, H, W) from 0 to 1."""
    low, high = generator.input_range
    network, made = of_any_size({"it": generator})["it"], []
    for seed in range(count):
        reseed(seed)
        output = torch.cat([network(part * (high - low) + low) for part in sources.split(8)])
        made.append(unit(output, generator.output_range))
    return torch.stack(made)


def measured(made: Tensor, targets: Tensor) -> tuple[float, float, float]:
    """Returns L1 of a sample, L1 of the mean of the samples, and the mean distance of two samples.

    Args:
        made: (samples, N, C, H, W).
        targets: (N, C, H, W).
    """
    pairs = list(itertools.combinations(made, 2))
    apart = torch.stack([(a - b).abs().mean() for a, b in pairs]).mean().item() if pairs else 0.0
    return (made - targets).abs().mean().item(), (made.mean(0) - targets).abs().mean().item(), apart


def compare(run: Path, steps: Sequence[int], count: int, most: int) -> tuple[list[Row], dict[str, Tensor]]:
    """Returns the rows of one run, and what it made by each way, (samples, N, C, H, W)."""
    sources, targets = held_out(run, most)
    generator, info = open_model(run / MODEL)
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    rows, pictures = [], {"source": sources[None], "target": targets[None]}
    for way, (number, reseed) in ways(generator, steps).items():
        if number is not None:
            generator.set_steps(number)
        several = count if way else 1
        began = time.process_time()
        made = pictures[way] = samples(generator, sources, reseed, several)
        ms = 1e3 * (time.process_time() - began) / (several * len(sources))
        learned = int(info.origin.get("samples", 0))
        rows.append(Row(run.name, way, parameters, learned, *measured(made, targets), ms))
        set_dropout(generator, None)
    return rows, pictures


def drawn(pictures: dict[str, dict[str, Tensor]], shown: str, most: int) -> Image:
    """Returns a contact sheet: a row for each picture, with what every run made of it.

    Args:
        pictures: By run what `compare` returns.
        shown: The way of flows, such as "5 steps".
        most: Rows at most.
    """
    first = next(iter(pictures.values()))

    def cell(image: Tensor, caption: str) -> tuple[Image, str]:
        return Image(to_pixels(image[None], ValueRange(0, 1), "uint8")[0]), caption

    rows = []
    for place in range(min(most, first["source"].shape[1])):
        row = [cell(first[name][0, place], name) for name in ("source", "target")]
        for run, made in pictures.items():
            way = shown if shown in made else next(name for name in made if name not in ("source", "target"))
            row += [cell(one[place], f"{run}, {seed}") for seed, one in enumerate(made[way][:SHOWN])]
            if len(made[way]) > 1:
                row.append(cell(made[way].mean(0)[place], f"{run}, mean"))
        rows.append(row)
    return sheet(rows, cell_width=128)


def table(rows: Sequence[Row]) -> str:
    """Returns the rows in Markdown."""
    lines = [
        "| run | way | parameters | learned from | L1 of a sample | L1 of the mean | between samples | ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.run} | {r.way} | {r.parameters / 1e6:.1f} M | {r.learned:,} | {r.l1:.4f} | {r.l1_of_mean:.4f} "
        f"| {r.diversity:.4f} | {r.ms:.0f} |"
        for r in rows
    ]
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    metavar="RUN...",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--steps", default="1,2,3,4,5,6,8,10", show_default=True, help="Of flows.")
@click.option("--samples", "count", default=8, show_default=True, help="Of each picture.")
@click.option("--pictures", "most", default=30, show_default=True, help="Held-out pairs at most.")
@click.option("--grid", type=click.Path(path_type=Path), help="A contact sheet of all runs, in 5 steps.")
@click.option("--rows", default=6, show_default=True, help="Pictures in it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    runs: tuple[Path, ...], steps: str, count: int, most: int, grid: Path | None, rows: int, as_json: bool
) -> None:
    """Measure what each RUN makes of its held-out pairs."""
    try:
        numbers = [int(number) for number in steps.split(",")]
    except ValueError:
        raise click.UsageError(f"{steps!r} is to be numbers like 1,2,5.") from None
    found, pictures = [], {}
    try:
        for run in runs:
            own, pictures[run.name] = compare(run, numbers, count, most)
            found += own
        if grid is not None:
            shown = "5 steps" if 5 in numbers else f"{numbers[-1]} step{'s' * (numbers[-1] > 1)}"
            write_image(drawn(pictures, shown, rows), grid)
    except Img2ImgError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps([asdict(row) for row in found], indent=1) if as_json else table(found))


if __name__ == "__main__":
    main()
