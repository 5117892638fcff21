"""What a process does that decodes for another one; see `img2img.image.isolation`."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np

from img2img.errors import ImageError, ImageReadError
from img2img.image.image import Pixels
from img2img.image.pipe import BLOCKS, HERE, KINDS, TOO_MUCH, read, receive, send

_MAX_PRINTED = 2**24  # bytes
_LONGEST = 200  # characters of a complaint that are shown
_LOG_PREFIX = re.compile(r"^\[[^\]]*\] \w+ \S+:\d+ \w+ ")  # OpenCV's, before what the library said


def serve() -> None:
    """Answers requests on the standard streams; ends the process when there are no more."""
    from img2img.image import opencv

    opencv.let_speak()
    _limit("FSIZE", _MAX_PRINTED)
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    waiting: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()

    def listen() -> None:
        """Reads requests, and ends this process with the one that sends them, whatever it is doing."""
        while (request := receive(requests)) is not None:
            data = read(requests, request["size"])
            if data is None:
                break
            waiting.put((request, bytes(data)))
            del data
        os._exit(0)

    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)  # decoders write where they like
        os.dup2(printed.fileno(), 2)
        answers.write(HERE)
        threading.Thread(target=listen, daemon=True).start()
        while True:
            request, data = waiting.get()
            os.lseek(printed.fileno(), 0, os.SEEK_SET)
            os.ftruncate(printed.fileno(), 0)
            _limit("CPU", int(time.process_time() + request["seconds"]) + 2)
            answer, arrays = _answer(request, data, printed.fileno())
            del data
            send(answers, answer, [np.ascontiguousarray(array) for array in arrays])
            del arrays


def _limit(name: str, most: int) -> None:
    """Sets a limit on what this process may take, where the system has it; what is beyond ends it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    number = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(number)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(number, (most if hard < 0 else min(most, hard), hard))


def _answer(request: dict[str, Any], data: bytes, printed: int) -> tuple[dict[str, Any], list[Pixels]]:
    from img2img.image.formats import FORMATS

    source = next(f for f in FORMATS if f.name == request["format"])
    try:
        with _memory(request["memory"]):
            header = source.probe(data)
            before = {name: getattr(header, name) for name in BLOCKS}
            raster = source.decode(data, header)
        complaint = _complaint(printed, source.harmless)
        if complaint is not None:
            raise ImageReadError(f"the image data is broken; its decoder says: {complaint}")
    except ImageError as error:
        kind = next(name for name, cls in reversed(KINDS.items()) if isinstance(error, cls))
        return {"error": error.reason, "kind": kind}, []
    except MemoryError:
        return {"error": TOO_MUCH, "kind": "limit"}, []
    except Exception as error:  # noqa: BLE001  whatever it is, it is about this file
        return {"error": f"the image data is truncated or broken ({error})", "kind": "read"}, []
    arrays = [raster.pixels] if raster.alpha is None else [raster.pixels, raster.alpha]
    return {
        "arrays": [(array.shape, array.dtype.str) for array in arrays],
        "warnings": header.warnings[request["known"] :],
        "width": header.width,
        "height": header.height,
        "blocks": {
            name: block.hex()
            for name in BLOCKS
            if (block := getattr(header, name)) is not None and block != before[name]
        },
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
    _limit("AS", now + size + 2**28)  # what threads of decoders reserve and never touch
    try:
        yield
    finally:
        _limit("AS", resource.getrlimit(resource.RLIMIT_AS)[1])


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
