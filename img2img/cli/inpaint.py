"""`img2img inpaint`: holes in folders of images are filled, everything else stays."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli import completion
from img2img.cli.network import MARK, PRECISION
from img2img.cli.options import (
    DEVICE,
    INPUTS,
    LIMITS,
    OUTPUT,
    BatchOptions,
    FileSize,
    GroupedCommand,
    batch_options,
    option,
)
from img2img.errors import ConfigError, ImageReadError, ProcessingError, UsageError, display_path

if TYPE_CHECKING:
    from img2img.batch import Processor, Result
    from img2img.processors.inpaint import ClassicMethod, Colour

METHODS = "telea", "navier_stokes"
FORMS = (
    "one mask for all pictures, a folder or a table (column mask) with one for each, all white where a hole "
    "is; alpha for what is transparent; or a colour in the pictures, such as colour:#ff00ff or colour:red~20"
)
_SHOWN = 3
_LOSSY = {".jpg", ".jpeg", ".jfif", ".avif", ".heic", ".heif"}
_COLOUR = re.compile(r"colou?r:(.*?)(?:~(\d{1,3}))?", re.IGNORECASE)


class Holes(click.ParamType):  # type: ignore[type-arg]
    """Where holes are: a file or folder of masks, "alpha", or a colour."""

    name = "holes"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Returns what may be given."""
        return f"Say where the holes are: {FORMS}."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | Colour | Literal["alpha"]:
        """Returns a path, "alpha", or a colour with its tolerance."""
        if value.lower() == "alpha":
            return "alpha"
        found = _COLOUR.fullmatch(value)
        if found is None:
            if value and os.path.lexists(value):
                return Path(value)
            meant = f" A colour is written colour:{display_path(value)}." if _levels(value) else ""
            shown = f"{display_path(value)} is no file or folder." if value else "It is empty."
            self.fail(f"{shown}{meant} It takes {FORMS}.", param, ctx)
        from img2img.processors.inpaint import Colour

        levels = _levels(found[1])
        if levels is None:
            self.fail(
                f"{found[1]!r} is no colour; write six digits as in colour:#ff00ff, or a name. "
                "colour:#ff00ff~20 takes what is up to 20 levels off as well.",
                param,
                ctx,
            )
        try:
            return Colour(levels, int(found[2] or 0))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _levels(text: str) -> tuple[int, int, int] | None:
    """Returns red, green and blue of a colour that is opaque; None for anything else."""
    from PIL.ImageColor import getrgb

    try:
        red, green, blue, *alpha = getrgb(text.strip())
    except ValueError:
        return None
    return (red, green, blue) if alpha in ([], [255]) else None


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "--mask",
    "holes",
    type=Holes(),
    required=True,
    metavar="FILE|DIR|alpha|colour:#ff00ff",
    shell_complete=completion.paths,
    help="Where the holes are: white in one mask for all or in one of the same name for each; what is "
    "transparent; or a colour.",
)
@option("--invert", is_flag=True, help="Black is the hole, not white.")
@option(
    "-m",
    "--model",
    metavar="NAME|FILE",
    shell_complete=completion.models,
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
@DEVICE
@PRECISION
@option(
    "--memory",
    type=FileSize(),
    group=LIMITS,
    help="What the network may use: 4G. [default: a share of what is free]",
)
@MARK
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
    mark: bool,
    options: BatchOptions,
) -> int:
    """Fill holes in images: what a mask, transparency or a colour marks is made anew from what is around it.

    INPUT is any mix of files and folders; folders keep their tree under DIR. White in a mask is hole. All
    other pixels come back bit by bit as they were, where the output has a format without loss (--ext png).

    Example: img2img inpaint photos/ -o out/ --mask masks/
    """
    from img2img.cli.convert import convert
    from img2img.cli.render import say
    from img2img.processors.inpaint import NO_HOLE, Classic, Inpainter

    if model is not None and method is not None:
        raise click.UsageError("-m and --method are two ways to fill a hole; give one of them.")
    if model is None and feather is not None:
        raise click.UsageError("--feather softens the seam of a model; the classic methods leave none.")
    where = "mask" if isinstance(holes, Path) else holes
    inpainter = Inpainter(Classic(method or "telea"), where, invert)

    def load() -> tuple[Processor, dict[str, Any]]:
        settings = {"holes": where if isinstance(where, str) else repr(where), "invert": invert}
        if model is None:
            return inpainter, {**settings, "inpaint": method or "telea"}
        from img2img.inference.inpainting import network_inpainter
        from img2img.weights import find_model

        found, own = network_inpainter(
            find_model(model), where, invert, device, precision, memory, feather, mark
        )
        return found, settings | own

    if isinstance(holes, Path) and holes.is_file():
        require_white(holes, invert, options)
    lossy: set[str] = set()
    whole: list[Path] = []

    def note(result: Result) -> None:
        if any(sentence.startswith(NO_HOLE) for sentence in result.warnings):
            whole.append(result.source)
        if result.status == "done" and result.output is not None:
            lossy.update({result.output.suffix.lower()} & _LOSSY)

    masks = {"mask": holes} if isinstance(holes, Path) else {}
    code = convert(inputs, options, load, note, masks)
    if whole and not options.quiet:
        files = "1 file has" if len(whole) == 1 else f"{len(whole)} files have"
        some = ", ".join([*map(display_path, whole[:_SHOWN]), *["..."] * (len(whole) > _SHOWN)])
        say(f"{files} no hole, and came back as before: {some}.", "yellow")
    if lossy and not options.quiet:
        say(
            f"Files of {' and '.join(sorted(lossy))} compress every pixel anew: what was known is nearly as "
            "it was, and not exactly. --ext png keeps it."
        )
    return code


def require_white(path: Path, invert: bool, options: BatchOptions) -> None:
    """Makes sure that one mask for all marks something and not all; else it would fail every single file."""
    from img2img.image import read_image
    from img2img.processors.inpaint import marked

    shown = display_path(path)
    try:
        hole, _ = marked(read_image(path, options.limits()))
    except ImageReadError:
        return  # it is a table, or what is wrong with it is said before the work
    except ProcessingError as error:
        raise UsageError(
            f"{shown}: {error} A colour in the pictures themselves is found without a mask, as --mask "
            "colour:#ff00ff."
        ) from None
    if (hole ^ invert).all():
        raise UsageError(
            f"{shown}: the whole mask is {'black' if invert else 'white'}, and nothing is left to fill holes "
            f"from; {'without' if invert else 'with'} --invert it marks none."
        )
