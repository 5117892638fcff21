"""Everything that the user sees while something runs. People read stderr; stdout carries only data."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import click

from img2img.errors import display_path, display_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

ProgressStyle = Literal["auto", "rich", "plain", "none"]
_ALIASES = {"ext": "extension", "batch": "batch_size"}  # options that are called otherwise in the library
_flags: dict[str, str] = {}  # of the command that runs, by the parameters
_EVERY = 10.0  # seconds between two plain lines of progress


class _PatientStream:
    """A stream that people read. When they are gone or its disk is full, what is written to it is lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes `text` where that is possible."""
        try:
            self._stream.write(text)
        except OSError:
            give_up(self._stream)
        except RuntimeError:  # we are in the handler of a signal that came in the middle of another line
            with suppress(OSError):
                os.write(self._stream.fileno(), text.encode(errors="backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Flushes where that is possible."""
        try:
            self._stream.flush()
        except OSError:
            give_up(self._stream)
        except RuntimeError:
            pass  # the line in whose middle we are is flushed when it goes on


def give_up(stream: Any) -> None:
    """Leads a stream that cannot be written nowhere, so that its rest does no harm when the process ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@cache
def _console(stream: object) -> Console:
    from rich.console import Console  # here and below: a help page and the completion do without

    return Console(file=stream, highlight=False, soft_wrap=True)  # type: ignore[arg-type]


@cache
def _patient(stream: object) -> _PatientStream:
    return _PatientStream(stream)


def stderr() -> Console:
    """Returns the console for people; it follows a `sys.stderr` that tests replace."""
    return _console(_patient(sys.stderr))


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record as everything else is shown."""
        say(self.format(record))


class _Notices(_Lines):
    """Shows each sentence once, as several parts of a command may look for one model."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record unless it was shown or only failures are to be."""
        context = click.get_current_context(silent=True)
        quiet = context is not None and context.params.get("quiet")
        if not quiet and (text := self.format(record)) not in self._shown:
            self._shown.add(text)
            say(text)


def show_notices() -> None:
    """Shows what the package says of models that come from a hub: version and licence."""
    logger = logging.getLogger("img2img.hubs")
    logger.handlers = [_Notices()]
    logger.setLevel("INFO")
    logger.propagate = False


def show_log(verbose: bool) -> None:
    """Shows what this package logs if `verbose`; other packages are never heard."""
    logging.getLogger().addHandler(logging.NullHandler())
    logger = logging.getLogger("img2img")
    logger.handlers = [_Lines()]
    logger.handlers[0].setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.handlers[0].setLevel("DEBUG" if verbose else "CRITICAL")
    logger.setLevel("DEBUG" if verbose else "NOTSET")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences C libraries (libpng, libtiff) that print to the stderr of the process, and nothing else."""
    try:
        ours = sys.stderr.fileno()
    except (OSError, ValueError):  # replaced by something without a file: there is nothing to keep clean
        ours = -1
    if ours != 2:
        yield
        return
    before = sys.stderr
    kept = os.dup(2)
    with (
        os.fdopen(kept, "w", buffering=1, errors=before.errors) as stream,
        Path(os.devnull).open("w") as nowhere,
    ):
        before.flush()
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = before
            os.dup2(kept, 2)


def know_options(command: click.Command) -> None:
    """Lets messages call the parameters of the library as the options of `command` are called, no other's."""
    _flags.clear()
    for each in (command, *getattr(command, "commands", {}).values()):
        for option in each.params:
            if isinstance(option, click.Option) and option.name is not None:
                flags = [flag for flag in option.opts if flag.startswith("--")]
                _flags[_ALIASES.get(option.name, option.name)] = (flags or option.opts)[0]


