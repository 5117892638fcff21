"""Pictures for a page: made small enough that all of them together stay below a number of bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import PIL.Image

from img2img.image import read_image
from img2img.image.sheet import displayable

LARGEST_SIDE = 1024
_SMALLEST_SIDE = 96
_QUALITY = 88
_EXACT = 2**16  # pixels; smaller pictures are kept as they are, so that single pixels can be told apart
_TRIES = 5


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture in a page.

    Attributes:
        source: A data URI.
        width, height: Of the file; the one in the page may be smaller.
        reduced: Whether it is.
    """

    source: str
    width: int
    height: int
    reduced: bool


class Purse:
    """Gives each of a number of pictures its share of the bytes that are left.

    Args:
        bytes_left: For all pictures together, as they stand in the page.
        count: How many will come; of what one leaves over the others have more.
    """

    def __init__(self, bytes_left: int, count: int) -> None:
        self.bytes_left, self.count = bytes_left, max(count, 1)
        self.reduced = 0

    def take(self, path: Path, side: int = LARGEST_SIDE) -> EmbeddedPicture:
        """Returns the picture in the file `path`, at most `side` pixels long and wide.

        Raises:
            ImageReadError: It cannot be read.
        """
        share = self.bytes_left // max(self.count, 1)
        self.count -= 1
        picture = _encoded(path, _stamp(path), side, _rounded(share))
        self.bytes_left -= len(picture.source)
        self.reduced += picture.reduced
        return picture


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _rounded(share: int) -> int:
    """Returns a share that is the same for nearly the same numbers: what was encoded is of use again."""
    return 1 << max(share.bit_length() - 1, 10)


@lru_cache(maxsize=64)
def _encoded(path: Path, stamp: tuple[int, int], side: int, share: int) -> EmbeddedPicture:
    """Encodes a file; a run that writes its report again and again has its older grids here."""
    shown = displayable(read_image(path))
    width, height = shown.size
    limit = min(side, max(width, height))
    data = b""
    for _ in range(_TRIES):
        small = _within(shown, limit)
        kind, data = _file(small, share * 3 // 4)
        if len(data) * 4 / 3 <= share or limit <= _SMALLEST_SIDE:
            break
        # bytes grow with the pixels, a little slower
        limit = max(_SMALLEST_SIDE, int(max(small.size) * min(0.9, (share * 3 / 4 / len(data)) ** 0.5)))
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return EmbeddedPicture(source, width, height, small.size != shown.size)


def _within(picture: PIL.Image.Image, limit: int) -> PIL.Image.Image:
    longest = max(picture.size)
    if longest <= limit:
        return picture
    size = [max(1, round(length * limit / longest)) for length in picture.size]
    return picture.resize((size[0], size[1]), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def _file(picture: PIL.Image.Image, most: int) -> tuple[str, bytes]:
    if picture.width * picture.height <= _EXACT:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        if stream.tell() <= most:
            return "png", stream.getvalue()
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, subsampling=0, optimize=False)
    return "jpeg", stream.getvalue()
