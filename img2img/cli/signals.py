"""Ctrl-C, SIGTERM and a closed terminal: the first finishes what is in flight, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from img2img.cli.render import say_warning, stderr


class Stop:
    """Tells a running job to come to an end.

    Attributes:
        event: Set when nothing new should start.
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, None while none came.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code: int | None = None


@contextmanager
def stop_on_signal(quiet: bool = False) -> Iterator[Stop]:
    """Yields a `Stop` that the signals set; outside the main thread signals are left alone.

    Args:
        quiet: Whether to leave it to another process to say so.
    """
    from img2img.image import isolation

    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.exit_code is not None:
            _end_children()
            os._exit(stop.exit_code)  # half-written files are ours to sweep on the next run
        stop.exit_code = 128 + number
        stop.event.set()
        isolation.end_soon()
        if not quiet:
            say_warning("finishing what is in flight; once more ends it at once.")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    stderr()  # loads what the handler prints with: it may come in the middle of an import
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else: nohup
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        isolation.carry_on()


def _end_children() -> None:
    """Ends the processes that were started for the work, such as those of decoders, so that none is left."""
    with suppress(Exception):  # whatever happens here, the end comes now
        import psutil

        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
