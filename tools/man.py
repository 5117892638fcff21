"""Writes the manual pages from the help of the commands: `python tools/man.py`.

One page for `img2img` and one for each command below it, as in `man img2img-upscale`. They are part of the
repository because a wheel is built without the packages that the command line needs.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from img2img import __version__
from img2img.cli.main import cli

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "man"
ENDING = """\
.SH EXIT STATUS
.TP
.B 0
Everything was done, or was there already.
.TP
.B 1
Something failed, and was reported by name.
.TP
.B 2
Wrong usage; nothing was started.
.TP
.B 3
Stopped by \\-\\-max\\-failures.
.TP
.B 4
Nothing matched.
.TP
.B 129, 130, 143
Interrupted.
.SH ENVIRONMENT
.TP
.B IMG2IMG_WEIGHTS_DIR
Folders in which models are looked for by name, separated like those of PATH.
.TP
.B XDG_CACHE_HOME
Where the folder
.I img2img
for downloaded models lies.
.TP
.B IMG2IMG_COMMAND_OPTION
The default of an option: IMG2IMG_UPSCALE_EXT=png.
"""


class Page(click.HelpFormatter):
    """Takes what click writes on a help page, and makes it the source of a manual page."""

    def __init__(self) -> None:
        super().__init__()
        self.indent_increment = 0

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Writes how the command is called."""
        self.write(f".SH SYNOPSIS\n.B {escape(prog)}\n{escape(args)}\n.SH DESCRIPTION\n")

    def write_heading(self, heading: str) -> None:
        """Begins a section."""
        self.write(f".SH {escape(heading).upper()}\n")

    def write_paragraph(self) -> None:
        """Writes nothing: paragraphs are told apart where their text is written."""

    def write_text(self, text: str) -> None:
        """Writes paragraphs; one that begins with a backspace keeps its lines."""
        for part in re.split(r"\n\s*\n", text.strip("\n")):
            begin = "" if ".SH" in self.buffer[-1] else ".PP\n"
            verbatim = part.lstrip(" \n").startswith("\b")
            lines = [line for line in part.replace("\b", "").split("\n") if line.strip()]
            if verbatim:
                body = "\n".join(map(escape, lines))
                self.write(f"{begin}.nf\n{body}\n.fi\n")
            else:
                self.write(f"{begin}{wrapped(' '.join(map(str.strip, lines)))}\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Writes options or commands, each with its text."""
        for name, text in rows:
            self.write(f".TP\n.B {escape(name)}\n{wrapped(text)}\n")


def escape(text: str) -> str:
    """Returns text that roff shows as it is."""
    text = re.sub(r"\s", " ", text.strip("\n")).replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text)


def wrapped(text: str) -> str:
    """Returns text in lines of less than 80 bytes, escaped."""
    return "\n".join(map(escape, textwrap.wrap(text, 70, break_on_hyphens=False)))


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Yields a command and all that are below it, with the contexts that name them."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from walk(below, click.Context(below, context, info_name=name))


def pages() -> dict[str, str]:
    """Returns the manual pages by file name."""
    found = dict(walk_pages())
    names = sorted(name.removesuffix(".1") for name in found)
    for name in names:
        group = "-".join(name.split("-")[:2])  # img2img-data, of img2img-data-check
        near = [each for each in names if each == group or each.startswith(f"{group}-")]
        also = [each for each in (names if name == "img2img" else ["img2img", *near]) if each != name]
        found[f"{name}.1"] += ".SH SEE ALSO\n" + ",\n".join(f".BR {escape(each)} (1)" for each in also) + "\n"
    return found


def walk_pages() -> Iterator[tuple[str, str]]:
    """Yields file names and pages without what they refer to."""
    for command, context in walk(cli, click.Context(cli, info_name="img2img", **cli.context_settings)):
        name = context.command_path.replace(" ", "-")
        context.meta["help_all"] = True
        page = Page()
        command.format_help(context, page)
        title = f'.TH {escape(name).upper()} 1 "" "img2img {__version__}" "img2img"\n'
        summary = (command.help or "").strip().partition("\n")[0].rstrip(".")
        about = f".SH NAME\n{escape(name)} \\- {escape(summary)}\n"
        yield f"{name}.1", title + about + page.getvalue() + (ENDING if command is cli else "")


@click.command()
def main(**_: Any) -> None:
    """Writes docs/man."""
    FOLDER.mkdir(exist_ok=True)
    found = pages()
    for path in FOLDER.glob("*.1"):
        if path.name not in found:
            path.unlink()
    for name, text in found.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
