"""`img2img report`: runs and folders of pictures as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from img2img.cli.options import MESSAGES, PROGRESS, GroupedCommand, option
from img2img.cli.render import ProgressBar, ProgressStyle, quiet_libraries, say
from img2img.errors import UsageError, display_path

if TYPE_CHECKING:
    from img2img.report.gallery import Gallery

_PATH = click.Path(path_type=Path)


@click.command(cls=GroupedCommand)
@click.argument("places", nargs=-1, required=True, type=_PATH, metavar="RUN|DIR|FILE.json...")
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE.html",
    help="The page.",
)
@option(
    "--target",
    type=_PATH,
    metavar="DIR",
    help="The truth that folders of pictures are measured against. [default: the first folder]",
)
@option("--title", help="What stands above the page.")
@option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A further metric for folders: lpips, dists, ms_ssim; repeatable.",
)
@option("--no-metrics", is_flag=True, help="Show folders of pictures without measuring them.")
@PROGRESS
@option("-q", "--quiet", is_flag=True, group=MESSAGES, help="Only failures.")
def report(
    places: tuple[Path, ...],
    output: Path,
    target: Path | None,
    title: str | None,
    metrics: tuple[str, ...],
    no_metrics: bool,
    progress: ProgressStyle,
    quiet: bool,
) -> int:
    """Write a page to look at: trainings laid over each other, or folders of pictures side by side.

    RUN is the folder of a training, or one that holds several. Any other DIR is a folder of pictures: their
    files are matched by name, measured against the first folder (or --target), and shown before and after
    with zoom. FILE.json is what `img2img evaluate --json FILE` wrote. The page needs no network and stays
    below 20 MB: what had to be reduced or left out is said in it.

    \b
      img2img report runs/facades
      img2img report runs/*  -o compare.html
      img2img report inputs results --target truth -o results.html
    """
    from img2img.report import find_runs, is_run, write_report
    from img2img.report.gallery import from_evaluation, side_by_side
    from img2img.report.run import read_runs

    folders: list[Path] = []
    runs: list[Path] = []
    galleries: list[Gallery] = []
    for place in places:
        if place.suffix.lower() == ".json" and place.is_file():
            galleries.append(from_evaluation(place))
        elif not place.exists():
            raise UsageError(f"{display_path(place)}: there is no such folder or file.")
        elif place.is_dir() and (
            is_run(place) or any(is_run(each) for each in place.iterdir() if each.is_dir())
        ):
            runs += find_runs(place)
        else:
            folders.append(place)
    runs = list(dict.fromkeys(runs))
    if target is not None and not folders:
        raise click.UsageError("--target is for folders of pictures.")
    if target is not None:
        folders = [target, *(each for each in folders if each != target)]
    if folders:
        gallery = side_by_side(folders)
        if len(folders) > 1 and not no_metrics:
            _measure(gallery, metrics, "none" if quiet else progress)
        galleries.insert(0, gallery)
    if title is None:
        names = [each.resolve().name for each in (*runs, *folders)] or [each.stem for each in places]
        title = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    with quiet_libraries():
        notes = write_report(output, read_runs(runs), galleries, title=title)
    if not quiet:
        for note in notes[:10]:
            say(note)
        if len(notes) > 10:
            say(f"... and {len(notes) - 10} more notes, which are in the page.")
        say(f"Look at {display_path(output)} ({output.stat().st_size / 1e6:.1f} MB).")
    return 0


def _measure(gallery: Gallery, metrics: tuple[str, ...], progress: ProgressStyle) -> None:
    from img2img.report.gallery import measured

    first, *others = gallery.folders
    pairs = sum(name in row.files and first in row.files for row in gallery.rows for name in others)
    with quiet_libraries(), ProgressBar(pairs, "pairs", progress) as bar:
        measured(gallery, first, metrics, lambda failed: bar.advance(failed=failed))
