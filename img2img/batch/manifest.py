"""What earlier runs left in an output folder: the memory that makes a run resumable.

Each output has a "begin" line, written when its bytes are complete on the disk but not yet under the final
name, and a "done" line, written after. A run that was killed between the two is recognised by the digest in
"begin". Every shard appends to a file of its own and reads all of them; lines that are torn or not ours are
passed over. The workers of a cluster append to files of their own, too, which the run that started them takes
over in the end; after a kill the next run finds them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from img2img.batch.fingerprint import Fingerprint, as_text
from img2img.batch.outputs import FALLBACKS
from img2img.batch.shard import Shard
from img2img.errors import PlanError, display_path
from img2img.files import file_digest, write_bytes
from img2img.video.options import FALLBACK

STATE_FOLDER = ".img2img"
_LARGEST = 2**32  # bytes of a manifest; one file takes some 400 a run
_LONGEST = 2**18  # bytes of a line
_HELD = 100  # frames that are named in a line

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One output that img2img wrote, or was about to write.

    Attributes:
        output: Relative to the output folder, written with "/".
        planned: What the plan called it; another name when that format could not hold the result.
        source: Absolute path of the source.
        fingerprint: What the source was.
        settings: What identifies model, options and encoding (see `settings_keys`).
        size: Bytes of the output.
        digest: SHA-256 of the output.
        time_ns: When it was begun; orders the records of several shards.
        mtime_ns: Modification time of the output, or None while it is only begun.
        made_by: Which of several models made it; "" where there was no choice.
        video: Of a video: how many frames, seconds, codec, size, and which are held for broken ones.
        etag: What the store of a remote output calls its content.
    """

    output: str
    planned: str
    source: str
    fingerprint: Fingerprint
    settings: str
    size: int
    digest: str
    time_ns: int
    mtime_ns: int | None = None
    made_by: str = ""
    video: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""


class OutputState(Enum):
    """What stands at the place of an output."""

    ABSENT = "absent"
    OURS = "ours"
    EDITED = "edited"
    FOREIGN = "foreign"


