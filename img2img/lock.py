"""A file that one process holds: the system forgets it with the process, however that ends."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

_held: dict[tuple[int, int], str] = {}  # by this process, whose own locks do not keep it out


class HeldError(Exception):
    """Another run holds the file; the message is what that one wrote into it."""


def hold(path: Path, text: str) -> IO[str]:
    """Returns the file `path`, locked, with `text` in it; hand it to `release` when done.

    What a killed process leaves behind never stands in the way, and processes that are forked off do not
    inherit the lock. Links are not followed. Where the file system knows no locks there is none.

    Raises:
        HeldError: Another process, or another thread of this one, holds it.
        OSError: It cannot be written, or something else stands there.
    """
    while True:
        _refuse_own(path)
        file = _open(path, os.O_CREAT)
        if not _lock(file):
            found = file.read()
            file.close()
            raise HeldError(found.strip())
        if _identity(os.fstat(file.fileno())) != _identity_of(path):
            file.close()  # its owner removed it between our opening and our locking
            continue
        if hasattr(os, "fchmod"):
            with suppress(OSError):  # others who share the folder must be able to see that it is free
                os.fchmod(file.fileno(), 0o666)
        try:
            file.truncate(0)
            file.write(text)
            file.flush()
        except OSError:
            with suppress(OSError):
                path.unlink()
            with suppress(OSError):
                file.close()
            raise
        _held[_identity(os.fstat(file.fileno()))] = text
        return file


def release(path: Path, file: IO[str]) -> None:
    """Removes the file and lets others have it."""
    own = _identity(os.fstat(file.fileno()))
    with suppress(OSError):
        if _identity_of(path) == own:
            path.unlink()
    _held.pop(own, None)
    file.close()


def holder(path: Path) -> str | None:
    """Returns what the process that holds `path` wrote into it; None, and it is removed, when nobody does."""
    try:
        _refuse_own(path)
        with _open(path, 0) as file:
            if not _lock(file):
                return file.read().strip()
            path.unlink()
    except HeldError as error:
        return str(error)
    except OSError:
        return None  # it is gone, or not ours to look into
    return None


def _refuse_own(path: Path) -> None:
    identity = _identity_of(path)
    if identity in _held:  # opening and closing it would give the lock up
        raise HeldError(_held[identity].strip())


def _open(path: Path, flags: int) -> IO[str]:
    never_else = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = os.fdopen(
        os.open(path, os.O_RDWR | flags | never_else, 0o666), "r+", encoding="utf-8", errors="replace"
    )
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        file.close()
        raise OSError(errno.EINVAL, "it is no file of its own", str(path))
    return file


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_of(path: Path) -> tuple[int, int]:
    try:
        return _identity(path.lstat())
    except OSError:
        return -1, -1


def _lock(file: IO[str]) -> bool:
    """Returns whether this process has the lock on `file` now."""
    if sys.platform == "win32":
        import msvcrt

        with suppress(OSError):
            file.seek(2**30)  # far behind the text, which others may read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
            return True
        file.seek(0)
        return False
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks
    return True
