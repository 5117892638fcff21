"""One folder over many workers: pieces of the plan are handed out, and done again where a worker is lost.

The run that shares out has planned and claimed the folder. Each worker runs the engine over the pieces that
it gets, writes results where they belong, and notes them in a file of its own beside the manifest; the run
takes these over. So what a worker or the run itself leaves behind when it is killed is known to the next one.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from img2img import __version__
from img2img.batch.manifest import STATE_FOLDER
from img2img.batch.outputs import FALLBACKS
from img2img.batch.remote_manifest import Known, known_of, open_manifest, open_part
from img2img.batch.report import Result
from img2img.batch.run import run, sweep_outputs
from img2img.batch.stages import LOST, Processor
from img2img.batch.work import Item, Plan
from img2img.errors import Img2ImgError, ModelError, ProcessingError, UsageError, display_path
from img2img.remote import RemotePath, place
from img2img.threads import wait_passively

PIECE_SECONDS = 10.0  # what is lost with a worker, and how long a stop and the last worker may take
_FIRST_PIECE = 4  # files, while nothing is known of their speed
_LARGEST_PIECE = 1000
_ATTEMPTS = 3  # of a piece; after that it is halved, down to the file that ends its worker
_LOST_IN_A_ROW = 24  # losses without a piece that is done: something is wrong with all
_POLL = 0.2  # seconds in which a stop is noticed
_PATIENCE = 10.0  # seconds without a worker, until it is said what is waited for


class WorkerLostError(Exception):
    """A worker is gone with the piece that it had; the message says why, as far as it is known."""


@dataclass(frozen=True)
class ClusterJob:
    """What all workers of a run are told once.

    Attributes:
        plan: What is done, without its items.
        load: Returns the processor and the settings that identify it; called in each worker.
        options: Further arguments of `run`.
        threads: What a worker may use for calculations, and for reading and writing unless `options` say it.
        folder: The working folder, which relative paths start from.
        example: One of the sources: a worker that does not find it sees another file system.
        version: Of img2img.
    """

    plan: Plan
    load: Callable[[], tuple[Processor, dict[str, Any]]]
    options: Mapping[str, Any]
    threads: int
    folder: Path
    example: Path
    version: str = __version__

    @classmethod
    def of(
        cls,
        plan: Plan,
        load: Callable[[], tuple[Processor, dict[str, Any]]],
        threads: int,
        options: Mapping[str, Any],
    ) -> ClusterJob:
        """Returns the job that `plan` is."""
        bare = replace(plan, items=(), unreadable=(), taken=frozenset(), notes=())
        return cls(bare, load, dict(options), threads, Path.cwd(), plan.items[0].source)


@dataclass(frozen=True)
class Piece:
    """Some files of a job, and what a worker has to know of them.

    Attributes:
        items: The files.
        taken: Names beside their outputs that are not free (see `Plan.taken`).
        known: What earlier runs left of them (see `known_of`).
        attempts: How many workers were lost with it.
    """

    items: tuple[Item, ...]
    taken: frozenset[str] = frozenset()
    known: Known = ((), ())
    attempts: int = 0


@dataclass(frozen=True)
class Opened:
    """What a worker says when it is ready, or why it will never be.

    Attributes:
        said: What opening the model told people.
        problem: A sentence, or None.
        usage: Whether what was asked for is wrong, rather than the worker.
    """

    said: str = ""
    problem: str | None = None
    usage: bool = True


class ClusterWorker:
    """Does pieces of a job, one after the other, in a process of its own.

    Args:
        number: From 1; no other worker of the run has it, not even one that is lost.
        job: What it is told.
    """

    def __init__(self, number: int, job: ClusterJob) -> None:
        self._number = number
        self._job = job
        self._stop = threading.Event()

    def open(self) -> Opened:
        """Opens the processor, and tells what is in the way."""
        said = io.StringIO()
        try:
            self._require_same_files()
            os.environ.setdefault("OMP_NUM_THREADS", str(self._job.threads))
            wait_passively()
            with contextlib.redirect_stderr(said):
                self._processor, self._settings = self._job.load()
        except Exception as error:  # noqa: BLE001  the run tells it, as if it had happened there
            usage = isinstance(error, UsageError | ModelError) or not isinstance(error, Img2ImgError)
            text = str(error) if isinstance(error, Img2ImgError) else f"{type(error).__name__}: {error}"
            return Opened(problem=f"the worker on {socket.gethostname()}: {text}", usage=usage)
        return Opened(said.getvalue())

    def _require_same_files(self) -> None:
        """Makes sure that what the run sees is here, too.

        Raises:
            UsageError: It is another version of img2img, or another file system.
        """
        job = self._job
        if job.version != __version__:
            raise UsageError(
                f"it has img2img {__version__}, and {job.version} started it. Install the same there."
            )
        assert job.plan.root is not None
        with contextlib.suppress(OSError):
            os.chdir(job.folder)
        folders = [job.example.parent, job.plan.root / STATE_FOLDER]
        if not all(isinstance(folder, RemotePath) for folder in folders):
            folders.insert(0, job.folder)
        for folder in folders:
            if not folder.is_dir() or (folder == job.folder and Path.cwd() != folder):
                raise UsageError(
                    f"the folder {display_path(folder)} is not there. Workers find inputs, models and "
                    "results at the same paths as the machine that starts them: on a file system that all "
                    "share."
                )

    def do(self, piece: Piece) -> list[Result]:
        """Returns the results of `piece`; after `stop` of what had been started."""
        job = self._job
        plan = replace(job.plan, items=piece.items, taken=piece.taken)
        manifest = open_part(plan, self._number, piece.known)
        options = {"jobs": job.threads, **job.options}
        return list(
            run(
                plan,
                self._processor,
                settings=self._settings,
                stop=self._stop,
                manifest=manifest,
                **options,
            )
        )

    def stop(self) -> None:
        """Lets `do`, which runs in another thread, finish what is in flight and return."""
        self._stop.set()


class Remote(Protocol):
    """A `ClusterWorker` somewhere else. What its futures raise means that it is lost."""

    def open(self) -> Future[Opened]:
        """See `ClusterWorker`."""

    def do(self, piece: Piece) -> Future[list[Result]]:
        """See `ClusterWorker`."""

    def stop(self) -> None:
        """See `ClusterWorker`; returns at once."""

    def end(self) -> None:
        """Ends its process."""


@dataclass
class _Hand:
    """A worker and what it is at; `piece` is None while it opens."""

    number: int
    worker: Remote
    piece: Piece | None = None
    since: float = field(default_factory=time.monotonic)


def share_out(
    plan: Plan,
    hire: Callable[[int], Remote],
    workers: int,
    *,
    max_failures: int | None = None,
    stop: threading.Event | None = None,
    say: Callable[[str], None] = lambda text: None,
    waits: Callable[[], str] = lambda: "they are started, and open the model",
) -> Generator[Result, None, None]:
    """Does what `plan` lists by many workers, and yields results as `run` does.

    Pieces are as large as a worker does in some ten seconds, by what the last one took. One whose worker is
    lost is done again by another one, without the files that are done; after three times by halves, down to
    the file that ends its workers, which then fails.

    Args:
        plan: From `img2img.batch.plan`, for an output folder; it is claimed (see `claim`).
        hire: Starts the worker with that number.
        workers: How many there are at a time, at most.
        max_failures, stop: See `run`.
        say: Receives what opening the model told people, once, and what is waited for where no worker is
            at work for ten seconds.
        waits: Returns why there is none, in words.

    Raises:
        UsageError, ProcessingError: A worker cannot do its work, or all are lost again and again.
    """
    return _Sharing(plan, hire, max_failures, stop or threading.Event(), say, waits).results(workers)


class _Sharing:
    """The state of `share_out`."""

    def __init__(
        self,
        plan: Plan,
        hire: Callable[[int], Remote],
        max_failures: int | None,
        stop: threading.Event,
        say: Callable[[str], None],
        waits: Callable[[], str],
    ) -> None:
        self._plan = plan
        self._hire = hire
        self._max_failures = max_failures
        self._stop = stop
        self._say, self._waits = say, waits
        self._is_model_told = False
        self._at_work: float | None = time.monotonic()  # when one was last, or it began; None: it was told
        self._manifest = open_manifest(plan)
        self._left = 0  # position in the items of the plan
        self._again: deque[Piece] = deque()
        self._pending: dict[Future[Any], _Hand] = {}
        self._number = 0
        self._size = _FIRST_PIECE
        self._failures = 0
        self._lost_in_a_row = 0
        self._stored: set[str] = set()  # by workers that were lost afterwards

    def results(self, workers: int) -> Generator[Result, None, None]:
        for unreadable in self._plan.unreadable:
            yield self._count(Result(unreadable.source, None, "failed", unreadable.reason))
        if not self._plan.items:
            return
        self._manifest.take_over()
        self._manifest.announce()
        sweep_outputs(self._plan)
        hands: dict[int, _Hand] = {}
        idle: list[_Hand] = []
        self._workers = min(workers, len(self._plan.items))
        told = False
        try:
            for _ in range(self._workers):
                self._start(hands)
            while self._pending and not self._is_over():
                if self._is_halted() and not told:
                    told = True
                    for hand in hands.values():
                        hand.worker.stop()
                    opening = [future for future, hand in self._pending.items() if hand.piece is None]
                    for future in opening:  # what is in their way is of no interest any more
                        del self._pending[future]
                finished, _ = wait(self._pending, _POLL, FIRST_COMPLETED)
                self._tell_what_is_waited_for(bool(finished))
                for future in finished:
                    hand = self._pending.pop(future)
                    error = future.exception()
                    if error is None:
                        yield from self._take(hand, future.result())
                        hand.piece = None
                        idle.append(hand)
                    else:
                        hands.pop(hand.number).worker.end()
                        yield from self._lose(hand, error)
                while idle and self._has_more():
                    self._hand_out(idle.pop())
                while self._has_more() and len(hands) < self._workers:
                    self._start(hands)
        finally:
            for hand in hands.values():
                hand.worker.end()
            self._manifest.take_over()
            begun = [hand.piece for hand in self._pending.values() if hand.piece is not None]
            for item in (item for piece in (*self._again, *begun) for item in piece.items):
                self._manifest.doubt(item.output)
            lost = self._manifest.lost()
            self._manifest.close()
        for record in lost:
            yield Result(place(record.source), None, "failed", LOST, lost=True)

    def _tell_what_is_waited_for(self, has_news: bool) -> None:
        """Says why no worker is at work where none has been for a while; again only after one has been."""
        if has_news or any(hand.piece is not None for hand in self._pending.values()):
            self._at_work = time.monotonic()
        elif self._at_work is not None and time.monotonic() - self._at_work > _PATIENCE:
            self._at_work = None
            if not self._is_halted():
                self._say(f"No worker is ready yet: {self._waits()}.")

    def _count(self, result: Result) -> Result:
        self._failures += result.status == "failed"
        return result

    def _is_halted(self) -> bool:
        enough = self._max_failures is not None and self._failures >= self._max_failures
        return enough or self._stop.is_set()

    def _has_more(self) -> bool:
        return not self._is_halted() and bool(self._again or self._left < len(self._plan.items))

    def _is_over(self) -> bool:
        """Returns whether all is done; a worker for which the cluster has no room yet is not waited for."""
        return not self._has_more() and all(hand.piece is None for hand in self._pending.values())

    def _start(self, hands: dict[int, _Hand]) -> None:
        self._number += 1
        hand = hands[self._number] = _Hand(self._number, self._hire(self._number))
        self._pending[hand.worker.open()] = hand

    # --- pieces

    def _hand_out(self, hand: _Hand) -> None:
        if self._again:
            piece = self._again.popleft()
        else:
            left = len(self._plan.items) - self._left
            size = max(1, min(self._size, -(-left // (2 * self._workers))))
            piece = Piece(self._plan.items[self._left : self._left + size])
            self._left += size
        piece = self._with_facts(piece)
        hand.piece, hand.since = piece, time.monotonic()
        self._pending[hand.worker.do(piece)] = hand

    def _with_facts(self, piece: Piece) -> Piece:
        """Adds what the worker has to know of the outputs."""
        items = tuple(replace(item, companions=dict(item.companions)) for item in piece.items)
        known = known_of(self._manifest, items)
        beside = (item.output.with_name(item.output.name + end) for item in items for end in FALLBACKS)
        taken = frozenset(key for path in beside if (key := self._plan.key(path)) in self._plan.taken)
        return replace(piece, items=items, taken=taken, known=known)

    def _take(self, hand: _Hand, outcome: Opened | Sequence[Result]) -> Iterator[Result]:
        """Yields the results of a piece; of a worker that is ready there are none."""
        if isinstance(outcome, Opened):
            if outcome.problem is not None:
                raise (UsageError if outcome.usage else ProcessingError)(outcome.problem)
            if outcome.said and not self._is_model_told:
                self._say(outcome.said.rstrip())
            self._is_model_told = True
            return
        assert hand.piece is not None
        self._lost_in_a_row = 0
        speed = len(outcome) / max(time.monotonic() - hand.since, 1e-3)
        self._size = max(1, min(_LARGEST_PIECE, 4 * self._size, int(speed * PIECE_SECONDS)))
        for result in outcome:
            yield self._count(self._of_this_run(result))

    def _of_this_run(self, result: Result) -> Result:
        """Returns `result` as done, where a worker that was lost had done it."""
        if result.status != "skipped" or result.output is None or not self._stored:
            return result
        if self._manifest.relative(result.output) not in self._stored:
            return result
        return replace(result, status="done", reason="")

    def _lose(self, hand: _Hand, error: BaseException) -> Iterator[Result]:
        """Puts back what a lost worker was at; yields the failure of what ends every worker.

        Raises:
            ProcessingError: Workers are lost again and again.
        """
        self._stored |= self._manifest.take_over(hand.number)
        self._lost_in_a_row += 1
        reason = str(error) if isinstance(error, WorkerLostError) else f"{type(error).__name__}: {error}"
        if self._lost_in_a_row >= _LOST_IN_A_ROW:
            self._again += [] if hand.piece is None else [hand.piece]
            raise ProcessingError(
                f"{self._lost_in_a_row} workers were lost one after the other, the last one because "
                f"{reason}. What they did is kept; the same command goes on."
            )
        if hand.piece is None:
            return
        items, attempts = hand.piece.items, hand.piece.attempts + 1
        if attempts < _ATTEMPTS:
            self._again.append(Piece(items, attempts=attempts))
        elif len(items) > 1:
            middle = len(items) // 2
            self._again += [Piece(half, attempts=_ATTEMPTS - 1) for half in (items[:middle], items[middle:])]
        else:
            self._manifest.doubt(items[0].output)
            told = f"the worker that did it was lost every time, because {reason}"
            yield self._count(Result(items[0].source, None, "failed", told))
