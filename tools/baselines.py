"""Predictions that a translation model has to beat: `python tools/baselines.py RUN -o FOLDER`.

L1 and SSIM of a model mean little alone. Two predictors that learn nothing give them a scale: one answers
every input with the mean of the training targets, the other with the input itself. This writes both for the
held-out pairs of a run, and beside them the pairs at the size that the network sees, so that model and
baselines are measured on the same pictures:

    python tools/baselines.py runs/facades -o held_out
    img2img evaluate --protocol plain --target held_out/target --pred held_out/mean
    img2img evaluate --protocol plain --target held_out/target --pred held_out/copied
    img2img evaluate --protocol plain --target held_out/target -m runs/facades/best_generator.safetensors \
        --input held_out/source
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import torch
from torch import Tensor

from img2img.data import Dataset, in_order, open_data
from img2img.errors import ConfigError, Img2ImgError, ProcessingError
from img2img.fields import PAIRED
from img2img.image import Image, write_image
from img2img.image.tensor import to_pixels
from img2img.report.run import CONFIG
from img2img.training.experiment import read_experiment
from img2img.types import UNIT, Batch


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config", metavar="RUN|CONFIG")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As of img2img train.")
def baselines(config: str, output: Path, assignments: tuple[str, ...]) -> None:
    """Write the held-out pairs of RUN, or of a training with CONFIG, and two predictions for them.

    The folder gets source, target, mean and copied, with one PNG of 8 bits for each pair. What is held out is
    what `img2img train` holds out with the same configuration.
    """
    try:
        counts = write(config, output, assignments)
    except Img2ImgError as error:
        raise click.ClickException(str(error)) from error
    for name, count in counts.items():
        click.echo(f"{output / name}: {count} pictures")


def write(config: str | Path, output: Path, assignments: tuple[str, ...] = ()) -> dict[str, int]:
    """Does what the command does; returns how many pictures each folder got.

    Raises:
        ConfigError: The configuration is not for pairs, or holds none out.
        ProcessingError: The targets differ in size, so that they have no mean.
    """
    path = Path(config) / CONFIG if Path(config).is_dir() else config
    experiment = read_experiment(path, assignments)
    settings = experiment.data
    if settings.crop_size is not None:  # the whole picture, as validation has it, also for the mean
        settings = settings.model_copy(update={"load_size": settings.crop_size})
    data = open_data(settings, fields=PAIRED, seed=experiment.seed)
    if data.validation is None:
        raise ConfigError("no pairs are held out; say how many with --set validation_fraction=0.1")
    mean = mean_target(data.train)
    counts = dict.fromkeys(("source", "target", "mean", "copied"), 0)
    for batch in samples(data.validation):
        predictions = {"target": batch.target, "mean": mean.expand_as(batch.target)}
        if batch.source.shape[1] in (1, 3):  # class maps are no pictures
            predictions |= {"source": batch.source, "copied": batch.source}
        for folder, tensor in predictions.items():
            place = (output / folder / batch.keys[0]).with_suffix(".png")
            place.parent.mkdir(parents=True, exist_ok=True)
            write_image(Image(to_pixels(tensor, UNIT)[0]), place)
            counts[folder] += 1
    return counts


def mean_target(dataset: Dataset) -> Tensor:
    """Returns the mean (1, C, H, W) of all targets, in [0, 1]."""
    total: Tensor | None = None
    count = 0
    for batch in samples(dataset):
        target = batch.target.double()
        if total is not None and total.shape != target.shape:
            raise ProcessingError(
                f"{batch.keys[0]} has another size than those before it; give all one with "
                "--set crop_size=256"
            )
        total = target if total is None else total + target
        count += 1
    if total is None:
        raise ProcessingError("no pair for training could be read.")
    return (total / count).to(torch.float32)


def samples(dataset: Dataset) -> Iterator[Batch]:
    """Yields the pairs one by one, nothing random, in [0, 1]."""
    return in_order(dataset, batch_size=1, ranges={"source": UNIT, "target": UNIT})


if __name__ == "__main__":
    baselines()
