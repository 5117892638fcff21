"""Ctrl-C and SIGTERM: the first finishes what is in flight, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from img2img.cli.render import say_warning


class Stop:
    """Tells a running job to come to an end.

    Attributes:
        event: Set when nothing new should start.
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, None while neither came.
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
            os._exit(stop.exit_code)  # half-written files are ours to sweep on the next run
        stop.exit_code = 128 + number
        stop.event.set()
        isolation.end_soon()
        if not quiet:
            say_warning("finishing what is in flight; once more ends it at once.")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        isolation.carry_on()
