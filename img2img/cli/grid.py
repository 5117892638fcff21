"""`img2img grid`: a contact sheet of several folders, for papers."""

from __future__ import annotations

from pathlib import Path

import click

from img2img.cli.render import quiet_libraries, say
from img2img.errors import display_path

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=_PATH, metavar="DIR|FILE...")
@click.option("-o", "--output", required=True, type=_PATH, metavar="FILE.png|.pdf", help="The sheet.")
@click.option(
    "--columns", metavar="NAME,NAME,...", help="What stands above the columns. [default: the folders' names]"
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help="So many pictures, evenly chosen. [default: all, at most 50]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="This picture of the first folder; repeatable, in this order.",
)
@click.option(
    "--crop",
    "crops",
    nargs=4,
    type=click.IntRange(0),
    multiple=True,
    metavar="X Y WIDTH HEIGHT",
    help="Frame a part and show it enlarged below; repeatable, in pixels of the first column.",
)
@click.option(
    "--cell",
    type=click.IntRange(16, 4096),
    default=320,
    show_default=True,
    metavar="PIXELS",
    help="Width of a picture.",
)
@click.option("--no-names", is_flag=True, help="Leave out the names of the pictures.")
@click.option(
    "--dpi", type=click.IntRange(30, 2400), default=300, show_default=True, help="PDF: pixels per inch."
)
@click.option("--overwrite", is_flag=True, help="Replace the sheet if it is there already.")
@click.option("-q", "--quiet", is_flag=True, help="Only failures.")
def grid(
    folders: tuple[Path, ...],
    output: Path,
    columns: str | None,
    rows: int | None,
    only: tuple[str, ...],
    crops: tuple[tuple[int, int, int, int], ...],
    cell: int,
    no_names: bool,
    dpi: int,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Lay pictures of several folders side by side on one sheet, as PNG or PDF.

    Each folder is a column, each picture of the first one a row; the others are matched by name.

    \b
      img2img grid inputs cyclegan cut -o sheet.pdf --columns "Input,CycleGAN,CUT" --rows 6
      img2img grid bicubic x4 truth -o detail.png --only baby.png --crop 200 120 64 48
    """
    from img2img.errors import PlanError, UsageError
    from img2img.registry import unknown
    from img2img.report.contact import Detail, SheetStyle, draw_sheet, require_sheet, write_sheet
    from img2img.report.gallery import side_by_side

    require_sheet(output)
    if output.exists() and not overwrite:
        raise UsageError(f"{display_path(output)} is there already; --overwrite replaces it.")
    if any(0 in crop[2:] for crop in crops):
        raise click.UsageError("--crop takes a width and a height of at least one pixel.")
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    gallery = side_by_side(folders, names)
    taken = {path.resolve() for row in gallery.rows for path in row.files.values()}
    if output.resolve() in taken:
        raise UsageError(f"{display_path(output)} is one of the pictures that are shown; choose another.")
    if only:
        by_name = {row.name: row for row in gallery.rows}
        by_name |= {Path(row.name).stem: row for row in gallery.rows if Path(row.name).stem not in by_name}
        for name in only:
            if name not in by_name:
                raise PlanError(unknown("picture", name, [row.name for row in gallery.rows]))
        gallery.rows = [by_name[name] for name in only]
    count = len(gallery.rows)
    most = min(rows or 50, count)
    if most < count:
        gallery.rows = [gallery.rows[place * count // most] for place in range(most)]
        if rows is None:
            gallery.notes.append(f"{most} of {count} pictures are shown; --rows says how many.")
    style = SheetStyle(cell=cell, names=not no_names, boxes=tuple(Detail(*crop) for crop in crops), dpi=dpi)
    with quiet_libraries():
        sheet, problems = draw_sheet(gallery, style)
        write_sheet(sheet, output, dpi)
    for problem in problems:
        say(f"failed  {problem}", "red")
    if not quiet:
        for note in gallery.notes:
            say(note)
        say(f"Look at {display_path(output)} ({sheet.width}x{sheet.height} pixels).")
    return 1 if problems else 0
