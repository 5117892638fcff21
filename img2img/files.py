"""Files on disk: opened with care, written whole or not at all, known by their digest, held by one run."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import re
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from img2img.remote import RemotePath

LFS_POINTER = b"version https://git-lfs"
"""What a file of Git LFS begins with whose content was not fetched."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_HOST = hashlib.sha256(socket.gethostname().encode("utf-8", "replace")).hexdigest()[:8]
_PART = re.compile(r"\.img2img-([0-9a-f]{8})-([0-9]+)-[0-9]+\.part")
_ELSEWHERE_IS_DEAD_AFTER = 24 * 3600.0  # seconds; a process of another machine cannot be asked
_CLOCKS_DIFFER = 2.0  # seconds; file systems round times
_LET_GO_WITHIN = 0.1  # seconds; who removes its lock just now has let go of it by then
_LARGEST_TEXT = 2**12  # bytes in a lock
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # what file systems say that have none
_counter = itertools.count()
_logger = logging.getLogger(__name__)


class LockedError(Exception):
    """Another run holds the lock; the message is what that one wrote into it."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file for reading in binary.

    A pipe would block for ever and a device never ends: both are refused, before they are opened where that
    can be told, and after that without a race.

    Raises:
        OSError: It cannot be opened, or is a folder, pipe, socket or device; `strerror` says so.
    """
    if isinstance(path, RemotePath):
        return cast(BinaryIO, path.open("rb"))
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


def file_digest(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a regular file, hexadecimal.

    Raises:
        OSError: See `open_regular`.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _require_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "this is a pipe, socket or device, not a file", str(path))


def user_cache() -> Path:
    """Returns the folder for what img2img keeps for this user; it need not exist."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "img2img"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "img2img"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "img2img"
    return Path.home() / ".cache" / "img2img"


# writing


@contextmanager
def replacing(
    path: str | os.PathLike[str], before_replace: Callable[[], None] | None = None
) -> Iterator[BinaryIO]:
    """Gives a new file to write, which becomes `path` at the end: completely or not at all.

    The bytes go to a part file in the same folder, to the disk, and then under the final name in one
    step. The part file has a short name of its own, so that a name of 255 bytes works. For a remote place
    they go to a temporary file of this machine, and are put there in the end.

    Args:
        path: The final name. Its folder must exist; a file that stands there is replaced.
        before_replace: Called when the part file is complete, just before it takes the final name.

    Raises:
        OSError: It could not be stored. After this and any other exception, also of what is done with the
            file, the part file is gone and nothing else.
    """
    if isinstance(path, RemotePath):
        with tempfile.NamedTemporaryFile() as file:
            yield cast(BinaryIO, file)
            file.flush()
            if before_replace is not None:
                before_replace()
            path.put(Path(file.name))
        return
    path = Path(path)
    part = part_beside(path)
    try:
        _refuse_special(path)
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before_replace is not None:
            before_replace()
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            error.filename = str(path)  # what people know
        raise


def write_bytes(data: bytes, path: str | os.PathLike[str]) -> None:
    """Stores `data` as the file `path`, completely or not at all.

    Raises:
        OSError: See `replacing`.
    """
    with replacing(path) as file:
        file.write(data)


def _refuse_special(path: Path) -> None:
    """Refuses to put a file into the place of a device, a pipe, a socket or a folder.

    Raises:
        OSError: One is there.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise FileExistsError(errno.EEXIST, f"{kind} stands there", str(path))


def part_beside(path: Path) -> Path:
    """Returns a new name in the folder of `path` that `sweep_parts` removes once this process is gone."""
    return path.with_name(f".img2img-{_HOST}-{os.getpid()}-{next(_counter)}.part")


def is_part(name: str) -> bool:
    """Returns whether `name` is that of one of our part files, finished or not."""
    return _PART.fullmatch(name) is not None


def sweep_parts(folder: Path) -> int:
    """Removes part files in `folder` (not below it) that no living process will finish.

    A part file of this machine is dead when its process is; one of another machine that shares the
    folder when it has not been touched for a day.

    Returns:
        How many were removed.
    """
    removed = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        match = _PART.fullmatch(entry.name)
        if match is None:
            continue
        try:
            touched = entry.stat(follow_symlinks=False).st_mtime
            if match[1] == _HOST:
                dead = not _wrote(int(match[2]), touched)
            else:
                dead = time.time() - touched > _ELSEWHERE_IS_DEAD_AFTER
            if dead:
                Path(entry.path).unlink()
                removed += 1
        except OSError:
            continue  # another process swept it first, or it is not ours to remove
    return removed


def _wrote(pid: int, touched: float) -> bool:
    """Returns whether the living process `pid` may have written a file at the time `touched`.

    Numbers are given again: in a container a new process often has that of the killed one, but it started
    after the file was touched. Yes when that cannot be told.
    """
    import psutil

    try:
        return psutil.Process(pid).create_time() <= touched + _CLOCKS_DIFFER
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


# one run at a time


@contextmanager
def file_lock(path: str | os.PathLike[str], text: str = "", wait: bool = False) -> Iterator[None]:
    """Holds the file `path` for this run alone, with `text` in it, and removes it in the end.

    What a killed process leaves behind never stands in the way, and processes that are forked off do not
    inherit the lock. Links are not followed. Where the file system knows no locks there is none, which the
    log says.

    Args:
        path: Of the lock; a file of its own that holds nothing else.
        text: For those who find it locked.
        wait: Wait until it is free.

    Raises:
        LockedError: Another process, or another thread of this one, holds it.
        OSError: It cannot be written, or something else stands there.
    """
    import filelock  # 0.03 s, which most commands do without

    path = Path(path)
    if os.path.lexists(path):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EINVAL, "it is no file of its own", str(path))
    probe = part_beside(path)  # in a folder that takes no files filelock would wait for ever
    probe.touch()
    probe.unlink()
    # the mode lets others who share the folder see that it is free
    lock = filelock.FileLock(path, mode=0o666, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=-1 if wait else _LET_GO_WITHIN, poll_interval=0.02)
    except filelock.Timeout:
        raise LockedError(_text_in(path)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _logger.warning("%s: this file system has no locks; two runs at once would not notice.", path.parent)
    try:
        if text:
            path.write_text(text, "utf-8")
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # still held: nobody can have it between the two
        lock.release()


def lock_holder(path: str | os.PathLike[str]) -> str | None:
    """Returns what the process that holds `path` wrote into it; None, and it is removed, when nobody does."""
    if os.path.lexists(path):
        try:
            with file_lock(path):
                pass
        except LockedError as error:
            return str(error)
        except OSError:
            return None  # it is gone, or not ours to look into
    return None


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Returns whether a process holds the lock `path`; nothing is written, and nobody is kept from taking it.

    Where the system cannot be asked, the process whose number stands in it decides by being alive.
    """
    try:
        file = open_regular(path)
    except OSError:
        return False
    with file:
        try:
            import fcntl
        except ImportError:
            import psutil

            text = _text_in(Path(path))
            return text.isdigit() and psutil.pid_exists(int(text))
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def _text_in(path: Path) -> str:
    try:
        return read_regular(path, _LARGEST_TEXT).decode("utf-8", "replace").strip()
    except OSError:
        return ""
