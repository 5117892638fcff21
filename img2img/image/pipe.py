"""What a run and its decoding workers say to each other: a length, JSON, then bytes that it counts."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from img2img.errors import ImageFormatError, ImageLimitError, ImageReadError
from img2img.image.image import DTYPES

if TYPE_CHECKING:
    from img2img.image.image import Pixels

KINDS: dict[str, type[ImageReadError]] = {
    "read": ImageReadError,
    "format": ImageFormatError,
    "limit": ImageLimitError,
}
_MAX_TEXT = 2**24  # bytes of an answer beside its arrays
_PIPE = 2**20  # bytes
HERE = b"\0img2img worker\0"  # what a worker says first; Python's start-up may print before
BLOCKS = ("icc", "exif", "xmp")  # of a header that decoding may fill in
TOO_MUCH = "decoding it takes more memory than a picture of its size and a file of its length may take"


def send(to: IO[bytes], message: dict[str, Any], blocks: list[Any]) -> None:
    """Sends a message, and the bytes of `blocks` behind it."""
    text = json.dumps(message).encode()
    for block in (len(text).to_bytes(8, "big"), text, *blocks):
        view = memoryview(block).cast("B")
        while len(view):
            view = view[to.write(view) :]


def receive(source: IO[bytes]) -> dict[str, Any] | None:
    """Returns the next message, or None when none comes any more."""
    size = read(source, 8)
    if size is None:
        return None
    length = int.from_bytes(size, "big")
    if length > _MAX_TEXT:
        return None
    text = read(source, length)
    return None if text is None else json.loads(bytes(text))


def read(source: IO[bytes], size: int) -> bytearray | None:
    """Returns just `size` bytes, or None when there are not so many."""
    result = bytearray(size)
    return result if _fill(source, memoryview(result)) else None


def _fill(source: Any, view: memoryview) -> bool:
    while len(view):
        count = source.readinto(view)
        if not count:
            return False
        view = view[count:]
    return True


def read_array(source: IO[bytes], most: int, shape: list[int], dtype: str) -> Pixels:
    """Returns an array that follows a message.

    Raises:
        ValueError: It would be larger than `most` bytes, or is of a kind that no picture has.
        EOFError: It does not come.
    """
    kind = np.dtype(dtype)
    if kind not in DTYPES or math.prod(shape) * kind.itemsize > most:
        raise ValueError("such an array is never sent")
    array = np.empty(shape, kind)
    if array.size and not _fill(source, array.reshape(-1).view(np.uint8).data):
        raise EOFError
    return array


def widen(*pipes: IO[bytes]) -> None:
    """Lets pipes hold a mebibyte, where the system can."""
    if sys.platform == "linux":
        import fcntl

        for pipe in pipes:
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
