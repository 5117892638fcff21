"""How the threads of a calculation wait for each other; to be settled before torch is loaded."""

from __future__ import annotations

import os

_SETTINGS = (
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
)  # of the standard, of GCC, of LLVM and Intel


def wait_passively() -> None:
    """Lets threads sleep while they wait for others, unless the user has settled how they wait.

    By default they run in circles for some milliseconds. Where another program uses a core as well, they take
    from it, and from each other, the time in which the thread that all wait for could have come to its end:
    docs/performance.md has figures. It has no effect once torch is loaded, and never changes a result.
    """
    if not any(name in os.environ for name in _SETTINGS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