class Manifest:
    """The records of an output folder; safe to use from several threads.

    Args:
        root: The output folder. Nothing is written there before the first `begin`.
        shard: Which part of the work this run does: it appends to a file of its own.
        worker: The number of the worker that this is, which appends to a file of its own; 0 for the run.
        known: What earlier runs left, as far as it concerns this worker; None reads it.
    """

    def __init__(
        self,
        root: Path,
        shard: Shard | None = None,
        worker: int = 0,
        known: Iterable[OutputRecord] | None = None,
    ) -> None:
        self._root = root
        self._path = _path(root, shard, worker)
        self._started = time.time_ns()
        self._moved = False
        self._lock = threading.Lock()
        self._file: int | None = None
        self._torn = False
        self._done: dict[str, OutputRecord] = {}
        self._begun: dict[str, OutputRecord] = {}
        self._output_of: dict[str, str] = {}
        for record in self._earlier() if known is None else known:
            self._learn(record)

    def _earlier(self) -> Iterator[OutputRecord]:
        """Yields the records of all shards, oldest first."""
        return parse_lines(_read_lines(self._root / STATE_FOLDER))

    def _learn(self, record: OutputRecord) -> None:
        if record.mtime_ns is None:
            self._begun[record.output] = record
        else:
            self._done[record.output] = record
            self._begun.pop(record.output, None)
        self._output_of[record.planned] = record.output

    @staticmethod
    def check(root: Path, shard: Shard | None = None) -> None:
        """Makes sure that the manifest of this shard can be read and written, where there is one.

        Raises:
            PlanError: It cannot, or something else stands in its place.
        """
        path = _path(root, shard)
        try:
            file = _open_regular(path, os.O_RDWR)
        except FileNotFoundError:
            return
        except OSError as error:
            kind = "a symbolic link" if path.is_symlink() else error.strerror or str(error)
            raise PlanError(
                f"{display_path(path)} holds what earlier runs did, and cannot be used: {kind}. It was not "
                "touched. Move it away, or choose another output folder."
            ) from error
        size = os.fstat(file).st_size
        os.close(file)
        if size > _LARGEST:
            raise PlanError(
                f"{display_path(path)} holds what earlier runs did, and has {size:,} bytes; at most "
                f"{_LARGEST:,} are read. Move it away, or choose another output folder."
            )

    def relative(self, path: Path) -> str:
        """Returns what records call the file `path`, which lies in the output folder."""
        return path.relative_to(self._root).as_posix()

    def find(self, planned: Path) -> Path:
        """Returns where the result that the plan calls `planned` was stored; `planned` itself if never."""
        output = self._output_of.get(self.relative(planned))
        return planned if output is None else self._root / output

    def about(self, planned: Path) -> list[OutputRecord]:
        """Returns what is known of the result that the plan calls `planned`: the `known` of a worker."""
        name = self.relative(planned)
        names = (name, *(name + extension for extension in (*FALLBACKS, FALLBACK)))
        kinds = (self._done, self._begun)
        found = [kind[each] for kind in kinds for each in names if each in kind]
        last = self._output_of.get(name)
        return sorted(found, key=lambda record: record.output == last)  # what was stored last comes last

    def take_over(self, worker: int | None = None) -> set[str]:
        """Moves what workers have noted in their own files here, and removes these.

        Args:
            worker: Its number, which has ended and whose files another one goes on with; None takes those of
                all, in the end or of a run that was killed.

        Returns:
            The outputs that one worker had stored; nothing where it was all.
        """
        shared = f"{self._path.stem}.worker-"
        stored: set[str] = set()
        pattern = f"{shared}*.jsonl" if worker is None else f"{shared}{worker}.jsonl"
        for path in sorted(self._path.parent.glob(pattern)):
            with contextlib.suppress(OSError):  # it stays, and is read by the next run
                if worker is not None:
                    for record in parse_lines(_lines(_open_regular(path, os.O_RDONLY))):
                        self._learn(record)
                        stored.add(record.output)
                with os.fdopen(_open_regular(path, os.O_RDONLY), "rb") as file:
                    end = b"\n"
                    while block := file.read(1 << 20):
                        self._write(block)
                        end = block[-1:]
                if end != b"\n":  # it was killed in the middle of a line
                    self._write(b"\n")
                self.flush()
                path.unlink()
        return stored

    def flush(self) -> None:
        """Stores what was noted safely on the disk."""
        with self._lock:
            if self._file is not None:
                os.fsync(self._file)

    def made_by(self, path: Path) -> str:
        """Returns which of several models made what is stored at `path`, where that is known."""
        record = self._done.get(self.relative(path))
        return "" if record is None else record.made_by

    def examine(self, path: Path) -> tuple[OutputState, OutputRecord | None]:
        """Returns what stands at `path`, with the record that tells how it was made.

        A file that has the size and time of its record is ours. One that has not is ours if its bytes are:
        the folder was copied, or the run that wrote it was killed before it could say so. EDITED is a file
        that was ours and whose content has changed; it comes with the record of what it was.
        """
        try:
            status = path.lstat()
        except OSError:
            return OutputState.ABSENT, None
        name = self.relative(path)
        done, begun = self._done.get(name), self._begun.get(name)
        if stat.S_ISREG(status.st_mode):
            if done is not None and (status.st_size, status.st_mtime_ns) == (done.size, done.mtime_ns):
                return OutputState.OURS, done
            for record in (begun, done):
                if record is not None and status.st_size == record.size and has_digest(path, record.digest):
                    self.done(record, status.st_mtime_ns)
                    self._done[name] = replace(record, mtime_ns=status.st_mtime_ns)
                    return OutputState.OURS, record
        return (OutputState.FOREIGN, None) if done is None else (OutputState.EDITED, done)

    def begin(self, record: OutputRecord) -> None:
        """Notes that the bytes of `record` are about to take their final name.

        Raises:
            OSError: It could not be written.
        """
        line: dict[str, Any] = {"begin": record.output}
        if record.planned != record.output:
            line["planned"] = record.planned
        line["source"] = record.source
        line |= {f"source_{key}": value for key, value in record.fingerprint.to_json().items()}
        line |= {"settings": record.settings, "size": record.size, "sha256": record.digest}
        if record.made_by:
            line["made_by"] = record.made_by
        if record.video:
            held = record.video.get("held", ())
            line["video"] = {**record.video, "held": held[:_HELD], "broken": len(held)}
        self._append(line | {"time_ns": record.time_ns})

    def stored(self, record: OutputRecord, path: Path) -> None:
        """Notes that `record` stands under its final name, `path`."""
        self.done(record, path.lstat().st_mtime_ns)

    def announce(self) -> None:
        """Notes what is going to be stored, where outputs and notes cannot be written in one order."""

    def doubt(self, planned: Path) -> None:
        """Notes that a lost worker may have stored the result that the plan calls `planned` without a row."""

    def done(self, record: OutputRecord, mtime_ns: int, etag: str = "") -> None:
        """Notes that `record` stands under its final name. That this fails is no harm: `begin` is enough."""
        try:
            more = {"etag": etag} if etag else {}
            line = {"done": record.output, "time_ns": record.time_ns, "mtime_ns": mtime_ns}
            self._append(line | more)
        except OSError as error:
            _logger.debug("the manifest %s could not be completed: %s", self._path, error)

    def lost(self) -> list[OutputRecord]:
        """Returns what this run has stored and somebody has removed since, with the folder around it."""
        with self._lock:
            if self._file is None or not (self._moved or self._is_elsewhere(self._file)):
                return []
            self._moved = True
            os.lseek(self._file, 0, os.SEEK_SET)
            records = parse_lines(_lines(os.dup(self._file)))
        stored = {record.output: record for record in records if record.time_ns >= self._started}
        return [record for name, record in stored.items() if not os.path.lexists(self._root / name)]

    def close(self) -> None:
        """Stores what was noted safely on the disk."""
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None:
                os.fsync(self._file)
                os.close(self._file)
                self._file = None

    def _append(self, line: Mapping[str, Any]) -> None:
        self._write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._file is None:
                self._file = self._open()
            elif self._is_elsewhere(self._file):  # the folder was removed or replaced: go on in the new one
                file = self._open()
                os.lseek(self._file, 0, os.SEEK_SET)
                while block := os.read(self._file, 1 << 20):
                    os.write(file, block)
                os.close(self._file)
                self._file, self._moved = file, True
            if self._torn:  # a kill or a full disk cut the last line: do not let it swallow this one
                data = b"\n" + data
            self._torn = True
            if os.write(self._file, data) != len(data):
                raise OSError(28, "No space left on device")
            self._torn = False

    def _open(self) -> int:
        """Returns the file to append to, which is made if it is not there.

        Raises:
            OSError: Something else stands there.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.parent.is_symlink():
            raise OSError(errno.ELOOP, "is a symbolic link", str(self._path.parent))
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        file = _open_regular(self._path, flags)
        if os.fstat(file).st_nlink > 1:  # another name may be that of a picture, or of a copy of the folder
            with os.fdopen(file, "rb") as shared:
                write_bytes(shared.read(), self._path)
            file = _open_regular(self._path, flags)
        self._torn = not _ends_with_newline(file)
        return file

    def _is_elsewhere(self, file: int) -> bool:
        """Returns whether `file` is not the one that stands at the place of the manifest."""
        try:
            return not os.path.samestat(os.fstat(file), self._path.lstat())
        except OSError:
            return True


def _path(root: Path, shard: Shard | None, worker: int = 0) -> Path:
    part = "" if shard is None else f".{shard.index}-of-{shard.count}"
    return root / STATE_FOLDER / f"manifest{part}{f'.worker-{worker}' if worker else ''}.jsonl"


def _open_regular(path: Path, flags: int) -> int:
    """Opens a regular file: no link is followed, no pipe waited for.

    Raises:
        OSError: It is not there, or it is something else.
    """
    special = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    file = os.open(path, flags | special, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def has_digest(path: Path, digest: str) -> bool:
    """Returns whether the content of `path` has this SHA-256; not where it cannot be read."""
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def _ends_with_newline(file: int) -> bool:
    size = os.lseek(file, 0, os.SEEK_END)
    if size == 0:
        return True
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1) == b"\n"


def parse_lines(lines: Iterator[bytes]) -> Iterator[OutputRecord]:
    """Yields the records in `lines`, oldest first: a "done" one right after its "begin"."""
    begun: dict[tuple[str, int], OutputRecord] = {}
    done: dict[tuple[str, int], tuple[int, str]] = {}
    for text in lines:
        # Whatever stands in a line that is not ours shows here; there is nothing to do about it.
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError, RecursionError):
            line = json.loads(text)
            if "done" in line:
                facts = int(line["mtime_ns"]), as_text(line.get("etag", ""))
                done[as_text(line["done"]), int(line["time_ns"])] = facts
            else:
                record = _parse(line)
                begun[record.output, record.time_ns] = record
    for key, record in sorted(begun.items(), key=lambda entry: entry[0][1]):
        mtime_ns, etag = done.get(key, (None, ""))
        yield record if mtime_ns is None else replace(record, mtime_ns=mtime_ns, etag=etag)


def _read_lines(folder: Path) -> Iterator[bytes]:
    """Yields the lines of all manifests in `folder`."""
    if folder.is_symlink():
        return
    for path in sorted(folder.glob("manifest*.jsonl")):
        try:
            file = _open_regular(path, os.O_RDONLY)
        except OSError as error:
            _logger.debug("the manifest %s cannot be read: %s", display_path(path), error)
            continue
        if os.fstat(file).st_size > _LARGEST:
            os.close(file)
            continue
        yield from _lines(file)


def _lines(file: int) -> Iterator[bytes]:
    """Yields the lines of `file` and closes it; one that is too long to be ours comes in pieces."""
    with os.fdopen(file, "rb") as stream, contextlib.suppress(OSError):
        while line := stream.readline(_LONGEST):
            yield line


def _parse(line: Mapping[str, Any]) -> OutputRecord:
    output = as_text(line["begin"])
    planned = as_text(line.get("planned", output))
    if output not in (planned, *(planned + extension for extension in (*FALLBACKS, FALLBACK))):
        raise ValueError("no run stores the one under the name of the other")
    source = {key.removeprefix("source_"): line[key] for key in line if key.startswith("source_")}
    return OutputRecord(
        output,
        planned,
        as_text(line["source"]),
        Fingerprint.from_json(source),
        as_text(line["settings"]),
        int(line["size"]),
        as_text(line["sha256"]),
        int(line["time_ns"]),
        made_by=as_text(line.get("made_by", "")),
    )
