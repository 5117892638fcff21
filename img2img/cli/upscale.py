"""`img2img upscale`: folders of images through a super-resolution model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.network import NetworkOptions, upscaler_options
from img2img.cli.options import OUTPUT, BatchOptions, GroupedCommand, batch_options, option
from img2img.cli.render import say
from img2img.errors import display_path

if TYPE_CHECKING:
    from img2img.batch import Processor

DEFAULT_SCALE = 4.0  # of the models that ship


@click.command(cls=GroupedCommand)
@click.argument("inputs", nargs=-1, metavar="INPUT...", type=click.Path(path_type=Path))
@option(
    "-s",
    "--scale",
    "--outscale",
    "scale",
    type=click.FloatRange(0, 64, min_open=True),
    metavar="FACTOR",
    help="Enlarge by this: 2, 4, 2.5. [default: 4, or the factor of -m]",
)
@option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    group=OUTPUT,
    help="Share of the model in the result; the rest is a bicubic enlargement.",
)
@option(
    "--color-fix",
    type=click.Choice(["off", "lowfreq", "wavelet"]),
    default="off",
    show_default=True,
    group=OUTPUT,
    help="Give results the colours of their inputs, which GAN models shift: by a Gaussian, or by wavelets.",
)
@option("-i", "--input", "more", multiple=True, type=click.Path(path_type=Path), hidden=True)
@upscaler_options
@batch_options
@click.pass_obj
def upscale(
    arguments: list[str],
    inputs: tuple[Path, ...],
    more: tuple[Path, ...],
    scale: float | None,
    strength: float,
    color_fix: str,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Enlarge images with a super-resolution model.

    INPUT is any mix of files and folders; folders keep their tree under DIR. Without -m one of the models
    that ship does it. Published ESRGAN, Real-ESRGAN and compact checkpoints open as they are.

    Example: img2img upscale holiday/ -o big/
    """
    if not inputs and not more:
        raise click.UsageError("name at least one file or folder to enlarge.")

    def load() -> tuple[Processor, dict[str, Any]]:
        model, factor = None, scale
        if network.model is None:
            factor = scale or DEFAULT_SCALE
            model = _choose(factor, strength, quiet=options.quiet)
        fix = {} if color_fix == "off" else {"color_fix": color_fix}  # results of before stay valid
        translator, settings = network.load(model, scale=factor, strength=strength, **fix)
        return translator, {**settings, "scale": float(translator.scale)}

    return network.convert((*inputs, *more), options, load, arguments)


def _choose(factor: float, strength: float, quiet: bool) -> Path:
    """Returns the file of the model that ships for this factor, and says which it is."""
    from img2img.weights import ships, upscaler

    own, path = upscaler(factor)
    if not quiet:
        origin = "which ships with img2img" if ships(path) else f"from {display_path(path.parent)}"
        share = f" at strength {strength:g}" if strength < 1 else ""
        say(f"Enlarging by {factor:g} with the model {path.stem}, {origin}{share}.")
        if factor > own:
            say(f"From {own} times on it is bicubic, which adds no detail.", "yellow")
        elif factor < own:
            say(f"What it makes is {own} times as large and then reduced to {factor:g} times.")
    return path
