"""`img2img upscale`: folders of images through a super-resolution model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.network import AUTO, COLOR_FIX, NetworkOptions, origin, upscaler_options
from img2img.cli.options import OUTPUT, BatchOptions, GroupedCommand, PlaceType, batch_options, option
from img2img.cli.render import say
from img2img.weights import photo_upscaler, restorer, upscaler

if TYPE_CHECKING:
    from img2img.batch import Processor, Result
    from img2img.image import Image
    from img2img.inference import Translator

DEFAULT_SCALE = 4.0  # of the models that ship


@click.command(cls=GroupedCommand)
@click.argument("inputs", nargs=-1, metavar="INPUT...", type=PlaceType())
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
@COLOR_FIX
@option("-i", "--input", "more", multiple=True, type=PlaceType(), hidden=True)
@upscaler_options
@batch_options
@click.pass_obj
def upscale(
    arguments: list[str],
    inputs: tuple[Path, ...],
    more: tuple[Path, ...],
    scale: float | None,
    strength: float,
    color_fix: str | None,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Enlarge images with a super-resolution model.

    INPUT is any mix of files and folders; folders keep their tree under DIR. Without -m one of the models
    that ship does it; -m auto looks at each picture and does more for one that is visibly compressed or
    noisy. Published ESRGAN, Real-ESRGAN and compact checkpoints open as they are.

    Example: img2img upscale holiday/ -o big/
    """
    if not inputs and not more:
        raise click.UsageError("name at least one file or folder to enlarge.")

    done = damaged = 0

    def load() -> tuple[Processor, dict[str, Any]]:
        own = replace(network, model=None if network.model == AUTO else network.model)
        model, factor = None, scale
        if own.model is None:
            factor = scale or DEFAULT_SCALE
            model = _choose(factor, strength, quiet=options.quiet)
        choices: dict[str, Any] = {"scale": factor, "strength": strength, "color_fix": color_fix}
        translator, settings = own.load(model, **choices)
        settings |= {"scale": float(translator.scale)}
        if model is None or network.model is None:
            return translator, settings
        return _by_damage(own, model, translator, settings, choices, options.quiet)

    def note(result: Result) -> None:
        nonlocal done, damaged
        from img2img.image.estimates import damages

        if result.status == "done":
            done += 1
            damaged += bool(damages(result.found))

    advice = None if network.model is not None or options.quiet else _advice()
    estimate = advice is not None or network.model == AUTO
    code = network.convert((*inputs, *more), options, load, arguments, note, estimate)
    if advice and damaged:
        files = "1 of these files is" if damaged == 1 else f"{damaged} of these {done} files are"
        say(f"{files} visibly compressed or noisy, which is enlarged with the rest. {advice}", "yellow")
    return code


def _advice() -> str | None:
    """Returns what to do about compressed and noisy pictures, or None where there is nothing for them."""
    photo = photo_upscaler()
    if photo is not None:
        return f"-m {photo.stem} is made for such pictures; -m {AUTO} takes it for these alone."
    if restorer() is not None:
        return f"img2img restore makes them better first; -m {AUTO} does both, to these alone."
    return None


def _by_damage(
    network: NetworkOptions,
    plain: Path,
    enlarger: Translator,
    settings: Mapping[str, Any],
    more: Mapping[str, Any],
    quiet: bool,
) -> tuple[Processor, dict[str, Any]]:
    """Returns what enlarges each picture by what is found in it, and what identifies that.

    Args:
        network: The options.
        plain, enlarger, settings: The file of the model for pictures without damage, the model, and what
            identifies it.
        more: Arguments of `load_model` that it was opened with.
        quiet: Whether nothing is said.
    """
    from img2img.image.estimates import VISIBLE, damages, estimates
    from img2img.inference.choice import Chooser

    photo, clean = photo_upscaler(), restorer()
    ways, choices = {plain.stem: [enlarger]}, {plain.stem: [dict(settings)]}
    other = plain.stem
    if photo is not None:
        other, told = photo.stem, f"enlarged by {photo.stem}, {origin(photo)}, instead"
        translator, own = network.load(photo, **more)
        ways[other], choices[other] = [translator], [own]
    elif clean is not None:
        other, told = f"{clean.stem}+{plain.stem}", f"restored by {clean.stem}, {origin(clean)}, first"
        translator, own = network.load(clean, strength=more["strength"], color_fix=more["color_fix"])
        ways[other], choices[other] = [translator, enlarger], [own, dict(settings)]
    else:
        told = "enlarged like the rest: no model for such pictures is in this installation"
    if not quiet:
        say(f"What is visibly compressed or noisy is {told}.", "yellow" if other == plain.stem else "")

    def choose(image: Image) -> str:
        return other if damages(estimates(image)) else plain.stem

    rule = {"visible": VISIBLE, "damaged": other, "other": plain.stem}
    return Chooser(ways, choose), {"upscale": rule, "scale": settings["scale"], "choices": choices}


def _choose(factor: float, strength: float, quiet: bool) -> Path:
    """Returns the file of the model that ships for this factor, and says which it is."""
    own, path = upscaler(factor)
    if not quiet:
        share = f", at strength {strength:g}" if strength < 1 else ""
        say(f"Enlarging by {factor:g} with the model {path.stem}, {origin(path)}{share}.")
        if factor > own:
            say(f"From {own} times on it is bicubic, which adds no detail.", "yellow")
        elif factor < own:
            say(f"What it makes is {own} times as large and then reduced to {factor:g} times.")
    return path
