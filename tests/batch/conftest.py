"""No test of the batch engine leaves a thread behind."""

import threading
import time
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    end = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.005)  # one that has done its work and not ended yet is no leak
    assert threading.active_count() == before
