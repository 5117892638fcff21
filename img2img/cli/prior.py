"""`img2img prior`: pictures restored by nothing but themselves, by Deep Image Prior."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.cli.inpaint import Holes, require_white
from img2img.cli.options import (
    DEVICE,
    INPUTS,
    LIMITS,
    MESSAGES,
    OUTPUT,
    SPEED,
    BatchOptions,
    FileSize,
    GroupedCommand,
    option,
    picture_options,
)
from img2img.cli.render import duration, say
from img2img.errors import ImageError, UsageError, display_path

if TYPE_CHECKING:
    from img2img.batch import Processor
    from img2img.inference.early_stopping import StoppingRule
    from img2img.inference.prior import PriorEstimate, PriorProgress
    from img2img.inference.prior_tasks import HoleForm, PriorTask
    from img2img.processors.inpaint import Colour

_LONG = 60  # seconds: what takes longer is announced
_EVERY = 10.0  # seconds between two previews
_MARK = ("Comment", "img2img prior: how far it is")


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "--task",
    type=click.Choice(["denoise", "dejpeg", "inpaint", "upscale"]),
    required=True,
    help="What is done: noise or JPEG artefacts removed, holes filled, or enlarged.",
)
@option(
    "--mask",
    "holes",
    type=Holes(),
    metavar="FILE|DIR|alpha|colour:#ff00ff",
    help="With --task inpaint, where the holes are, as for img2img inpaint.",
)
@option("--invert", is_flag=True, group=OUTPUT, help="Black in the mask is the hole, not white.")
@option(
    "--missing",
    type=click.Choice(["auto", "text", "pixels", "region"]),
    default="auto",
    show_default=True,
    group=OUTPUT,
    help="Which of the authors' recipes fills holes: of what text or strokes hide, of single pixels, of a "
    "region. auto goes by the mask.",
)
@option(
    "--factor",
    type=click.IntRange(2, 8),
    help="With --task upscale, how many times as wide and high. [default: 4]",
)
@option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="For each picture, at most; what it is by then is the result.",
)
@option(
    "--steps",
    type=click.IntRange(1),
    group=SPEED,
    help="Of each fit, at most. [default: the authors', 2000 to 11000 by task]",
)
@option(
    "--channels",
    type=click.IntRange(1, 1024),
    default=128,
    show_default=True,
    group=SPEED,
    help="Of the network at its widest; half of them take a quarter of the time.",
)
@option(
    "--stop",
    type=click.Choice(["windowed", "moving", "none"]),
    default="windowed",
    show_default=True,
    group=OUTPUT,
    help="Stop where the outputs vary least: in a window of 100 steps, by a moving average, or not before "
    "all steps are done.",
)
@option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    group=OUTPUT,
    help="Of the network and its input: another seed, another result.",
)
@option(
    "--preview",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    group=MESSAGES,
    help="A file that shows how far the picture at work is, replaced every ten seconds.",
)
@DEVICE
@option(
    "--memory",
    type=FileSize(),
    group=LIMITS,
    help="What a fit may use: 4G; pictures that need more become tiles. [default: a share of what is free]",
)
@picture_options
def prior(
    inputs: tuple[Path, ...],
    task: PriorTask,
    holes: Path | Colour | Literal["alpha"] | None,
    invert: bool,
    missing: HoleForm,
    factor: int | None,
    minutes: float | None,
    steps: int | None,
    channels: int,
    stop: StoppingRule,
    seed: int,
    preview: Path | None,
    device: str,
    memory: int | None,
    options: BatchOptions,
) -> int:
    """Restore, fill or enlarge each image by an untrained network that is fitted to it: Deep Image Prior.

    INPUT is any mix of files and folders; folders keep their tree under DIR. It takes no model and no other
    pictures, but thousands of steps for each: minutes on a GPU, hours on a CPU, where --minutes and
    --channels 32 help.

    Example: img2img prior old/ -o out/ --task denoise --minutes 20
    """
    from img2img.cli.convert import convert

    if (task == "inpaint") != (holes is not None):
        raise click.UsageError("--task inpaint and --mask, which says where the holes are, go together.")
    if task != "inpaint" and (invert or missing != "auto"):
        raise click.UsageError("--invert and --missing are about the mask of --task inpaint.")
    if task != "upscale" and factor is not None:
        raise click.UsageError("--factor is that of --task upscale.")
    if isinstance(holes, Path) and holes.is_file():
        require_white(holes, invert, options)
    watch = _PriorWatch(None if preview is None else _Preview(preview, inputs, options), options.quiet)
    settings: dict[str, Any] = {
        "task": task,
        "steps": steps,
        "channels": channels,
        "stop": stop,
        "seed": seed,
    }
    settings |= {"minutes": minutes, "factor": (factor or 4) if task == "upscale" else None}

    def load() -> tuple[Processor, dict[str, Any]]:
        from img2img.inference.prior import DeepPrior

        network = DeepPrior(
            task,
            factor=factor or 4,
            holes=missing,
            minutes=minutes,
            steps=steps,
            channels=channels,
            stop=stop,
            seed=seed,
            device=device,
            memory=memory,
            on_estimate=watch.announce,
            on_progress=watch,
        )
        if holes is None:
            return network, {"prior": settings}
        from img2img.processors.inpaint import Inpainter

        where = "mask" if isinstance(holes, Path) else holes
        what = where if isinstance(where, str) else repr(where)
        return Inpainter(network.fill, where, invert), {
            "prior": {**settings, "holes": what, "invert": invert, "missing": missing}
        }

    masks = {"mask": holes} if isinstance(holes, Path) else {}
    return convert(inputs, options, load, companions=masks, show_within=watch.show_with, videos=False)


class _PriorWatch:
    """Tells how far the picture at work is, and before that how long it may take."""

    def __init__(self, preview: _Preview | None, quiet: bool) -> None:
        self._preview, self._quiet = preview, quiet
        self._show: Callable[[str], None] = lambda text: None

    def show_with(self, show: Callable[[str], None]) -> None:
        """Takes what shows a line."""
        self._show = show

    def announce(self, estimate: PriorEstimate) -> None:
        """Says how long a picture takes, if that is long."""
        if estimate.seconds < _LONG or self._quiet:
            return
        each = f" for each of {estimate.tiles} tiles" if estimate.tiles > 1 else ""
        say(
            f"{display_path(estimate.name)}: up to {estimate.steps:,} steps of {estimate.pace:.2g} s{each}, "
            f"at most {duration(estimate.seconds)}."
        )

    def __call__(self, progress: PriorProgress) -> None:
        fit, left = progress.fit, duration(progress.left)
        tiles = f"tile {progress.tile} of {progress.tiles}, " if progress.tiles > 1 else ""
        self._show(
            f"{display_path(progress.name)}: {tiles}step {fit.step:,} of {fit.steps:,}, at most {left} left"
        )
        if self._preview is not None:
            self._preview.write(progress)


class _Preview:
    """A file with the picture at work as it is by now.

    Args:
        path: Of a PNG file.
        inputs: Which it must not become one of.
        options: Say which it must not meet as an output.

    Raises:
        UsageError: It may be, or is already, another picture than a preview.
    """

    def __init__(self, path: Path, inputs: tuple[Path, ...], options: BatchOptions) -> None:
        from img2img.batch.outputs import is_inside
        from img2img.image import read_image

        self._path, self._written = path, time.monotonic()
        shown = display_path(path)
        if path.suffix.lower() != ".png":
            raise UsageError(f"the preview {shown} is to be a PNG file; call it {shown}.png.")
        real = os.path.realpath(path)
        for folder in (*inputs, Path(options.output)):
            if is_inside(real, os.path.realpath(folder)):
                raise UsageError(
                    f"the preview {shown} lies in {display_path(folder)}, and would be taken for one of the "
                    "pictures there; name a place outside."
                )
        if not path.parent.is_dir():
            raise UsageError(f"the preview {shown} has no folder to be in: {display_path(path.parent)}.")
        if os.path.lexists(path):
            try:
                ours = _MARK in read_image(path).metadata.text
            except ImageError:
                ours = False
            if not ours:
                raise UsageError(f"{shown} is there already and is no preview; name another file.")

    def write(self, progress: PriorProgress) -> None:
        """Replaces the file by what the tile at work has become, if it is time."""
        now = time.monotonic()
        if now - self._written < _EVERY:
            return
        from img2img.image import Metadata, write_image

        self._written = now
        try:
            write_image(progress.picture().replace(metadata=Metadata(text=(_MARK,))), self._path)
        except ImageError as error:
            say(f"the preview is not written: {error}", "yellow")
            self._written = float("inf")
