"""`img2img ui`: a page for the browser, served on this machine alone."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import click

from img2img.cli import completion
from img2img.cli.options import Count, FileSize


@click.command()
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder that the page may read and write, with all in it; may be repeated. [default: this folder]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Where it is served; 0 takes any that is free. [default: 7860 or the next that is free]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=completion.devices,
    help="cpu, cuda, cuda:1, mps.",
)
@click.option(
    "--max-pixels",
    type=Count(),
    default="210M",
    show_default=True,
    help="Refuse larger pictures before decoding, and larger results.",
)
@click.option(
    "--max-file-size", type=FileSize(), default="2G", show_default=True, help="Refuse larger files."
)
@click.option(
    "--open/--no-open",
    "opens",
    default=True,
    show_default=True,
    help="Open it in the browser, where there is a screen.",
)
def ui(
    roots: tuple[Path, ...], port: int | None, device: str, max_pixels: int, max_file_size: int, opens: bool
) -> int:
    """Show a page for the browser: a picture, a folder, or a look at a training.

    It answers on this machine alone, at 127.0.0.1, and touches nothing outside of --root. Ctrl-C ends it.

    Example: img2img ui --root ~/Pictures
    """
    from img2img.cli.render import quiet_libraries, say, show_log, with_options
    from img2img.cli.signals import stop_on_signal
    from img2img.image import Limits
    from img2img.ui.server import serve

    show_log(False)

    def started(address: str) -> None:
        say(f"The page is at {address}. Ctrl-C ends it.")
        if opens and _has_screen():
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    def ended(at_work: bool) -> None:
        say("Finishing what is in flight; Ctrl-C once more ends it at once." if at_work else "Ended.")

    with quiet_libraries(), stop_on_signal(quiet=True) as stop:
        limits = Limits(max_pixels=max_pixels, max_file_size=max_file_size)
        serve(roots or (Path(),), port, limits, device, stop.event, started, ended, with_options)
    return 0


def _has_screen() -> bool:
    """Returns whether a browser has a place to appear: one for the terminal would take that away."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
