"""What a run says of itself for whoever looks at its folder: how long it is, where it ran, how it ended."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from img2img import __version__
from img2img.errors import Img2ImgError
from img2img.files import read_regular
from img2img.image import write_bytes
from img2img.report.run import RECORD, RunState
from img2img.training.runtime import Runtime

_MOST_STARTS = 100
_LARGEST = 2**22  # bytes


@contextmanager
def recorded(
    folder: Path,
    total: int,
    environment: dict[str, Any],
    validation: dict[str, Any],
    state: Callable[[], RunState],
) -> Iterator[None]:
    """Notes in `folder` that a run has started, and in the end how it ended.

    Args:
        folder: Of the run.
        total: Its steps in all.
        environment: What `environment` returned.
        validation: What is measured on held-out pictures: `by`, the score that decides, and `metrics`, where
            each comes from.
        state: Tells at the end, when no error came, whether it has finished or stopped.
    """
    path = folder / RECORD
    start: dict[str, Any] = {"time": _now(), "environment": environment, "validation": validation}
    record = {"total": total, "starts": [*_starts(path), start][-_MOST_STARTS:]}
    _write(path, record)
    try:
        yield
    except BaseException as error:
        expected = isinstance(error, Img2ImgError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        start["ended"] = {"time": _now(), "state": "failed", "reason": reason}
        with suppress(OSError, Img2ImgError):  # a full disk is why it failed
            _write(path, record)
        raise
    start["ended"] = {"time": _now(), "state": state()}
    _write(path, record)


def environment(runtime: Runtime) -> dict[str, Any]:
    """Returns where a run computes, and with what."""
    device = runtime.device
    found: dict[str, Any] = {
        "img2img": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "device": str(device),
        "precision": runtime.precision,
        "processes": runtime.world,
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = str(torch.version.cuda)
    return {**found, "command": list(sys.argv)}


def _starts(path: Path) -> list[Any]:
    try:
        starts = json.loads(read_regular(path, _LARGEST))["starts"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []  # a run that is new, of an older version, or whose record was damaged
    return list(starts) if isinstance(starts, list) else []


def _write(path: Path, record: dict[str, Any]) -> None:
    write_bytes(json.dumps(record, indent=1).encode(), path)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
