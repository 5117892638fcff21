"""One run in one folder: a lock that goes with the process that holds it, however that ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from img2img.errors import ConfigError, display_path

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps `folder` for this process; it is made if it is not there, and removed if nothing came into it.

    The system forgets the lock with the process, and worker processes do not inherit it: what a killed run
    leaves behind never stands in the way. Where the file system knows no locks there is none.

    Raises:
        ConfigError: Another process works in it.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _open(path)
    try:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        file.close()
        for made in missing:
            with suppress(OSError):  # not empty: it is in use now
                made.rmdir()


def _open(path: Path) -> IO[str]:
    """Returns the locked file `path`."""
    while True:
        file = path.open("a+", encoding="utf-8")
        if not _lock(file):
            file.seek(0)
            owner = file.read().strip()
            file.close()
            process = f" (process {owner})" if owner.isdigit() else ""
            raise ConfigError(
                f"another run is at work in {display_path(path.parent)}{process}; wait for it or stop it, or "
                "give another folder with -o."
            )
        with suppress(OSError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()  # its owner removed it between our opening and our locking


def _lock(file: IO[str]) -> bool:
    """Returns whether this process has the lock on `file` now."""
    if sys.platform == "win32":
        import msvcrt

        with suppress(OSError):
            file.seek(2**30)  # far behind the text, which others may read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        return False
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks
    return True
