"""`img2img translate`: folders of images through an image-to-image model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli.network import FIT, SIZE, NetworkOptions, network_options
from img2img.cli.options import INPUTS, OUTPUT, BatchOptions, GroupedCommand, batch_options, option
from img2img.cli.render import say

if TYPE_CHECKING:
    from img2img.batch import Processor


@click.command(cls=GroupedCommand)
@INPUTS
@SIZE
@FIT
@option(
    "--norm-stats",
    type=click.Choice(["image", "running"]),
    group=OUTPUT,
    help="What batch norm normalises by. [default: image for pix2pix, as its paper tests]",
)
@option("--dropout", is_flag=True, group=OUTPUT, help="Leave dropout on, as pix2pix's random input.")
@option("--seed", type=click.IntRange(0), default=0, show_default=True, group=OUTPUT, help="Of --dropout.")
@network_options
@batch_options
@click.pass_obj
def translate(
    arguments: list[str],
    inputs: tuple[Path, ...],
    size: int | tuple[int, int] | Literal["native"] | None,
    fit: Literal["squeeze", "keep"] | None,
    norm_stats: Literal["image", "running"] | None,
    dropout: bool,
    seed: int,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Turn images into others with a pix2pix, CycleGAN or CUT model, or into label maps.

    INPUT is any mix of files and folders; folders keep their tree under DIR. The results have the size of
    their inputs; label maps are PNG files with the palette that the model was trained with.
    latest_net_G.pth opens as it is: no flags for architecture, norm or channels.

    Example: img2img translate horses/ -o zebras/ -m latest_net_G_A.pth
    """
    choices: dict[str, Any] = {"size": size, "norm_stats": norm_stats, "dropout": seed if dropout else None}
    if fit is not None:
        choices["fit"] = fit

    def load() -> tuple[Processor, dict[str, Any]]:
        from img2img.inference.inpainting import fills_holes

        translator, settings = network.load(**choices)
        if fills_holes(translator.generator) and not options.quiet:
            say(
                "The model fills holes, and changes what is known, too; img2img inpaint keeps that.", "yellow"
            )
        return translator, settings

    if options.ext is None and network.makes_labels():
        options = replace(options, ext=".png")  # the formats of photographs mix colours
    return network.convert(inputs, options, load, arguments)
