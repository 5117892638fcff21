"""A folder in, a folder out: the batch engine behind the page, with progress, cancel and a report."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from img2img.batch import (
    Place,
    Plan,
    Processor,
    Report,
    Result,
    Rules,
    Summary,
    Unreadable,
    claim,
    fields_of,
    plan,
    run,
)
from img2img.conditions import require_conditions
from img2img.errors import Img2ImgError, PlanError, UsageError, display_path
from img2img.image import Limits
from img2img.tables import numbers_in
from img2img.ui.models import Models, Settings
from img2img.ui.places import Roots
from img2img.ui.worker import Turns, Worker

JobState = Literal["waiting", "running", "ending", "done", "cancelled", "failed"]
_SHOWN = 200  # of the last results
_OUTSIDE = "it leads outside of what this page may touch, and was not opened"


@dataclass(frozen=True)
class Wish:
    """A folder that is to be converted.

    Attributes:
        source, output: Places as somebody wrote them.
        settings: The model and what is set.
        extension: Format of all outputs, or None for that of each input.
        suffix: What goes before the extension of every output.
        companions: What the model needs beside each picture: by name a folder, a file, a table or numbers.
        style: The place of a picture in whose style to paint; empty for none.
    """

    source: str
    output: str
    settings: Settings
    extension: str | None = None
    suffix: str = ""
    companions: Mapping[str, str] | None = None
    style: str = ""


class FolderJob:
    """One folder at work, in a thread of its own.

    Args:
        work: What is done.
        output: Where results go.
        process: Does it.
        settings: What identifies it.
        limits: What is refused.
        report: Where the report goes, a line of JSON for each file.

    Attributes:
        state: How far it is.
        total: How many files there are.
        summary: Counts, failures and warnings so far.
        last: The last results.
        problem: Why nothing was done, or the report is not whole; None where all is well.
        report: The file.
        output: Where results go.
        notes: Sentences of the plan.
    """

    def __init__(
        self,
        work: Plan,
        output: Path,
        process: Processor,
        settings: Mapping[str, object],
        limits: Limits,
        report: Path,
    ) -> None:
        self._work, self._process, self._settings, self._limits = work, process, settings, limits
        self.report, self.notes, self.output = report, work.notes, output
        self.total = len(work.items) + len(work.unreadable)
        self.state: JobState = "waiting"
        self.summary = Summary()
        self.last: deque[Result] = deque(maxlen=_SHOWN)
        self.problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="img2img-folder")
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Lets it finish what is in flight, and start nothing new."""
        self._stop.set()
        if self.state in ("waiting", "running"):
            self.state = "ending"

    def wait(self, seconds: float | None = None) -> None:
        """Waits for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            with claim(self._work), Report(self.report) as report:
                self.state = "ending" if self._stop.is_set() else "running"
                results = run(
                    self._work,
                    self._process,
                    settings=dict(self._settings),
                    limits=self._limits,
                    stop=self._stop,
                )
                for result in results:
                    self.summary.add(result)
                    self.last.append(result)
                    if problem := report.add(result):
                        self.problem = problem
            cut = self._stop.is_set() and self._left() > 0
            self.state = "cancelled" if cut else "done"
        except Img2ImgError as error:
            self.problem, self.state = str(error), "failed"
        except BaseException as error:
            self.problem, self.state = f"unexpected {type(error).__name__}: {error}", "failed"
            raise
        finally:
            self.summary.finish()

    def _left(self) -> int:
        return self.total - self.summary.done - self.summary.skipped - self.summary.failed


class Folders:
    """Starts folders, one at a time.

    Args:
        roots: Where folders may lie.
        models: Where models come from.
        worker: Computes.
        limits: What is refused.
        folder: Where reports are written.

    Attributes:
        job: The last one, or None.
    """

    def __init__(self, roots: Roots, models: Models, worker: Worker, limits: Limits, folder: Path) -> None:
        self._roots, self._models, self._worker = roots, models, worker
        self._limits, self._folder = limits, folder
        self._lock = threading.Lock()
        self._count = 0
        self.job: FolderJob | None = None

    def start(self, wish: Wish) -> FolderJob:
        """Begins with a folder.

        What is up to date is skipped, and no file is replaced that img2img did not write: the rules are
        those of `img2img.batch.run`.

        Raises:
            UsageError: A place lies outside of the roots, the folders do not fit together, another folder is
                at work, or nothing matched.
            ModelError: The model cannot be opened.
        """
        if not self._lock.acquire(blocking=False):
            raise UsageError("Another folder is about to begin; try again in a moment.")
        try:
            if self.job is not None and self.job.active:
                raise UsageError(
                    f"A folder is at work already, for {display_path(self.job.output)}; wait or cancel it."
                )
            source = self._roots.inside(wish.source, "the folder of pictures")
            output = self._roots.inside(wish.output, "a folder for the results")
            places = self._places(wish.companions or {})
            wanted = wish.settings
            if wish.style.strip():
                wanted = replace(wanted, style_picture=self._roots.inside(wish.style, "a picture"))
            process, settings = self._worker.do(self._models.open, wanted)
            require_conditions(getattr(process, "conditions", ()), places, "`companions`")
            extension = wish.extension
            if extension is None and self._models.offer(wish.settings.model).labels:
                extension = ".png"  # the formats of photographs mix colours
            rules = Rules(suffix=wish.suffix, extension=extension)
            work = self._confined(plan([source], output, rules, places, fields_of(process)))
            if work.reason:
                raise PlanError(work.reason)
            self._count += 1
            report = self._folder / f"report_{self._count}.jsonl"
            self.job = FolderJob(work, output, Turns(process, self._worker), settings, self._limits, report)
            return self.job
        finally:
            self._lock.release()

    def close(self) -> None:
        """Cancels what is at work, and waits for it."""
        if self.job is not None:
            self.job.cancel()
            self.job.wait()

    def _places(self, companions: Mapping[str, str]) -> dict[str, Place]:
        """Returns companions, of which those that are places lie in the roots; others are numbers."""
        found: dict[str, Place] = {}
        for name, text in companions.items():
            found[name] = numbers_in(text) or str(self._roots.inside(text, f"the {name}"))
        return found

    def _confined(self, work: Plan) -> Plan:
        """Returns `work` without files that links or tables bring in from elsewhere; these fail by name."""
        items, outside = [], []
        for item in work.items:
            beside = [place for place in item.companions.values() if isinstance(place, Path)]
            if all(map(self._roots.holds, (item.source, *beside, item.output))):
                items.append(item)
            else:
                outside.append(Unreadable(item.source, _OUTSIDE))
        return replace(work, items=tuple(items), unreadable=(*work.unreadable, *outside))
