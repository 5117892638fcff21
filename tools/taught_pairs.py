"""Makes pairs to imitate a slow model from: `python tools/taught_pairs.py CONFIG MODEL --images DIR -o DIR`.

Of sharp pictures patches are cut and spoiled, as the training of CONFIG would; MODEL enlarges what is left.
A/ holds the spoiled patches, B/ what the model made of them, C/ the sharp ones. `img2img train --paired
DIR/A DIR/B` teaches a small network what the model does, without running it in each step (`method.teacher`
does, and suits models that are fast).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from img2img.data import DataConfig, batches, open_data
from img2img.errors import Img2ImgError
from img2img.fields import enlarging
from img2img.image import Image, write_image
from img2img.image.tensor import to_pixels
from img2img.inference import load_model
from img2img.processors.degradations import DEGRADATIONS
from img2img.training import read_experiment
from img2img.types import UNIT, Batch
from img2img.weights import find_model

_RANGES = {"source": UNIT, "target": UNIT}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config")
@click.argument("model")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Sharp pictures; repeatable.",
)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True, help="Pairs.")
@click.option(
    "--crop",
    type=click.IntRange(min=8),
    default=384,
    show_default=True,
    help="Side of the sharp patches in pixels.",
)
@click.option(
    "--degradation",
    "degradations",
    type=click.Choice([*DEGRADATIONS, "none"]),
    multiple=True,
    default=("second_order", "real", "none"),
    show_default=True,
    help="What spoils them, in turns; named twice, one has twice the turns.",
)
@click.option("--seed", default=0, show_default=True)
def main(
    config: str,
    model: str,
    images: tuple[Path, ...],
    output: Path,
    count: int,
    crop: int,
    degradations: tuple[str, ...],
    seed: int,
) -> None:
    """Spoil patches of pictures, and let MODEL enlarge them: pairs to train on."""
    if output.is_dir() and any(output.iterdir()):
        raise click.ClickException(
            f"{output} is not empty: its pairs would be mixed with these; name another."
        )
    try:
        teacher = load_model(find_model(model))
        scale = teacher.generator.scale
        kinds = {
            kind: _patches(config, images, None if kind == "none" else kind, crop, scale, seed + further)
            for further, kind in enumerate(dict.fromkeys(degradations))
        }
        turns = itertools.cycle([kinds[kind] for kind in degradations])
        with click.progressbar(range(count), label="pairs") as bar:
            for number in bar:
                sample = next(next(turns))
                source, truth = (
                    Image(to_pixels(tensor, UNIT, np.uint8)[0]) for tensor in (sample.source, sample.target)
                )
                (taught,) = teacher([source])
                for folder, picture in (("A", source), ("B", taught), ("C", truth)):
                    place = output / folder / f"{number:06d}.png"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    write_image(picture, place)
    except Img2ImgError as error:
        raise click.ClickException(str(error)) from error


def _patches(
    config: str, images: tuple[Path, ...], kind: str | None, crop: int, scale: int, seed: int
) -> Iterator[Batch]:
    """Yields patches as the training of a configuration would see them, one by one, without end."""
    experiment = read_experiment(config, source={"images": [str(folder) for folder in images]})
    section = experiment.data.model_dump(mode="json")
    section |= {"degradation": kind, "crop_size": crop, "validation": None, "validation_fraction": 0}
    data = open_data(DataConfig.model_validate(section), fields=enlarging(scale), seed=seed)
    for said in (*data.warnings, *data.notes):
        click.echo(said, err=True)
    return iter(batches(data.train, batch_size=1, seed=seed, ranges=_RANGES))


if __name__ == "__main__":
    main()