def with_options(text: str) -> str:
    """Returns a message of the library, which names its parameters like `overwrite`, with --overwrite.

    Assignments to keys of a configuration like `epochs=100` become --set epochs=100.
    """

    def named(found: re.Match[str]) -> str:
        if found[2] is None:
            return _flags.get(found[1], found[0])
        if "assignments" in _flags:
            return f"{_flags['assignments']} {found[1]}{found[2]}"
        return _flags.get(found[1], found[0])  # an option that is there or not

    return re.sub(r"`([a-z_.]+)(=[^`\s]+)?`", named, text)


def say(text: str, style: str = "") -> None:
    """Prints one line for people. No markup is read from file names, and nothing in it moves the cursor."""
    from rich.text import Text

    stderr().print(Text(display_text(with_options(text)), style=style))


def say_error(text: str) -> None:
    """Prints one red line."""
    say(f"Error: {text}", "red")


def say_warning(text: str) -> None:
    """Prints one yellow line."""
    say(f"Warning: {text}", "yellow")


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints names and values in two columns on stdout."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(display_path(name)), Text(display_text(value)))
    _console(sys.stdout).print(table)


def print_table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], last: Sequence[str] | None = None
) -> None:
    """Prints a table of names and numbers on stdout.

    Args:
        title: Stands above it.
        head: One heading for each column; the first column holds names.
        rows: The cells.
        last: The row that sums them up, set apart; None where there is none.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_footer=last is not None, pad_edge=False)
    for number, (heading, footer) in enumerate(zip(head, last or [""] * len(head), strict=True)):
        justify: Literal["left", "right"] = "right" if number else "left"
        table.add_column(Text(heading), Text(footer), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(display_path(cell)) for cell in row))
    console = _console(sys.stdout)
    console.print(Text(title))
    # names are never cut: what does not fit a terminal wraps there, and a file has no width
    width = console.measure(table, options=console.options.update(width=10_000)).maximum
    lines = Console(file=sys.stdout, highlight=False, width=max(width, 1))  # rich prints no wider than that
    lines.print(table, crop=False)


def duration(seconds: float) -> str:
    """Returns a time for people: "0.8 s", "42 s", "3:05", "2:03:40"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressBar:
    """Shows how far a long job is, with an estimate: a bar on a terminal, else a line now and then.

    Args:
        total: How many steps there are.
        unit: What a step is, plural: "images".
        style: "auto" takes a bar on a terminal and plain lines elsewhere.
    """

    def __init__(self, total: int, unit: str, style: ProgressStyle = "auto") -> None:
        if style == "auto":
            style = "rich" if stderr().is_terminal else "plain"
        self.total, self.unit, self.style = total, unit, style
        self.done = self.failed = 0
        self._started = self._printed = time.monotonic()
        self._bar: RichProgress | None = None

    def __enter__(self) -> ProgressBar:
        if self.style == "rich":
            from rich import progress

            self._bar = progress.Progress(
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn(self.unit + "{task.fields[note]}"),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TextColumn("{task.fields[within]}"),
                progress.TimeRemainingColumn(compact=True),
                console=stderr(),
                transient=True,
            )
            self._task = self._bar.add_task("", total=self.total, note="", rate="", within="")
            self._bar.start()
        return self

    def within(self, text: str) -> None:
        """Shows how far a step is that takes long by itself."""
        if self._bar is not None:
            self._bar.update(self._task, within=display_text(text))
        elif self.style == "plain" and time.monotonic() - self._printed >= _EVERY:
            self._printed = time.monotonic()
            say(text)

    def advance(self, failed: bool = False) -> None:
        """Counts one more step."""
        self.done += 1
        self.failed += failed
        note = f", {self.failed} failed" if self.failed else ""
        now = time.monotonic()
        elapsed = max(now - self._started, 1e-6)
        rate = self.done / elapsed
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note, rate=f"{rate:.1f}/s", within="")
        elif self.style == "plain" and now - self._printed >= _EVERY and self.done < self.total:
            self._printed = now
            left = duration((self.total - self.done) / rate)
            say(f"{self.done} of {self.total} {self.unit}{note}, {rate:.2f}/s, {left} left")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
