"""`img2img translate`: folders of images through an image-to-image model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli.convert import ONCE
from img2img.cli.network import FIT, SIZE, NetworkOptions, network_options
from img2img.cli.options import INPUTS, OUTPUT, BatchOptions, GroupedCommand, batch_options, option
from img2img.cli.render import say

if TYPE_CHECKING:
    from img2img.batch import Processor


def _changes(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """Returns what NAME=1, NAME=0 and NAME say, by name."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=") if "=" in text else (text, "", "1")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not name.strip() or not math.isfinite(number):
            raise click.BadParameter(
                f"{text!r} is not of the form NAME=1 or NAME=0; NAME alone is NAME=1.", ctx, parameter
            )
        if found.setdefault(name.strip(), number) != number:
            raise click.BadParameter(f"{name.strip()} is set twice, to different values.", ctx, parameter)
    return found


_SHOWN = 12  # names in a message


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
@option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    group=OUTPUT,
    help="Of --dropout, or of the random input of a model that has one: another seed, another result.",
)
@option(
    "--samples",
    type=click.IntRange(1, 10_000),
    metavar="N",
    group=OUTPUT,
    help="Make N results of each image, of the seeds from --seed on, called after them: a_seed0.png.",
)
@option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    group=OUTPUT,
    help="Steps that a flow model takes from noise to a result. [default: as the model says]",
)
@option(
    "--set-attribute",
    multiple=True,
    metavar="NAME=1|0",
    callback=_changes,
    group=OUTPUT,
    help="Set an attribute that the model knows, and clear those that it excludes; may be repeated. What is "
    "not set is as --with attributes=TABLE says of each image, else 0.",
)
@option(
    "--all-attributes",
    is_flag=True,
    group=OUTPUT,
    help="Make a contact sheet of each image: itself, then each attribute set in turn.",
)
@option(
    "--style",
    type=int,
    metavar="N",
    group=OUTPUT,
    help="How things look, of what a pix2pixhd model with styles learned; 0 is the usual look. [default: 0]",
)
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
    samples: int | None,
    steps: int | None,
    set_attribute: dict[str, float],
    all_attributes: bool,
    style: int | None,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Turn images into others with a pix2pix, CycleGAN, CUT, StarGAN or flow model, or into label maps.

    INPUT is any mix of files and folders; folders keep their tree under DIR. The results have the size of
    their inputs; label maps are PNG files with the palette that the model was trained with.
    latest_net_G.pth opens as it is: no flags for architecture, norm or channels.

    Example: img2img translate horses/ -o zebras/ -m latest_net_G_A.pth

    Example: img2img translate edges/ -o shoes/ -m flow.safetensors --samples 4

    Example: img2img translate faces/ -o blond/ -m 200000-G.ckpt --set-attribute Blond_Hair=1
    """
    choices: dict[str, Any] = {"size": size, "norm_stats": norm_stats, "dropout": seed if dropout else None}
    choices |= {
        name: value for name, value in (("fit", fit), ("style", style), ("steps", steps)) if value is not None
    }
    if seed and not dropout and samples is None:
        choices["noise"] = seed
    seeds = [] if samples is None else range(seed, seed + samples)
    if seeds and (set_attribute or all_attributes):
        raise click.UsageError("--samples is for models with a random input, not for those with attributes.")

    def load() -> tuple[Processor, dict[str, Any]]:
        from img2img.inference.attributes import AttributeEditor
        from img2img.inference.inpainting import fills_holes

        edits = bool(set_attribute) or all_attributes
        translator, settings = network.load(numbers=not edits, **choices)
        changes = fills_holes(translator.generator) and not getattr(translator.generator, "holes", False)
        if changes and not options.quiet:
            say(
                "The model fills holes, and changes what is known, too; img2img inpaint keeps that.", "yellow"
            )
        if seeds:
            from img2img.inference.samples import Samples, named

            translator.reseed(seed)
            random = "dropout" if dropout else "noise"
            several = {"choices": {named(one): {**settings, random: one} for one in seeds}}
            return Samples(translator, translator.reseed), several
        if not edits:
            return translator, settings
        known = any(not translator.conditions[name].spatial for name in network.companions)
        editor = AttributeEditor(translator, set_attribute, known, all_attributes)
        if editor.assumed and not options.quiet:
            say(
                "Nothing says what else holds of the images (--with attributes=TABLE does); these count as "
                f"0: {', '.join(editor.assumed[:_SHOWN])}{', ...' * (len(editor.assumed) > _SHOWN)}.",
                "yellow",
            )
        return editor, settings | {"attributes": set_attribute, "every": all_attributes}

    if options.ext is None and network.makes_labels():
        options = replace(options, ext=".png")  # the formats of photographs mix colours
    variants = {f"_seed{one}": {"seed": (one,)} for one in seeds} or ONCE
    return network.convert(inputs, options, load, arguments, variants=variants)
