"""Decoded and resized pictures, kept as files that every worker maps into its memory.

One entry is one file: some arrays, each as NumPy writes them. It is complete or absent, so any number of
processes may fill one folder. Reading an entry maps the file, so a patch of a large picture costs the pages
it lies in, and all workers share them through the operating system's page cache, which gives them up when
memory is short. "memory" and "disk" differ only in where the folder is and in when it goes.
"""

from __future__ import annotations

import hashlib
import io
import logging
import mmap
import os
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import ImageReadError, display_path
from img2img.files import write_bytes
from img2img.image.image import DTYPES, Pixels

_logger = logging.getLogger(__name__)
_VERSION = 3  # of what the arrays mean: counts up when preparing a picture changes
_ALIGNED = 64
_MOST_OPEN = 256  # entries that one process keeps mapped: each holds a file descriptor
_SPARE = 2**30  # bytes that stay free beside the cache
_LOCK = "lock"
_PREFIX = "img2img-pictures-"

Make = Callable[[], tuple[Pixels, ...]]


class Cache:
    """Arrays by name, in a folder.

    Args:
        folder: Where the entries are; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._open: OrderedDict[str, tuple[Pixels, ...]] = OrderedDict()
        self._full = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # a mapping does not travel to another process

    def get(self, name: str, make: Make) -> tuple[Pixels, ...]:
        """Returns the arrays called `name`, read-only; what is not there yet is made and kept."""
        if self.folder is None:
            return make()
        arrays = self._open.get(name)
        if arrays is None:
            path = self.folder / name[:2] / f"{name}.npy"
            arrays = _load(path)
            if arrays is None:
                made = make()
                if not self._store(path, made):
                    return made
                arrays = _load(path) or made
            self._open[name] = arrays
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return arrays

    def _store(self, path: Path, arrays: Sequence[Pixels]) -> bool:
        """Keeps `arrays`; a cache that cannot be written is no reason to stop."""
        if self._full:
            return False
        buffer = io.BytesIO()
        for array in arrays:
            buffer.write(bytes(-buffer.tell() % _ALIGNED))
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
        data = buffer.getvalue()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < len(data) + _SPARE:
                raise OSError(None, "less than 1 GiB would stay free")
            write_bytes(data, path)
        except OSError as error:
            self._full = True
            _logger.warning(
                "the cache of pictures takes no more: %s: %s. What is missing in it is read from the files.",
                display_path(path.parent),
                error.strerror,
            )
            return False
        return True


class PrivateCache(Cache):
    """A cache in a temporary folder that goes when this process ends.

    What a killed process left is removed when the next one starts: the lock on its folder is gone.

    Args:
        parent: Where the folder is made; None takes the system's folder for temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        super().__init__(folder)
        self._remove = weakref.finalize(self, _remove_own, folder, os.getpid(), _locked(folder))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_remove"}


def entry_name(files: Sequence[Path], recipe: object) -> str:
    """Returns the name for what `recipe` makes of `files`: another size, time or recipe is another name.

    Args:
        files: What it is made from.
        recipe: How; its `repr` tells recipes apart.

    Raises:
        ImageReadError: A file is not there.
    """
    parts: list[object] = [_VERSION, recipe]
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise ImageReadError(f"the file cannot be opened: {error.strerror}", path) from error
        parts += [str(path.absolute()), status.st_size, status.st_mtime_ns]
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:40]


def _load(path: Path) -> tuple[Pixels, ...] | None:
    """Returns the arrays in a file without reading them, or None if it is absent or damaged."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            arrays = []
            position = 0
            while position < len(mapped):
                file.seek(position)
                if np.lib.format.read_magic(file) != (1, 0):
                    return None
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                if dtype not in DTYPES:
                    return None
                count = int(np.prod(shape))
                start = file.tell()
                arrays.append(np.frombuffer(mapped, dtype, count, start).reshape(shape))
                position = start + count * dtype.itemsize
                position += -position % _ALIGNED
    except (OSError, ValueError):
        return None
    return tuple(arrays)


def _locked(folder: Path) -> int | None:
    """Returns an open file that locks `folder`, in forked children too; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _sweep(parent: Path) -> None:
    """Removes the folders of processes that were killed."""
    try:
        import fcntl
    except ImportError:
        return
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / _LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # its process lives, or it is not ours


def _remove_own(folder: Path, owner: int, lock: int | None) -> None:
    if os.getpid() == owner:  # not when a forked worker ends
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
