"""`img2img demo`: the main job on three photographs that ship with the package, offline, on any machine."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click

# What helps most photographs a little: stretch the tones, lift local contrast, sharpen.
ENHANCE = ("auto-levels", "clahe=0.6", "sharpen=0.6")


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
    from img2img.cli.render import say

    say("No trained weights ship with this version, so the demo shows the classic OpenCV operations:")
    arguments = [f"--op {operation}" for operation in ENHANCE]
    with as_file(files("img2img.recipes").joinpath("sample")) as samples:
        say(f"  img2img process SAMPLES -o {output} {' '.join(arguments)}")
        code = _enhance(samples, output)
        if code == 0:
            picture = _compare(samples, output)
            say(f"Look at {picture}: before on the left, after on the right.")
    return code


def _enhance(samples: Path, output: Path) -> int:
    from img2img.cli.main import cli

    arguments = ["process", str(samples), "-o", str(output), "--exclude", "compare.*"]
    arguments += [text for operation in ENHANCE for text in ("--op", operation)]
    try:
        cli.main(arguments)
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def _compare(samples: Path, output: Path) -> Path:
    from img2img.image import read_image, write_image
    from img2img.image.sheet import sheet

    rows = []
    for sample in sorted(samples.glob("*.jpg")):
        before, after = read_image(sample), read_image(output / sample.name)
        rows.append([(before, sample.stem), (after, " + ".join(ENHANCE))])
    picture = output / "compare.png"
    write_image(sheet(rows), picture)
    return picture
