"""The `img2img` command: finds the sub-command, turns errors into one line and an exit code."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from img2img import __version__
from img2img.errors import Img2ImgError, ModelError, UsageError, display_path, display_text
from img2img.threads import wait_passively

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_logger = logging.getLogger(__name__)

# name: (module under img2img.cli, attribute, summary). The modules load only when their command runs.
COMMANDS = {
    "upscale": ("upscale", "upscale", "Enlarge images with a super-resolution model."),
    "restore": ("restore", "restore", "Remove noise, JPEG artefacts and mild blur from images."),
    "translate": ("translate", "translate", "Turn images into others with a pix2pix or CycleGAN model."),
    "stylize": ("stylize", "stylize", "Paint images in the style of a picture."),
    "inpaint": ("inpaint", "inpaint", "Fill holes in images: by masks, transparency or a colour."),
    "prior": ("prior", "prior", "Restore, fill or enlarge each image by itself: Deep Image Prior."),
    "process": ("process", "process", "Run OpenCV operations over folders of images (alias: enhance)."),
    "evaluate": ("evaluate", "evaluate", "Measure results or a model against the truth: PSNR, SSIM, L1."),
    "runs": ("runs", "runs", "List trainings: state, steps, best value."),
    "report": ("report", "report", "Show runs, or folders of pictures, in one HTML page."),
    "grid": ("grid", "grid", "Lay folders of pictures side by side on a sheet: PNG or PDF."),
    "train": ("train", "train", "Train a model on your own pictures."),
    "config": ("config", "config", "Write, check and explain configurations of trainings."),
    "data": ("data", "data", "Check, make, divide, preview and download training pictures."),
    "model": ("model", "model", "Look into, import and list models."),
    "ui": ("ui", "ui", "Show a page for the browser: pictures, folders, trainings."),
    "demo": ("demo", "demo", "See it work on three photographs that ship with the package."),
    "doctor": ("doctor", "doctor", "Check this installation and machine."),
    "completion": ("completion", "completion", "Print the shell's completion script."),
}
ALIASES = {"enhance": "process"}


class App(click.Group):
    """A group whose sub-commands load on use, and whose failures are sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports and returns the command called `name` or by an alias of it."""
        entry = COMMANDS.get(ALIASES.get(name, name))
        if entry is None:
            return None
        command = getattr(import_module(f"img2img.cli.{entry[0]}"), entry[1])
        assert isinstance(command, click.Command)
        from img2img.cli.render import know_options, show_notices

        know_options(command)
        show_notices()
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns the names that begin so, without importing any."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        found = ((name, summary) for name, (_, _, summary) in COMMANDS.items() if name.startswith(incomplete))
        return [CompletionItem(name, help=summary) for name, summary in found]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, and offers the nearest name when there is none."""
        if args and not args[0].startswith("-") and args[0] not in (*COMMANDS, *ALIASES):
            from img2img.registry import unknown

            raise click.UsageError(unknown("command", args[0], (*COMMANDS, *ALIASES)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Runs the command and exits with its code.

        0: all done or skipped. 1: some failed, or a report or summary could not be written. 2: wrong usage,
        nothing was started. 3: stopped by --max-failures. 4: nothing matched. 129, 130, 143: interrupted.
        """
        extra["standalone_mode"] = False
        extra["obj"] = list(
            sys.argv[1:] if args is None else args
        )  # for commands that start themselves again
        try:
            code = super().main(args, prog_name or "img2img", **extra)
        except click.exceptions.Abort:
            code = 130
        except click.ClickException as error:
            text = io.StringIO()
            error.show(text)
            _to_stderr(text.getvalue())
            code = error.exit_code
        except BrokenPipeError:
            # The reader of our output is gone; keep the interpreter from complaining at shutdown.
            from img2img.cli.render import give_up

            give_up(sys.stdout)
            code = 1
        except OSError as error:
            from img2img.cli.render import give_up, say_error

            _logger.debug("unexpected failure", exc_info=True)
            if isinstance(error.filename, str | bytes):
                say_error(f"{display_path(os.fsdecode(error.filename))}: {error.strerror or error}.")
                code = 2
            else:  # a stream, and the work is done
                say_error(f"the output cannot be written: {error.strerror or error}.")
                give_up(sys.stdout)
                code = 1
        except Img2ImgError as error:
            from img2img.cli.render import say_error

            say_error(str(error))
            code = 2 if isinstance(error, UsageError | ModelError) else 1
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=App,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "IMG2IMG",
        "max_content_width": 100,
    },
    epilog="Each command explains itself: img2img COMMAND --help",
)
@click.version_option(__version__, prog_name="img2img")
def cli() -> None:
    """Convert folders of images with trained models or OpenCV operations.

    Nothing is overwritten, bad files are reported and survived, and the same command again does only what is
    missing.
    """


def main() -> None:
    """The console entry point."""
    _open_standard_streams()
    wait_passively()
    sys.excepthook = _show_traceback
    cli.main()


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints what is unexpected; file names in it can move no cursor."""
    _to_stderr("".join(traceback.format_exception(kind, error, trace)))


def _to_stderr(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(display_text(text))
        sys.stderr.flush()


def _open_standard_streams() -> None:
    """Opens those that the caller closed, so that no picture gets their number and what libraries print."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
