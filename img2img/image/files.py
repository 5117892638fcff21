"""Image files on disk: reading one, and writing one so that it is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from img2img.errors import ImageFormatError, ImageLimitError, ImageReadError, ImageWriteError, display_path
from img2img.files import open_regular
from img2img.image.codec import DEFAULT_LIMITS, DEFAULT_OPTIONS, EncodeOptions, decode, encode
from img2img.image.image import Image
from img2img.image.kinds import NOT_READ, RAW
from img2img.image.limits import Limits

_HOST = hashlib.sha256(socket.gethostname().encode("utf-8", "replace")).hexdigest()[:8]
_PART = re.compile(r"\.img2img-([0-9a-f]{8})-([0-9]+)-[0-9]+\.part")
_ELSEWHERE_IS_DEAD_AFTER = 24 * 3600.0  # seconds; a process of another machine cannot be asked
_CLOCKS_DIFFER = 2.0  # seconds; file systems round times
_counter = itertools.count()


def read_image(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Image:
    """Returns the picture in the file `path`, upright, with its depth, alpha and metadata.

    Raises:
        ImageFormatError: It is a kind of file that is not read.
        ImageLimitError: It is larger than `limits`; nothing was decoded.
        ImageReadError: It is no regular file, cannot be opened, or is broken or truncated.
    """
    path = Path(path)
    return decode(read_bytes(path, limits), limits, path)


def read_bytes(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Returns the content of a regular file that is not larger than `limits.max_file_size`.

    Raises:
        ImageReadError: See `read_image`.
    """
    if path.suffix.lower() in RAW:  # its first picture may be a thumbnail that can be read
        kind = NOT_READ[path.suffix.lower()]
        reason = f"this is {kind}, which is not read; develop it to PNG, TIFF or JPEG first"
        raise ImageFormatError(reason, path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ImageReadError(f"this is {kind}, not an image file", path)
        if status.st_size > limits.max_file_size:
            raise ImageLimitError(_too_large(status.st_size, limits), path)
        with open_regular(path) as file:
            data = file.read(limits.max_file_size + 1)
    except FileNotFoundError as error:
        if path.is_symlink():
            target = display_path(path.readlink())
            raise ImageReadError(f"it is a symbolic link to {target}, which does not exist", path) from error
        raise ImageReadError(f"the file cannot be opened: {_why(error)}", path) from error
    except OSError as error:
        raise ImageReadError(f"the file cannot be opened: {_why(error)}", path) from error
    if len(data) > limits.max_file_size:  # it grew since it was measured
        raise ImageLimitError(_too_large(len(data), limits), path)
    return data


def write_image(image: Image, path: str | os.PathLike[str], options: EncodeOptions = DEFAULT_OPTIONS) -> None:
    """Encodes `image` in the format that the extension of `path` names, and stores it there atomically.

    Raises:
        ImageFitError: The format cannot hold this depth, alpha or number of channels.
        ImageWriteError: Encoding or storing failed; what stood at `path` before stands there still.
    """
    path = Path(path)
    try:
        data = encode(image, path.suffix, options)
    except ImageWriteError as error:
        raise type(error)(error.reason, path) from error
    write_bytes(data, path)


def write_bytes(
    data: bytes, path: str | os.PathLike[str], *, before_replace: Callable[[], None] | None = None
) -> None:
    """Stores `data` as the file `path`, completely or not at all.

    The bytes go to a part file in the same folder, to the disk, and then under the final name in one
    step. The part file has a short name of its own, so that a name of 255 bytes works.

    Args:
        data: What the file shall hold.
        path: The final name. Its folder must exist; a file that stands there is replaced.
        before_replace: Called when the part file is complete, just before it takes the final name.
            An exception from it leaves everything as it was.

    Raises:
        ImageWriteError: It could not be stored; the part file is gone, and so is nothing else.
    """
    path = Path(path)
    part = part_beside(path)
    try:
        _refuse_special(path)
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if before_replace is not None:
                before_replace()
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        own = (None, str(part), str(path))
        place = "" if error.filename in own else f" ({display_path(error.filename)})"
        raise ImageWriteError(f"the file cannot be written: {_why(error)}{place}", path) from error


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


def _too_large(size: int, limits: Limits) -> str:
    return (
        f"the file has {size:,} bytes; at most {limits.max_file_size:,} are read, "
        "raise max_file_size if you trust it"
    )


def _why(error: OSError) -> str:
    """Returns the reason in words that do not repeat the path."""
    if error.errno == errno.ENOSPC:
        return "no space is left on the disk"
    return error.strerror or type(error).__name__
