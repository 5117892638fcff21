"""Decoding in a process of its own, for decoders that cannot be trusted with the whole run.

Most files are decoded in the threads of the run: what JPEG, PNG and the like cost follows from the size of
the file and of its picture. Other decoders may compute for ever, take all memory or crash on a hostile file,
and some only print that a picture is broken. Those work here: a process that lives from file to file has a
limit on memory and on processor time for each, ends without taking anything along, and what a decoder
prints is read. Handing pixels over costs some 0.5 ms a megapixel, against 20 to 100 ms for decoding them.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from img2img.errors import ImageError, ImageFormatError, ImageLimitError, ImageReadError

if TYPE_CHECKING:
    from img2img.image.formats.base import Format, Header, Raster
    from img2img.image.image import Pixels
    from img2img.image.limits import Limits

_KINDS: dict[str, type[ImageReadError]] = {
    "read": ImageReadError,
    "format": ImageFormatError,
    "limit": ImageLimitError,
}
_WALL_FACTOR = 20  # times the processor time that a decoder may wait for a busy machine
_POLL = 0.2  # seconds
_PIPE = 2**20  # bytes
_LONGEST = 200  # characters of a complaint that are shown
_LOG_PREFIX = re.compile(r"^\[[^\]]*\] \w+ \S+:\d+ \w+ ")  # OpenCV's, before what the library said


def decode(data: bytes, source: Format, header: Header, limits: Limits) -> Raster:
    """Returns what `source.decode` makes of a file, worked out in another process.

    Warnings that decoding adds to `header` are added here, too.

    Args:
        data: The whole file.
        source: Its format.
        header: What `source.probe` returned; it was held against the limits.
        limits: Bound processor time and memory.

    Raises:
        ImageReadError: The file is broken, or its decoder complained, crashed or took too long.
        ImageLimitError: It takes more memory than a picture of its size has a right to.
    """
    request = {
        "format": source.name,
        "size": len(data),
        "memory": limits.bytes(header.width, header.height, header.channels, header.sample_bytes, len(data)),
        "known": len(header.warnings),
    }
    process = _take()
    keep = False
    try:
        answer, arrays = process.ask(request, data, limits.seconds(len(data)))
        keep = True
    finally:
        _give_back(process, keep)
    if "error" in answer:
        raise _KINDS[answer["kind"]](answer["error"])
    header.warnings += answer["warnings"]
    header.width, header.height = answer["width"], answer["height"]
    from img2img.image.formats.base import Raster

    return Raster(arrays[0], arrays[1] if len(arrays) > 1 else None)


class _Process:
    """One worker and the pipes to it."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            "MALLOC_ARENA_MAX": "2",  # each arena reserves address space, which is what is limited
        }
        own_group: dict[str, Any] = (
            {"creationflags": 0x200} if sys.platform == "win32" else {"start_new_session": True}
        )  # Ctrl-C is for the run, which ends its workers
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from img2img.image.isolation import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            **own_group,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        _widen(self._to, self._from)
        self._late = False

    def ask(
        self, request: dict[str, Any], data: bytes, seconds: float
    ) -> tuple[dict[str, Any], list[Pixels]]:
        """Sends a file and returns the answer with its arrays.

        Raises:
            ImageReadError: There was none, in time or at all.
        """
        finished = threading.Event()
        watch = threading.Thread(target=self._watch, args=(finished, seconds), daemon=True)
        watch.start()
        try:
            _send(self._to, request, [data])
            answer = _receive(self._from)
            if answer is None:
                raise EOFError
            arrays = [_array(self._from, *described) for described in answer.get("arrays", [])]
        except (OSError, EOFError) as error:
            if self._late:
                raise ImageReadError(
                    f"decoding took longer than the {seconds:.0f} s of processor time that a file of "
                    f"{len(data):,} bytes may take; it was given up"
                ) from error
            raise ImageReadError("its decoder crashed; the file is broken or was made to do that") from error
        finally:
            finished.set()
        return answer, arrays

    def _watch(self, finished: threading.Event, seconds: float) -> None:
        """Ends the process when it computes for longer than `seconds`."""
        import psutil

        started = time.monotonic()
        try:
            process = psutil.Process(self._process.pid)
            before = sum(process.cpu_times()[:2])
            while not finished.wait(_POLL):
                used = sum(process.cpu_times()[:2]) - before
                if used > seconds or time.monotonic() - started > _WALL_FACTOR * seconds:
                    self._late = True
                    self._process.kill()
                    return
        except psutil.Error:
            return  # it has ended, and whoever reads from it notices

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()


