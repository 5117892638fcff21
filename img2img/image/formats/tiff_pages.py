"""Which of the directories of a TIFF file is its picture."""

from __future__ import annotations

from collections.abc import Iterator

from img2img.errors import ImageFormatError
from img2img.image.formats.tiff_samples import PHOTOMETRIC
from img2img.image.ifd import BrokenDirectoryError, Directory, Reader

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _SUB_IFDS = 254, 255, 330
_ASIDE = 1 | 4 | 8  # bits of the subfile type: a smaller version, a mask, a depth map
_CAMERA_RAW = frozenset((32803, 34892))  # photometric: a colour filter array, and linear raw
_MOST = 100_001  # directories that are counted, more than any limit lets pass
_MOST_BELOW = 32


def pictures(reader: Reader) -> tuple[Directory, Directory, int]:
    """Returns the first directory, the one of the picture, and how many pictures there are.

    Smaller versions (thumbnails, the levels of a pyramid) and masks are no pictures of their own. Where such
    a one comes first, the picture is below it or follows.

    Raises:
        BrokenDirectoryError: The first directory cannot be read.
        ImageFormatError: The picture is what a camera's sensor saw.
    """
    first = reader.directory(reader.first)
    chain = [directory for directory in _following(reader, first) if not _is_aside(directory)]
    picture = first
    if _is_aside(first):
        below = (directory for directory in _below(reader, first) if not _is_aside(directory))
        picture = next(below, None) or next(iter(chain), first)
    if picture.number(PHOTOMETRIC, 0) in _CAMERA_RAW or reader.data[8:10] == b"CR":
        raise ImageFormatError(
            "this is a camera raw file (DNG or the like), which is not read; develop it first"
        )
    return first, picture, len(chain) + (not _is_aside(first)) or 1


def _following(reader: Reader, first: Directory) -> Iterator[Directory]:
    """Yields the directories after the first; a loop or a broken one ends it."""
    seen, at = {first.start}, first.next
    while at and at not in seen and len(seen) < _MOST:
        try:
            directory = reader.directory(at)
        except BrokenDirectoryError:
            return
        yield directory
        seen.add(at)
        at = directory.next


def _below(reader: Reader, directory: Directory) -> Iterator[Directory]:
    for at in directory.numbers(_SUB_IFDS)[:_MOST_BELOW]:
        try:
            yield reader.directory(at)
        except BrokenDirectoryError:
            continue


def _is_aside(directory: Directory) -> bool:
    return bool(directory.number(_SUBFILE_TYPE, 0) & _ASIDE) or directory.number(_OLD_SUBFILE_TYPE, 1) == 2
