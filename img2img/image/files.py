"""Image files on disk: reading one, and writing one so that it is complete or absent."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from img2img.errors import (
    ImageError,
    ImageFormatError,
    ImageLimitError,
    ImageReadError,
    ImageWriteError,
    display_path,
)
from img2img.files import open_regular, replacing
from img2img.image.codec import DEFAULT_LIMITS, DEFAULT_OPTIONS, EncodeOptions, decode, encode
from img2img.image.formats import recognise
from img2img.image.image import Image
from img2img.image.kinds import NOT_READ, RAW
from img2img.image.limits import Limits
from img2img.image.metadata import orientation
from img2img.remote import place


def read_image(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Image:
    """Returns the picture in the file `path`, upright, with its depth, alpha and metadata.

    Raises:
        ImageFormatError: It is a kind of file that is not read.
        ImageLimitError: It is larger than `limits`; nothing was decoded.
        ImageReadError: It is no regular file, cannot be opened, or is broken or truncated.
    """
    path = place(path)
    return decode(read_bytes(path, limits), limits, path)


def is_turned(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file stores its picture in another way up than the one it is to be seen in.

    A file that cannot be read is not.
    """
    try:
        data = read_bytes(Path(path))
        header = recognise(data).probe(data)
    except (ImageError, ValueError, LookupError, OverflowError, struct.error):
        return False
    return (header.orientation or orientation(header.exif, header.xmp)) not in (0, 1, None)


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
    path = place(path)
    try:
        data = encode(image, path.suffix, options)
    except ImageWriteError as error:
        raise type(error)(error.reason, path) from error
    write_bytes(data, path)


def write_bytes(
    data: bytes, path: str | os.PathLike[str], *, before_replace: Callable[[], None] | None = None
) -> None:
    """Stores the encoded picture `data` as the file `path`, completely or not at all; see `replacing`.

    Raises:
        ImageWriteError: It could not be stored; everything is as it was.
    """
    write_file(lambda file: file.write(data), path, before_replace=before_replace)


def write_file(
    write: Callable[[BinaryIO], object],
    path: str | os.PathLike[str],
    *,
    before_replace: Callable[[], None] | None = None,
) -> None:
    """Stores what `write` puts into a file as `path`, as `write_bytes` does.

    Raises:
        ImageWriteError: It could not be stored, or `write` failed; everything is as it was.
    """
    path = place(path)
    try:
        with replacing(path, before_replace) as file:
            write(file)
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f" ({display_path(error.filename)})"
        raise ImageWriteError(f"the file cannot be written: {_why(error)}{where}", path) from error


def _too_large(size: int, limits: Limits) -> str:
    return (
        f"the file has {size:,} bytes; at most {limits.max_file_size:,} are read, "
        "raise `max_file_size` if you trust it"
    )


def _why(error: OSError) -> str:
    """Returns the reason in words that do not repeat the path."""
    if error.errno == errno.ENOSPC:
        return "no space is left on the disk"
    return error.strerror or type(error).__name__
