"""What became of every file: for machines as JSON lines, for people as a summary."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from img2img.errors import UsageError, display_path
from img2img.remote import require_local

_START = re.compile(
    rb'\{"source": "(?:[^"\\]|\\.)*", "output": '
)  # of every line; of a table, too, is the first
_LONGEST_START = 64 * 1024  # bytes; each of a path may be an escape

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Result:
    """What became of one file.

    Attributes:
        source: The file; for a folder that could not be listed, the folder.
        output: Where the result is, or None when there is none.
        status: "done" is new in this run, "skipped" was there already, "failed" has a `reason`.
        reason: Why it was skipped or failed, as a sentence; "" when done.
        warnings: Sentences about what could not be kept.
        ms: Milliseconds of "decode", "process" and "encode" (with storing), as far as it came.
        pixels: Height times width of the source, 0 if it was not decoded.
        found: What `run` was asked to find out of each source.
        made_by: Which of several models made it, or that it was left untouched; "" where there was no choice.
        lost: Whether this takes back that the file is done: its result is gone again.
        video: Of a video that was converted: frames, rate, duration, codec, broken frames.
    """

    source: Path
    output: Path | None
    status: Status
    reason: str = ""
    warnings: tuple[str, ...] = ()
    ms: Mapping[str, float] = field(default_factory=dict)
    pixels: int = 0
    lost: bool = False
    found: Mapping[str, Any] = field(default_factory=dict)
    made_by: str = ""
    video: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the line of the report.

        Names that are not text keep their bytes as lone surrogates, which JSON writes as `\\udcXX` escapes:
        reading the line back and passing it to `os.fsencode` gives the very name.
        """
        return {
            "source": str(self.source),
            "output": None if self.output is None else str(self.output),
            "status": self.status,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "ms": {stage: round(self.ms.get(stage, 0.0), 3) for stage in ("decode", "process", "encode")},
            **({"input": dict(self.found)} if self.found else {}),
            **({"made_by": self.made_by} if self.made_by else {}),
            **({"video": dict(self.video)} if self.video else {}),
        }


def check_report(path: Path) -> None:
    """Makes sure that nothing is lost when a report takes the place of what stands at `path`.

    Raises:
        UsageError: It is neither a report nor empty: a slip of the keyboard could name a picture. Or it is
            "-", which would be a file of that name, or in a store, which would be a folder called "s3:".
    """
    if str(path) == "-":
        raise UsageError("`report` is a file and no stream; name it, such as report.jsonl.")
    require_local(path, "`report`")
    try:
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(_LONGEST_START)
            if start and _START.match(start) is None:
                raise UsageError(
                    f"{display_path(path)} is there already and is no report; it was not touched. Choose "
                    "another name for the report."
                )
    except OSError as error:
        raise UsageError(_unwritable(path, error)) from error


class Report:
    """A file of JSON lines, one a result, complete up to the last result at every moment.

    Args:
        path: Where to write; a pipe that somebody reads, too. An earlier report there is replaced with the
            first result, or on closing, and folders on the way are made.

    Attributes:
        problem: Why it could not be written to its end, as a sentence, or None.

    Raises:
        UsageError: It cannot be written, or something else stands there.
    """

    def __init__(self, path: Path) -> None:
        check_report(path)
        self.problem: str | None = None
        self._path = path
        self._fresh = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # a pipe that nobody reads is an error, and not a wait
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            file = os.open(path, flags, 0o666)
            if hasattr(os, "set_blocking"):
                os.set_blocking(file, True)
            self._file = os.fdopen(file, "w", encoding="ascii", newline="\n")
        except OSError as error:
            raise UsageError(_unwritable(path, error)) from error

    def add(self, result: Result) -> str | None:
        """Writes the line of `result`.

        Returns:
            `problem`, when this is the first line that cannot be written; later ones are not tried.
        """
        if self.problem is not None:
            return None
        try:
            self._begin()
            self._file.write(json.dumps(result.to_json()) + "\n")
            self._file.flush()
        except OSError as error:
            self.problem = _unwritable(self._path, error)
        return self.problem

    def close(self) -> None:
        """Closes the file; a report without lines is then an empty one."""
        with contextlib.suppress(OSError):  # of a line that `add` could not write
            self._begin()
        with contextlib.suppress(OSError):
            self._file.close()

    def _begin(self) -> None:
        if self._fresh and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(0)
        self._fresh = False

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fresh = self._fresh and error is None  # what did not even start leaves the earlier one alone
        self.close()


def _unwritable(path: Path, error: OSError) -> str:
    return f"the report {display_path(path)} cannot be written: {error.strerror or error}."


@dataclass
class Summary:
    """Counts of a run; feed it every result with `add`.

    Attributes:
        done: Files converted in this run.
        skipped: Files that were up to date.
        failed: Files without a result.
        pixels: Pixels of the sources that were converted.
        failures: (source, reason) of each that failed.
        warnings: (source, sentence) of each warning.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    pixels: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)
    warnings: list[tuple[Path, str]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic, repr=False)
    _ended: float | None = field(default=None, repr=False)

    def add(self, result: Result) -> None:
        """Counts one result."""
        if result.status == "done":
            self.done += 1
            self.pixels += result.pixels
        elif result.status == "skipped":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append((result.source, result.reason))
            self.done -= result.lost
        self.warnings += [(result.source, sentence) for sentence in result.warnings]

    def finish(self) -> None:
        """Stops the clock."""
        self._ended = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock time since the start, or between start and `finish`."""
        return (time.monotonic() if self._ended is None else self._ended) - self._started

    @property
    def images_per_second(self) -> float:
        """Converted files a second."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def megapixels_per_second(self) -> float:
        """Million pixels of the converted sources a second."""
        return self.pixels / 1e6 / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Returns the summary as JSON has it."""
        return {
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 3),
            "megapixels_per_second": round(self.megapixels_per_second, 3),
            "failures": [{"source": str(source), "reason": reason} for source, reason in self.failures],
            "warnings": [{"source": str(source), "warning": sentence} for source, sentence in self.warnings],
        }

    def to_text(self) -> str:
        """Returns one line for people: counts and speed."""
        parts = [f"{self.done} done", f"{self.skipped} skipped", f"{self.failed} failed"]
        speed = f"{self.images_per_second:.1f} images/s, {self.megapixels_per_second:.1f} MP/s"
        return f"{', '.join(parts)} in {self.seconds:.1f} s ({speed})"


def exit_code(summary: Summary, *, matched: bool, max_failures: int | None = None) -> int:
    """Returns how a run ended, as a process exit code.

    0: all done or skipped. 1: some failed. 3: stopped because `max_failures` was reached. 4: nothing matched.
    """
    if not matched:
        return 4
    if max_failures is not None and summary.failed >= max_failures:
        return 3
    return 1 if summary.failed else 0
