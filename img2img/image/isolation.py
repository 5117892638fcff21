"""Decoding in a process of its own, for decoders that cannot be trusted with the whole run.

Most files are decoded in the threads of the run: what JPEG, PNG and the like cost follows from the size of
the file and of its picture. Other decoders may compute for ever, take all memory or crash on a hostile file,
and some only print that a picture is broken. Those work here: a process that lives from file to file has a
limit on memory and on processor time for each, ends without taking anything along, and what a decoder
prints is read.

What that costs, measured on two busy cores: handing over one file 1 to 2 ms (a picture of 64 x 64 pixels then
takes 1 to 3 ms rather than 0.4 to 2), and for 12 megapixels 20 to 50 ms, which is 1 to 3 % of the 1.6 s
(JPEG XL) to 7 s (JPEG 2000 without loss) that decoding them takes. Starting a worker costs half a second of
processor time, once for each thread, and 24 MB of memory of its own.

A worker ends with the process that started it, however that ends, and a fork never uses its parent's. Where
no worker can be started (a program with Python inside, a system that forbids it) files are decoded in the
process itself, without those limits.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from img2img.errors import ImageError, ImageLimitError, ImageReadError
from img2img.image.pipe import HERE, KINDS, TOO_MUCH, read_array, receive, send, widen

if TYPE_CHECKING:
    from img2img.image.formats.base import Format, Header, Raster
    from img2img.image.image import Pixels
    from img2img.image.limits import Limits

_SERVE = "from img2img.image.worker import serve; serve()"
_WALL_FACTOR = 20  # times the processor time that a decoder may wait for a busy machine
_STALLED = 50  # looks at a worker without any processor time of it in between: 10 s asleep
_POLL = 0.2  # seconds
_START = 60.0  # seconds until a worker must have said that it is there
_GRACE = 0.4  # seconds that a file in work still has when the run shall end
_MAX_IDLE = 16  # as many threads as a run has at most
_MAX_FILES = 1000  # a worker answers before it is replaced: decoders may leak

_logger = logging.getLogger(__name__)


class _EndedFromOutsideError(ImageReadError):
    """Neither the decoder nor this program ended the process: the file may well be sound."""


def decode(data: bytes, source: Format, header: Header, limits: Limits, again: bool = True) -> Raster:
    """Returns what `source.decode` makes of a file, worked out in another process.

    What decoding changes in `header` (warnings, size, ICC profile, EXIF, XMP) is changed here, too.

    Args:
        data: The whole file.
        source: Its format.
        header: What `source.probe` returned; it was held against the limits.
        limits: Bound processor time and memory.
        again: Once more with another process when somebody (a person, a system that is out of memory)
            ends the one that works on it.

    Raises:
        ImageReadError: The file is broken, or its decoder complained, crashed or took too long.
        ImageLimitError: It takes more memory than a picture of its size has a right to.
    """
    from img2img.image.formats.base import Raster

    process = _take()
    if process is None:
        return _decode_here(data, source, header)
    memory = limits.bytes(header.width, header.height, header.channels, header.sample_bytes, len(data))
    request = {
        "format": source.name,
        "size": len(data),
        "memory": memory,
        "seconds": limits.seconds(len(data)),
        "known": len(header.warnings),
    }
    keep = False
    try:
        answer, arrays = process.ask(request, data)
        keep = True
    except _EndedFromOutsideError:
        if again:
            return decode(data, source, header, limits, again=False)
        raise
    finally:
        _give_back(process, keep)
    if "error" in answer:
        raise KINDS[answer["kind"]](answer["error"])
    header.warnings += answer["warnings"]
    header.width, header.height = answer["width"], answer["height"]
    for name, block in answer["blocks"].items():
        setattr(header, name, bytes.fromhex(block))
    return Raster(arrays[0], arrays[1] if len(arrays) > 1 else None)


def _decode_here(data: bytes, source: Format, header: Header) -> Raster:
    try:
        return source.decode(data, header)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageReadError(f"the image data is truncated or broken ({error})") from error


_is_ending = False


def end_soon() -> None:
    """Gives up each file that a worker does not finish within half a second: the run shall end."""
    global _is_ending
    _is_ending = True


def carry_on() -> None:
    """Takes `end_soon` back, for the next run in this process."""
    global _is_ending
    _is_ending = False


class _Process:
    """One worker and the pipes to it.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        path = [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100  "" is where we are
        # Not by PYTHONPATH: before that, Python looks for modules where it was started, among the pictures.
        start = f"import sys; sys.path[:] = {path!r}; {_SERVE}"
        environment = {
            **os.environ,
            "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which is what is limited
        }
        own_group: dict[str, Any] = (
            {"creationflags": 0x200} if sys.platform == "win32" else {"start_new_session": True}
        )  # Ctrl-C is for the run, which ends its workers
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            **own_group,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self.files = 0
        self._ended_for: str | None = None
        with _lock:
            _all.add(self)
        widen(self._to, self._from)
        late = threading.Timer(_START, self._process.kill)
        late.daemon = True
        late.start()
        try:
            seen = b""
            while not seen.endswith(HERE):
                byte = self._from.read(1)
                if not byte:
                    self.end()
                    raise OSError("it ended before it was ready")
                seen = (seen + byte)[-len(HERE) :]
        finally:
            late.cancel()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[Pixels]]:
        """Sends a file and returns the answer with its arrays.

        Raises:
            ImageReadError: There was none, in time or at all.
        """
        self.files += 1
        finished = threading.Event()
        watch = threading.Thread(target=self._watch, args=(finished, request), daemon=True)
        watch.start()
        try:
            send(self._to, request, [data])
            answer = receive(self._from)
            if answer is None:
                raise EOFError
            arrays = [
                read_array(self._from, request["memory"], *described)
                for described in answer.get("arrays", [])
            ]
        except (OSError, EOFError, ValueError, TypeError) as error:
            if self._ended_for is None and isinstance(error, OSError | EOFError) and self._was_killed():
                raise _EndedFromOutsideError("the process that decoded it was ended from outside") from error
            reason = self._ended_for or "its decoder crashed; the file is broken or was made to do that"
            kind = ImageLimitError if reason == TOO_MUCH else ImageReadError
            raise kind(reason) from error
        finally:
            finished.set()
            watch.join()
        return answer, arrays

    def _was_killed(self) -> bool:
        """Whether it ended by a signal that no program sends itself by mistake."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return sys.platform != "win32" and self._process.wait(1.0) == -signal.SIGKILL
        return False

    def _watch(self, finished: threading.Event, request: dict[str, Any]) -> None:
        """Ends the process when it takes too much of anything, or when the run is to end."""
        import psutil

        seconds = request["seconds"]
        stop_at: float | None = None
        last, still = -1.0, 0
        try:
            process = psutil.Process(self._process.pid)
            before = sum(process.cpu_times()[:2])
            held = process.memory_info().rss
            started = time.monotonic()
            while not finished.wait(_POLL):
                now = time.monotonic()
                used = sum(process.cpu_times()[:2]) - before
                still = still + 1 if used == last else 0
                last = used
                if _is_ending:
                    stop_at = stop_at or now + _GRACE
                if used > seconds or still > _STALLED or now - started > _WALL_FACTOR * seconds:
                    reason = (
                        f"decoding took longer than the {seconds:.0f} s of processor time that a file of "
                        f"{request['size']:,} bytes may take, or stood still; it was given up"
                    )
                elif process.memory_info().rss - held > request["memory"]:
                    reason = TOO_MUCH
                elif stop_at is not None and now > stop_at:
                    reason = "the run was ended while it was decoded"
                else:
                    continue
                self._ended_for = reason
                self._process.kill()
                return
        except psutil.Error:
            return  # it has ended, and whoever reads from it notices

    def end(self) -> None:
        """Ends the process."""
        with _lock:
            _all.discard(self)
        self._process.kill()
        self._process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Closes the pipes to it."""
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()

    def forget(self) -> None:
        """Leaves it to the process that started it and that this one was forked from."""
        self.let_go()
        self._process.returncode = 0  # or Python warns of a child that it did not wait for


