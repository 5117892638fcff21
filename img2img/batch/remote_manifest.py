"""The memory of an output folder in a store, where nothing can be appended and nothing locked.

Rows are collected and put as objects of their own, a thousand at a time. What comes between two of them when
a run is killed is known by the list of names that it was going to store, which is put before the first of
them: an object of such a name without a row is not foreign, and is made anew.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from img2img.batch.manifest import STATE_FOLDER, Manifest, OutputRecord, OutputState, has_digest, parse_lines
from img2img.batch.outputs import FALLBACKS
from img2img.batch.work import Item, Plan
from img2img.errors import PlanError, display_path
from img2img.remote import Facts, RemotePath

_ROWS = 1000  # in an object
_SECONDS = 30.0  # between two objects
_NAMES = "begun"

Known: TypeAlias = "tuple[tuple[OutputRecord, ...], tuple[tuple[str, Facts], ...]]"
"""Records of outputs, and what stands at their places in a store."""


def open_manifest(plan: Plan) -> Manifest:
    """Returns the manifest of the output folder of `plan`."""
    assert plan.root is not None
    return RemoteManifest(plan) if isinstance(plan.root, RemotePath) else Manifest(plan.root, plan.shard)


def open_part(plan: Plan, worker: int, known: Known) -> Manifest:
    """Returns what a worker notes its results in, with what `known_of` has found out about them."""
    assert plan.root is not None
    if isinstance(plan.root, RemotePath):
        return RemoteManifest(plan, worker, known)
    return Manifest(plan.root, plan.shard, worker, known[0])


def known_of(manifest: Manifest, items: Iterable[Item]) -> Known:
    """Returns what a worker has to know of the outputs of `items`."""
    items = list(items)
    there: tuple[tuple[str, Facts], ...] = ()
    if isinstance(manifest, RemoteManifest):  # before the records: looking there adds to them
        there = tuple(each for item in items for each in manifest.beside(item.output))
    return tuple(record for item in items for record in manifest.about(item.output)), there


class RemoteManifest(Manifest):
    """See `Manifest`.

    Args:
        plan: What is going to be stored.
        worker: See `Manifest`.
        known: What a worker knows; it takes everything else for absent.
    """

    def __init__(self, plan: Plan, worker: int = 0, known: Known | None = None) -> None:
        root = plan.root
        assert isinstance(root, RemotePath)
        self._place = root / STATE_FOLDER
        self._plan = plan
        self._there: dict[str, Facts] = {} if known is None else dict(known[1])
        self._lists: dict[str, set[str]] = {}  # of names that killed runs were going to store
        self._rows: list[bytes] = []
        self._put: list[str] = []  # names of the objects with rows of this run
        self._numbers = itertools.count()  # of these
        self._unsure: set[str] = set()  # names that something was begun for, and is not known to be stored
        self._since = time.monotonic()
        self._rows_lock = threading.Lock()
        self._announced = self._is_worker = worker > 0
        part = "" if plan.shard is None else f"{plan.shard.index}-of-{plan.shard.count}."
        self._part = f"{part}{f'worker-{worker}.' if worker else ''}"
        self._run = uuid.uuid4().hex[:12]
        if known is None:
            self._list(root)
        super().__init__(root, plan.shard, worker, None if known is None else known[0])

    @staticmethod
    def check_writable(root: RemotePath) -> None:
        """Makes sure that something can be put there.

        Raises:
            PlanError: It cannot.
        """
        probe = root / STATE_FOLDER / f"probe.{uuid.uuid4().hex[:12]}"
        try:
            probe.write_whole(b"")
            probe.unlink()
        except OSError as error:
            raise PlanError(
                f"the output folder {display_path(root)} cannot be written: {error.strerror or error}. "
                "Choose another one."
            ) from error

    def _list(self, root: RemotePath) -> None:
        """Looks at what stands in the output folder.

        Raises:
            PlanError: It cannot be listed.
        """
        try:
            self._there = dict(root.below())
            for name in self._objects(_NAMES):
                with contextlib.suppress(ValueError, TypeError):
                    self._lists[name] = set(json.loads((self._place / name).read_bytes()))
        except FileNotFoundError:
            return  # there is nothing yet
        except OSError as error:
            raise PlanError(
                f"the output folder {display_path(root)} cannot be listed: {error.strerror or error}."
            ) from error

    def _objects(self, kind: str) -> list[str]:
        start = f"{STATE_FOLDER}/"
        names = [name.removeprefix(start) for name in self._there if name.startswith(start + kind)]
        return sorted(names)

    def _earlier(self) -> Iterator[OutputRecord]:
        def lines() -> Iterator[bytes]:
            for name in self._objects("manifest"):
                with contextlib.suppress(FileNotFoundError):  # another run has just put it with others
                    yield from (self._place / name).read_bytes().splitlines()

        return parse_lines(lines())

    def relative(self, path: Path) -> str:
        """See `Manifest`."""
        return str(path).removeprefix(f"{self._root}/")

    def examine(self, path: Path) -> tuple[OutputState, OutputRecord | None]:
        """See `Manifest`: by the listing that was made in the beginning, and by what was stored since.

        An object that was begun and has no row is read: a worker that could not look at what it had put
        leaves such behind.
        """
        name = self.relative(path)
        there, done = self._there.get(name), self._done.get(name)
        if there is None:
            return OutputState.ABSENT, None
        if self._has_row(name):
            return OutputState.OURS, done
        planned = {name, *(name.removesuffix(end) for end in FALLBACKS)}
        if any(names & planned for names in self._lists.values()):
            return OutputState.ABSENT, None  # a run was killed before it could say that this is its own
        begun = self._begun.get(name)
        if begun is not None and there.size == begun.size and has_digest(path, begun.digest):
            record = replace(begun, mtime_ns=there.mtime_ns, etag=there.etag)
            self._learn(record)  # and nothing is put: whoever asks may only want to know
            return OutputState.OURS, record
        return (OutputState.FOREIGN, None) if done is None else (OutputState.EDITED, done)

    def _has_row(self, name: str) -> bool:
        """Returns whether a row tells of the very object that stands under `name`."""
        there, done = self._there[name], self._done.get(name)
        if done is None or there.size != done.size:
            return False
        return bool(there.etag and there.etag == done.etag) or there.mtime_ns == done.mtime_ns

    def beside(self, planned: Path) -> Iterator[tuple[str, Facts]]:
        """Yields what stands where the result that the plan calls `planned` may be stored."""
        for end in ("", *FALLBACKS):
            path = planned.with_name(planned.name + end)
            if self.examine(path)[0] is not OutputState.ABSENT:
                yield self.relative(path), self._there[self.relative(path)]

    def announce(self) -> None:
        """Puts the list of all names, once: without those where something of others stands."""
        if self._announced:
            return
        self._announced = True
        planned = (self.relative(item.output) for item in self._plan.items)
        names = [name for name in planned if not self._is_of_others(name)]
        self._own_list = f"{_NAMES}.{self._part}{self._run}.json"
        (self._place / self._own_list).write_whole(json.dumps(names).encode())

    def _is_of_others(self, planned: str) -> bool:
        """Returns whether something stands where a result may be stored that is not ours, or not any more."""
        others = (OutputState.FOREIGN, OutputState.EDITED)
        names = (planned + end for end in ("", *FALLBACKS))
        return any(name in self._there and self.examine(self._root / name)[0] in others for name in names)

    def begin(self, record: OutputRecord) -> None:
        """See `Manifest`."""
        with self._rows_lock:
            self.announce()
        super().begin(record)
        self._unsure.add(record.planned)

    def stored(self, record: OutputRecord, path: Path) -> None:
        """See `Manifest`."""
        assert isinstance(path, RemotePath)
        facts = path.lookup()
        self._there[record.output] = facts
        if self._lists:
            self._learn(replace(record, mtime_ns=facts.mtime_ns, etag=facts.etag))
        self.done(record, facts.mtime_ns, facts.etag)
        self._unsure.discard(record.planned)

    def doubt(self, planned: Path) -> None:
        """See `Manifest`."""
        if not self._is_of_others(name := self.relative(planned)):
            self._unsure.add(name)

    def lost(self) -> list[OutputRecord]:
        """Returns nothing: a store has no folders that are removed with what is put into them afterwards."""
        return []

    def _write(self, data: bytes) -> None:
        with self._rows_lock:
            self._rows.append(data)
            due = len(self._rows) >= 2 * _ROWS or time.monotonic() - self._since > _SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Puts the rows that are not put yet.

        Raises:
            OSError: They cannot be put; they are kept.
        """
        with self._rows_lock:
            rows, self._rows, self._since = self._rows, [], time.monotonic()
            name = f"manifest.{self._part}{self._run}-{next(self._numbers)}.jsonl"
        if rows:
            try:
                (self._place / name).write_whole(b"".join(rows))
            except OSError:
                with self._rows_lock:
                    self._rows = rows + self._rows
                raise
            self._put.append(name)

    def take_over(self, worker: int | None = None) -> set[str]:
        """See `Manifest`; the rows of a worker that is lost come with the last object that it put."""
        number = "" if worker is None else f"{worker}."
        part = self._part + f"worker-{number}"
        learns = worker is not None or (self._announced and bool(self._lists))  # what a listing did not tell
        stored: set[str] = set()
        with contextlib.suppress(OSError):
            for name, _ in list(self._place.below()):
                if name.startswith(f"manifest.{part}"):
                    data = (self._place / name).read_bytes()
                    for record in parse_lines(iter(data.splitlines() if learns else ())):
                        self._learn(record)
                        if record.mtime_ns is not None:  # else it may not be there
                            self._there[record.output] = Facts(record.size, record.mtime_ns, record.etag)
                            stored.add(record.output)
                    self._write(data)
                    self.flush()
                    (self._place / name).unlink()
        return stored

    def close(self) -> None:
        """Puts what is left, all rows into one object; removes its list and those that it has worked off.

        Raises:
            OSError: Rows of a worker cannot be put: its results would be foreign to the next run.
        """
        if self._is_worker:
            self.flush()
        with contextlib.suppress(OSError):
            self.flush()
            if len(self._put) > 1:
                whole = f"manifest.{self._part}{self._run}.jsonl"
                parts = [self._place / name for name in self._put]
                (self._place / whole).write_whole(b"".join(part.read_bytes() for part in parts))
                for part in parts:
                    part.unlink()
            planned = {self.relative(item.output) for item in self._plan.items}
            for name, names in self._lists.items():
                if names <= planned:
                    self._shorten(name, set(filter(self._is_left, names)))
            if self._announced and hasattr(self, "_own_list"):
                self._shorten(self._own_list, self._unsure)

    def _shorten(self, name: str, left: set[str]) -> None:
        """Puts a list of names with those that are `left`, or removes it."""
        if left:
            (self._place / name).write_whole(json.dumps(sorted(left)).encode())
        else:
            (self._place / name).unlink()

    def _is_left(self, planned: str) -> bool:
        """Returns whether something without a row stands where a result may be stored."""
        names = (planned + end for end in ("", *FALLBACKS))
        return any(name in self._there and not self._has_row(name) for name in names)
