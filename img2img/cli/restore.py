"""`img2img restore`: folders of images without noise, JPEG artefacts and mild blur, at the size they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from img2img.cli.network import AUTO, COLOR_FIX, NetworkOptions, origin, restorer_options
from img2img.cli.options import INPUTS, OUTPUT, BatchOptions, GroupedCommand, batch_options, option
from img2img.cli.render import say
from img2img.weights import CLEAN, RestorationTask

if TYPE_CHECKING:
    from img2img.batch import Processor, Result


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "--task",
    type=click.Choice([AUTO, *get_args(RestorationTask)]),
    help="What is removed: clean is noise, JPEG and mild blur at once. auto restores what is visibly "
    "compressed or noisy, and leaves other pictures as they are. [default: auto; with -m every picture]",
)
@option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    metavar="SHARE",
    group=OUTPUT,
    help="Share of the model in the result; the rest is the picture as it was.",
)
@COLOR_FIX
@restorer_options
@batch_options
@click.pass_obj
def restore(
    arguments: list[str],
    inputs: tuple[Path, ...],
    task: str | None,
    strength: float,
    color_fix: str | None,
    network: NetworkOptions,
    options: BatchOptions,
) -> int:
    """Remove noise, JPEG artefacts and mild blur from images.

    INPUT is any mix of files and folders; folders keep their tree under DIR. Size, depth, transparency,
    colour profile and camera data stay.

    Example: img2img restore holiday/ -o restored/
    """
    if network.model == AUTO:
        network, task = replace(network, model=None), task or AUTO
    task = task or (AUTO if network.model is None else CLEAN)
    made: Counter[str] = Counter()

    def load() -> tuple[Processor, dict[str, Any]]:
        return _open(network, task, {"strength": strength, "color_fix": color_fix}, options.quiet)

    def note(result: Result) -> None:
        if result.status == "done":
            made[result.made_by] += 1

    code = network.convert(inputs, options, load, arguments, note, estimate=task == AUTO)
    from img2img.image.image import UNTOUCHED

    if (untouched := made[UNTOUCHED]) and strength > 0 and not options.quiet:
        files = "1 file is" if untouched == 1 else f"{untouched} files are"
        say(f"{files} as before: neither compression nor noise is visible; --task {CLEAN} restores all.")
    return code


def _open(
    network: NetworkOptions, task: str, more: Mapping[str, Any], quiet: bool
) -> tuple[Processor, dict[str, Any]]:
    """Returns what restores every picture, or with auto what is damaged, and what identifies it.

    Args:
        network: The options.
        task: Of which the model is, or "auto".
        more: Arguments of `load_model`.
        quiet: Whether nothing is said.
    """
    from img2img.inference.restoring import restorers, restoring
    from img2img.weights import find_model

    named = None if network.model is None else find_model(network.model)
    files = restorers(None if task == AUTO else task, named)  # type: ignore[arg-type]
    found = restoring(network.load, files, every=task != AUTO, **more)
    if not quiet and named is None:
        models = ", ".join(f"{path.stem}, {origin(path)}" for path in dict.fromkeys(files.values()))
        rest = "; what shows neither compression nor noise stays as it is" if task == AUTO else ""
        say(f"Restoring with the model {models}{rest}.")
    return found
