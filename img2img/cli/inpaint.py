"""`img2img inpaint`: holes in folders of images are filled, everything else stays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli.network import PRECISION
from img2img.cli.options import (
    INPUTS,
    LIMITS,
    OUTPUT,
    SPEED,
    BatchOptions,
    FileSize,
    GroupedCommand,
    batch_options,
    option,
)

if TYPE_CHECKING:
    from img2img.batch import Processor, Result
    from img2img.processors.inpaint import ClassicMethod, Colour

METHODS = "telea", "navier_stokes"
_LOSSY = {".jpg", ".jpeg", ".jfif", ".avif", ".heic", ".heif"}
_COLOUR = re.compile(r"colou?r:(.*?)(?:~(\d{1,3}))?", re.IGNORECASE)


class Holes(click.ParamType):  # type: ignore[type-arg]
    """Where holes are: a file or folder of masks, "alpha", or a colour."""

    name = "holes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | Colour | Literal["alpha"]:
        """Returns a path, "alpha", or a colour with its tolerance."""
        if value == "alpha":
            return "alpha"
        found = _COLOUR.fullmatch(value)
        if found is None:
            if value.startswith("#") and not Path(value).exists():
                self.fail(f"{value} is no file or folder; a colour is written colour:{value}.", param, ctx)
            return Path(value)
        from PIL.ImageColor import getrgb

        from img2img.processors.inpaint import Colour

        try:
            red, green, blue = getrgb(found[1])[:3]
        except ValueError:
            self.fail(
                f"{found[1]!r} is no colour; write six digits as in colour:#ff00ff, or a name. "
                "colour:#ff00ff~20 takes what is up to 20 levels off as well.",
                param,
                ctx,
            )
        return Colour((red, green, blue), int(found[2] or 0))


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "--mask",
    "holes",
    type=Holes(),
    required=True,
    metavar="FILE|DIR|alpha|colour:#ff00ff",
    help="Where the holes are: white in one mask for all or in one of the same name for each; what is "
    "transparent; or a colour.",
)
@option("--invert", is_flag=True, help="Black is the hole, not white.")
@option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    help="A model that fills holes. [default: a classic method, see --method]",
)
@option(
    "--method",
    type=click.Choice(METHODS),
    metavar="|".join(METHODS),
    help="OpenCV's methods, for small holes. [default: telea]",
)
@option(
    "--feather",
    type=click.IntRange(0, 1000),
    metavar="PIXELS",
    group=OUTPUT,
    help="How far into a hole the seam of a model is softened. [default: 16]",
)
@option("--device", metavar="NAME", group=SPEED, default="auto", show_default=True, help="cpu, cuda, mps.")
@PRECISION
@option(
    "--memory",
    type=FileSize(),
    group=LIMITS,
    help="What the network may use: 4G. [default: a share of what is free]",
)
@batch_options
def inpaint(
    inputs: tuple[Path, ...],
    holes: Path | Colour | Literal["alpha"],
    invert: bool,
    model: str | None,
    method: ClassicMethod | None,
    feather: int | None,
    device: str,
    precision: str,
    memory: int | None,
    options: BatchOptions,
) -> int:
    """Fill holes in images: what a mask, transparency or a colour marks is made anew from what is around it.

    INPUT is any mix of files and folders; folders keep their tree under DIR. White in a mask is hole. All
    other pixels come back bit by bit as they were, where the output has a format without loss (--ext png).

    Example: img2img inpaint photos/ -o out/ --mask masks/
    """
    from img2img.cli.convert import convert
    from img2img.cli.render import say
    from img2img.processors.inpaint import Classic, Inpainter

    if model is not None and method is not None:
        raise click.UsageError("-m and --method are two ways to fill a hole; give one of them.")
    if model is None and feather is not None:
        raise click.UsageError("--feather softens the seam of a model; the classic methods leave none.")
    where = "mask" if isinstance(holes, Path) else holes
    inpainter = Inpainter(Classic(method or "telea"), where, invert)

    def load() -> tuple[Processor, dict[str, Any]]:
        settings = {"holes": str(where), "invert": invert}
        if model is None:
            return inpainter, {**settings, "inpaint": method or "telea"}
        from img2img.inference.inpainting import FEATHER, NetworkFill
        from img2img.interop import open_checkpoint
        from img2img.weights import find_model

        generator, info = open_checkpoint(find_model(model))
        reach = FEATHER if feather is None else feather
        fill = NetworkFill(generator, info, device, precision, memory, reach)
        settings |= {"inpaint": fill.fingerprint, "precision": fill.precision, "feather": reach}
        return Inpainter(fill, where, invert), settings

    lossy: set[str] = set()

    def note(result: Result) -> None:
        if result.status == "done" and result.output is not None:
            lossy.update({result.output.suffix.lower()} & _LOSSY)

    masks = {"mask": holes} if isinstance(holes, Path) else {}
    code = convert(inputs, options, load, note, masks)
    if lossy and not options.quiet:
        say(
            f"Files of {' and '.join(sorted(lossy))} compress every pixel anew: what was known is nearly as "
            "it was, and not exactly. --ext png keeps it."
        )
    return code
