"""`img2img stylize`: folders of images painted in a style."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli import completion
from img2img.cli.network import FIT, SIZE, NetworkOptions, stylizer_options
from img2img.cli.options import INPUTS, OUTPUT, BatchOptions, GroupedCommand, batch_options, option
from img2img.errors import UsageError, display_path

if TYPE_CHECKING:
    from img2img.batch import Processor
    from img2img.image import Image, Limits


class StylePicture(click.ParamType):  # type: ignore[type-arg]
    """A picture, with or without how much it counts: "a.jpg", "b.jpg:0.3"."""

    name = "style"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, float]:
        """Returns the file and its weight, 1 where none is given."""
        path, weight = Path(value), 1.0
        if not os.path.lexists(value):
            name, _, number = value.rpartition(":")
            try:
                path, weight = Path(name or value), float(number) if name else 1.0
            except ValueError:
                path = Path(value)
            if not math.isfinite(weight) or weight <= 0:
                self.fail(
                    f"{value!r}: the weight of a style is a number above 0, as in b.jpg:0.3.", param, ctx
                )
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            self.fail(
                f"{display_path(path)} {found}; a style is a picture, or several: --style a.jpg --style "
                "b.jpg:0.3, which counts 0.3 where a.jpg counts 1.",
                param,
                ctx,
            )
        return path, weight


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "--style",
    "styles",
    type=StylePicture(),
    multiple=True,
    metavar="PICTURE[:WEIGHT]",
    shell_complete=completion.paths,
    help="In whose style, for models that take any; may be repeated for a mixture.",
)
@option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Share of the style; the rest is the picture as it was.",
)
@option(
    "--keep-colours/--no-keep-colours",
    "--keep-colors/--no-keep-colors",
    "keep_colours",
    default=False,
    help="Take the strokes of the style and keep the colours of the picture.",
)
@SIZE
@FIT
@option(
    "--style-size",
    type=click.IntRange(16, 4096),
    metavar="PIXELS",
    group=OUTPUT,
    help="Shorter side at which a style picture is looked at: of a larger one the strokes are larger. "
    "[default: 512]",
)
@stylizer_options
@batch_options
@click.pass_obj
def stylize(
    arguments: list[str],
    inputs: tuple[Path, ...],
    styles: tuple[tuple[Path, float], ...],
    strength: float,
    keep_colours: bool,
    size: int | tuple[int, int] | Literal["native"] | None,
    fit: Literal["squeeze", "keep"] | None,
    style_size: int | None,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Paint images in the style of a picture.

    INPUT is any mix of files and folders; folders keep their tree under DIR. A model either takes any style
    (adain) or has learned one (johnson), and then needs no --style.

    Example: img2img stylize photos/ -o out/ -m adain.safetensors --style brush.jpg

    Example: img2img stylize photos/ -o out/ -m brush.safetensors --strength 0.7 --keep-colours
    """
    if style_size is not None and not styles:
        raise click.UsageError(
            "--style-size says how large the pictures of --style are looked at; name some."
        )
    limits = options.limits()

    def load() -> tuple[Processor, dict[str, Any]]:
        from img2img.inference.styles import SIDE, Styles, takes_style
        from img2img.inference.stylizer import Stylizer

        more: dict[str, Any] = {"size": size, "fit": fit or "keep"}
        shares = strength
        if styles:
            pictures = [_read(path, limits) for path, _ in styles]
            more["style"] = Styles(pictures, [weight for _, weight in styles], style_size or SIDE, strength)
        translator, settings = network.load(**more)
        if takes_style(translator.generator):
            if not styles:
                raise UsageError(
                    f"{network.model} paints in the style of a picture; name one or more with --style."
                )
            shares = 1.0
        # the moments of the style are among the weights of the model, whose fingerprint the settings have
        settings.pop("style", None)
        stylizer = Stylizer(translator, shares, keep_colours)
        return stylizer, settings | {"strength": strength, "keep_colours": keep_colours}

    return network.convert(inputs, options, load, arguments)


def _read(path: Path, limits: Limits) -> Image:
    """Returns a style.

    Raises:
        UsageError: It cannot be read as a picture.
    """
    from img2img.errors import ImageReadError
    from img2img.image import read_image

    try:
        return read_image(path, limits).replace(name=display_path(path))
    except ImageReadError as error:
        raise UsageError(f"{error}; it was named as a style.") from None
