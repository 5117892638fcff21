"""`img2img upscale`: folders of images through a super-resolution model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.network import NetworkOptions, network_options
from img2img.cli.options import BatchOptions, GroupedCommand, batch_options, option

if TYPE_CHECKING:
    from img2img.batch import Processor


@click.command(cls=GroupedCommand)
@click.argument("inputs", nargs=-1, metavar="INPUT...", type=click.Path(path_type=Path))
@option(
    "-s",
    "--scale",
    "--outscale",
    "scale",
    type=click.FloatRange(0, 64, min_open=True),
    metavar="FACTOR",
    help="Enlarge by this. [default: the model's factor]",
)
@option("-i", "--input", "more", multiple=True, type=click.Path(path_type=Path), hidden=True)
@network_options
@batch_options
@click.pass_obj
def upscale(
    arguments: list[str],
    inputs: tuple[Path, ...],
    more: tuple[Path, ...],
    scale: float | None,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Enlarge images with a super-resolution model.

    INPUT is any mix of files and folders; folders keep their tree under DIR. Published ESRGAN, Real-ESRGAN
    and compact checkpoints open as they are.

    Example: img2img upscale holiday/ -o big/ -m realesr-animevideov3.pth
    """
    if not inputs and not more:
        raise click.UsageError("name at least one file or folder to enlarge.")

    def load() -> tuple[Processor, dict[str, Any]]:
        from img2img.inference.outscale import Outscale

        translator, settings = network.load()
        factor = scale or translator.generator.scale
        return Outscale(translator, factor), {**settings, "scale": factor}

    return network.convert((*inputs, *more), options, load, arguments)
