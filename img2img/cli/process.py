"""`img2img process`: OpenCV operations over folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli import completion
from img2img.cli.options import INPUTS, BatchOptions, GroupedCommand, batch_options, option

if TYPE_CHECKING:
    from img2img.batch import Processor


def _list_operations(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from img2img.processors import describe

    for operation in describe():
        click.echo(f"{click.style(operation.name, bold=True)}  {operation.summary}")
        for example in operation.examples:
            click.echo(f"    --op {example}")
        for setting in operation.parameters:
            default = f" [{setting.default}]" if setting.default else ""
            click.echo(f"        {setting.name}: {setting.allowed}{default}")
    ctx.exit()


@click.command(cls=GroupedCommand)
@INPUTS
@option(
    "--op",
    "operations",
    multiple=True,
    metavar="NAME[=VALUE,...]",
    shell_complete=completion.operations,
    help="An operation; repeatable, in order.",
)
@option(
    "--recipe",
    metavar="FILE|NAME",
    shell_complete=completion.recipes,
    help="A YAML list of operations, or one that ships: enhance, scan, web. They come before those of --op.",
)
@option(
    "--list-ops",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_operations,
    help="Show every operation with its parameters.",
)
@batch_options
def process(
    inputs: tuple[Path, ...], operations: tuple[str, ...], recipe: str | None, options: BatchOptions
) -> int:
    """Run OpenCV operations and models over files and folders.

    INPUT is any mix of files and folders; folders keep their tree under DIR. Depth, transparency, colour
    profile and camera data stay.

    Example: img2img process IN -o OUT --op resize=long:1024 --op clahe --op sharpen=0.5
    """
    from img2img.cli.convert import convert
    from img2img.processors import Chain, open_recipe, parse_operations

    if not operations and recipe is None:
        raise click.UsageError("nothing to do: name operations with --op or --recipe; --list-ops shows them.")
    first = open_recipe(recipe).operations if recipe else ()
    chain = Chain((*first, *parse_operations(operations).operations))

    def load() -> tuple[Processor, dict[str, Any]]:
        return chain, {"operations": chain.settings()}

    return convert(inputs, options, load)
