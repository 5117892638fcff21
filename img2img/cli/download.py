"""`img2img data download`: public data sets by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from img2img.cli import completion
from img2img.cli.options import PROGRESS
from img2img.cli.render import ProgressStyle
from img2img.cli.sources import PATH, count

if TYPE_CHECKING:
    from img2img.cli.render import ProgressBar
    from img2img.data.download import DatasetRecipe


@click.command()
@click.argument("name", required=False, shell_complete=completion.datasets)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="The data set's new folder. [default: data/NAME]"
)
@click.option("--list", "list_all", is_flag=True, help="Show the data sets.")
@click.option("--json", "as_json", is_flag=True, help="With --list: print the recipes as JSON.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--keep", is_flag=True, help="Keep the archive beside DIR.")
@click.option(
    "--archive",
    "archives",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Unpack this archive, which is here already, instead of downloading; repeatable.",
)
@PROGRESS
def download(
    name: str | None,
    output: Path | None,
    list_all: bool,
    as_json: bool,
    yes: bool,
    keep: bool,
    archives: tuple[Path, ...],
    progress: ProgressStyle,
) -> int:
    """Download a public data set.

    Says what it is, how large, and on which terms, and asks before it begins. What breaks off is continued
    by the same command. The archive is checked, unpacked beside DIR and put there in one step. NAME may also
    be a recipe of your own, NAME.yaml.

    \b
      img2img data download --list
      img2img data download facades -o data/facades
    """
    from img2img.cli.render import say, say_warning
    from img2img.data import download as module
    from img2img.errors import display_path

    if list_all:
        return _list_recipes(as_json)
    if name is None:
        raise click.UsageError("name a data set; img2img data download --list shows them.")
    recipe = module.open_recipe(name)
    folder = output or Path("data") / Path(name).stem
    module.require(recipe, folder, archives)
    size = "unknown size" if recipe.bytes is None else f"{file_size(recipe.bytes)} to download"
    say(f"{recipe.title}: {size}, into {display_path(folder)}.", "bold")
    say(recipe.layout)
    say(f"Terms: {recipe.licence}")
    say(f"About it: {recipe.homepage}")
    say(f"Please cite:\n{recipe.citation.rstrip()}")
    if not yes and not (folder / module.MARK).is_file():
        confirm("the size and the terms")
    show = Transfer(progress)
    try:
        made = module.download(recipe, folder, archives=archives, keep=keep, progress=show, say=say)
    finally:
        show.close()
    if not made.files:
        say(f"{display_path(folder)} is complete already.")
        return 0
    for archive in made.unchecked:
        say_warning(
            f"nobody has published a checksum of {archive}. What came is on record in {archive}.lock; a "
            "later download must be the same."
        )
    if made.left_out:
        say_warning(
            f"{count(len(made.left_out), 'link')} in the archive left out, such as "
            f"{display_path(made.left_out[0])}."
        )
    say(f"{made.files} files in {display_path(folder)}.")
    direction = "" if recipe.direction == "AtoB" else f" --set direction={recipe.direction}"
    say(f"Next: img2img data check --{recipe.kind} {_halves(folder, recipe)}{direction}")
    return 0


def confirm(terms: str) -> None:
    """Asks whether to go on; the answer no ends the command.

    Raises:
        click.UsageError: Nobody can be asked: --yes would agree to the `terms`.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here; --yes agrees to {terms}.")
    click.confirm("Go on?", abort=True, err=True)


def _halves(folder: Path, recipe: DatasetRecipe) -> str:
    from img2img.errors import display_path

    if recipe.kind != "unpaired":
        return display_path(folder)
    return f"{display_path(folder / 'trainA')} {display_path(folder / 'trainB')}"


def file_size(size: int) -> str:
    """Returns a number of bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(1, round(size / 2**20))} MiB"


def _list_recipes(as_json: bool) -> int:
    from img2img.cli.render import print_facts
    from img2img.data.download import open_recipe, recipes

    found = {name: open_recipe(name) for name in recipes()}
    if as_json:
        click.echo(
            json.dumps({name: recipe.model_dump(mode="json") for name, recipe in found.items()}, indent=1)
        )
        return 0
    lines = []
    for name, recipe in found.items():
        size = "by hand" if recipe.by_hand else "" if recipe.bytes is None else file_size(recipe.bytes)
        lines.append((name, f"{recipe.kind:9} {size:>8}  {recipe.title}"))
    print_facts(lines)
    return 0


class Transfer:
    """Shows the progress of downloads, one after the other."""

    def __init__(self, style: ProgressStyle) -> None:
        self._style = style
        self._bar: ProgressBar | None = None
        self._first = self._total = 0

    def __call__(self, done: int, total: int | None) -> None:
        """Shows that `done` of `total` bytes are there; what the call before began with is one bar."""
        from img2img.cli.render import ProgressBar

        if total is None:
            return
        if self._bar is None or total != self._total or done < self._first:
            self.close()
            self._first, self._total = done, total
            self._bar = ProgressBar((total - done) // 2**20 + 1, "MiB", self._style)
            self._bar.__enter__()
        while self._bar.done < (done - self._first) // 2**20:
            self._bar.advance()
        if done >= total:
            self.close()

    def close(self) -> None:
        """Ends what is shown."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
