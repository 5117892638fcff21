"""Opening what a stranger may have put there: regular files only, without waiting, up to a size."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LFS_POINTER = b"version https://git-lfs"
"""What a file of Git LFS begins with whose content was not fetched."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file for reading in binary.

    A pipe would block for ever and a device never ends: both are refused, before they are opened where that
    can be told, and after that without a race.

    Raises:
        OSError: It cannot be opened, or is a folder, pipe, socket or device; `strerror` says so.
    """
    path = Path(path)
    _require_regular(path.stat(), path)
    descriptor = os.open(path, _FLAGS)
    try:
        _require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], largest: int) -> bytes:
    """Returns the content of a regular file of at most `largest` bytes.

    Raises:
        OSError: See `open_regular`; also for a larger file, of which nothing more is read.
    """
    with open_regular(path) as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise OSError(errno.EFBIG, f"is larger than {largest:,} bytes", str(path))
    return data


def _require_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "this is a pipe, socket or device, not a file", str(path))
