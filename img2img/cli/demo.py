"""`img2img demo`: the main job on three photographs that ship with the package, offline, on any machine."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click

from img2img.errors import display_path


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("img2img-demo"),
    show_default=True,
    help="Folder for the results.",
)
def demo(output: Path) -> int:
    """See it work: enhance three photographs that ship with the package and compare before with after."""
    from img2img.batch import convert_folder
    from img2img.cli.render import say, say_error
    from img2img.processors import open_recipe

    chain = open_recipe("enhance")
    say("No trained weights ship with this version, so the demo shows the classic OpenCV operations:")
    say(f"  img2img process PHOTOS -o {display_path(output)} --recipe enhance")
    with as_file(files("img2img.recipes").joinpath("sample")) as samples:
        summary = convert_folder(samples, output, chain, settings={"operations": chain.settings()})
        say(f"{summary.to_text()}.")
        for source, reason in summary.failures:
            say_error(f"{display_path(source)}: {reason}")
        if summary.failed:
            return 1
        picture = _compare(samples, output)
    say(f"Look at {display_path(picture)}: before on the left, after on the right.")
    return 0


def _compare(samples: Path, output: Path) -> Path:
    from img2img.image import read_image, write_image
    from img2img.image.sheet import sheet

    rows = []
    for sample in sorted(samples.glob("*.jpg")):
        before, after = read_image(sample), read_image(output / sample.name)
        rows.append([(before, sample.stem), (after, "auto-levels, clahe, sharpen")])
    picture = output / "compare.png"
    write_image(sheet(rows), picture)
    return picture