_lock = threading.Lock()
_idle: list[_Process] = []
_inherited: list[_Process] = []  # of the process that this one was forked from: kept, and never used


def _take() -> _Process:
    with _lock:
        if _idle:
            return _idle.pop()
    return _Process()


def _give_back(process: _Process, keep: bool) -> None:
    if keep:
        with _lock:
            _idle.append(process)
    else:
        process.end()


def _end_all() -> None:
    with _lock:
        for process in _idle:
            process.end()
        _idle.clear()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_idle)
    _idle.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# --- what both sides speak: a length, JSON, then bytes whose number the JSON tells


def _send(to: IO[bytes], message: dict[str, Any], blocks: list[Any]) -> None:
    text = json.dumps(message).encode()
    for block in (len(text).to_bytes(8, "big"), text, *blocks):
        view = memoryview(block).cast("B")
        while len(view):
            view = view[to.write(view) :]


def _receive(source: IO[bytes]) -> dict[str, Any] | None:
    size = _bytes(source, 8)
    if size is None:
        return None
    text = _bytes(source, int.from_bytes(size, "big"))
    return None if text is None else json.loads(bytes(text))


def _bytes(source: IO[bytes], size: int) -> bytearray | None:
    """Returns just `size` bytes, or None when there are not so many."""
    result = bytearray(size)
    return result if _fill(source, memoryview(result)) else None


def _fill(source: Any, view: memoryview) -> bool:
    while len(view):
        count = source.readinto(view)
        if not count:
            return False
        view = view[count:]
    return True


def _array(source: IO[bytes], shape: list[int], dtype: str) -> Pixels:
    array = np.empty(shape, np.dtype(dtype))
    if array.size and not _fill(source, array.reshape(-1).view(np.uint8).data):
        raise EOFError
    return array


def _widen(*pipes: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        for pipe in pipes:
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)


# --- the worker


def serve() -> None:
    """Answers requests on the standard streams until there are no more."""
    from img2img.image import opencv

    opencv.let_speak()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)  # decoders write where they like
        os.dup2(printed.fileno(), 2)
        while (request := _receive(requests)) is not None:
            data = _bytes(requests, request["size"])
            if data is None:
                return
            os.lseek(printed.fileno(), 0, os.SEEK_SET)
            os.ftruncate(printed.fileno(), 0)
            answer, arrays = _answer(request, bytes(data), printed.fileno())
            del data
            _send(answers, answer, [np.ascontiguousarray(array) for array in arrays])
            del arrays


def _answer(request: dict[str, Any], data: bytes, printed: int) -> tuple[dict[str, Any], list[Pixels]]:
    from img2img.image.formats import FORMATS

    source = next(f for f in FORMATS if f.name == request["format"])
    try:
        with _memory(request["memory"]):
            header = source.probe(data)
            raster = source.decode(data, header)
        complaint = _complaint(printed, source.harmless)
        if complaint is not None:
            raise ImageReadError(f"the image data is broken; its decoder says: {complaint}")
    except ImageError as error:
        kind = next(name for name, cls in reversed(_KINDS.items()) if isinstance(error, cls))
        return {"error": error.reason, "kind": kind}, []
    except MemoryError:
        return {
            "error": "decoding it takes more memory than a picture of its size and a file of its length may "
            "take",
            "kind": "limit",
        }, []
    except Exception as error:  # noqa: BLE001  whatever it is, it is about this file
        return {"error": f"the image data is truncated or broken ({error})", "kind": "read"}, []
    arrays = [raster.pixels] if raster.alpha is None else [raster.pixels, raster.alpha]
    return {
        "arrays": [(array.shape, array.dtype.str) for array in arrays],
        "warnings": header.warnings[request["known"] :],
        "width": header.width,
        "height": header.height,
    }, arrays


@contextlib.contextmanager
def _memory(size: int) -> Any:
    """Lets this process take no more than `size` bytes beside what it has, where that can be said."""
    if sys.platform != "linux":
        yield
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        now = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + size + 2**28  # what threads of decoders reserve and never touch
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _complaint(printed: int, harmless: re.Pattern[str] | None) -> str | None:
    """Returns the first line that a decoder printed and that is not harmless."""
    size = os.lseek(printed, 0, os.SEEK_CUR)
    if not size:
        return None
    os.lseek(printed, 0, os.SEEK_SET)
    text = os.read(printed, 2**16).decode("utf-8", "replace")
    for line in text.splitlines():
        line = _LOG_PREFIX.sub("", line.strip())
        if line and not (harmless and harmless.search(line)):
            return line[:_LONGEST]
    return None