_lock = threading.Lock()
_idle: list[_Process] = []
_all: set[_Process] = set()
_can_start: bool | None = None  # unknown until it was tried


def _take() -> _Process | None:
    """Returns a worker; None where none can be started."""
    global _can_start
    while True:
        with _lock:
            process = _idle.pop() if _idle else None
        if process is None:
            break
        if process.is_alive:
            return process
        process.end()
    if _can_start is False or not sys.executable or getattr(sys, "frozen", False):
        return None
    try:
        process = _Process()
    except (OSError, ValueError) as error:
        _can_start = bool(_can_start)  # where it worked before, the next file may try again
        _logger.warning("no process for decoding could be started (%s); decoding goes on without it", error)
        return None
    _can_start = True
    return process


def _give_back(process: _Process, keep: bool) -> None:
    with _lock:
        keep = keep and len(_idle) < _MAX_IDLE and process.files < _MAX_FILES
        if keep:
            _idle.append(process)
    if not keep:
        process.end()


def _end_all() -> None:
    for process in list(_all):
        process.end()
    _idle.clear()


def _forked() -> None:
    """Lets go of the workers of the parent, so that they see its end and not that of its children."""
    global _lock
    _lock = threading.Lock()
    for process in _all:
        process.forget()
    _all.clear()
    _idle.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
