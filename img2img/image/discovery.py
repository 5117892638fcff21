"""The image files in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from img2img.image.files import is_part
from img2img.image.formats import READABLE

# Pictures of kinds that are not read: they are listed, so that opening them says so, rather than ignored.
REFUSED = frozenset(
    [
        ".jxl",
        ".svg",
        ".psd",
        ".psb",
        ".xcf",
        ".tga",
        ".ico",
        ".icns",
        ".cur",
        ".dds",
        ".exr",
        ".hdr",
        ".eps",
        ".ai",
        ".pdf",
        ".pcx",
        ".sgi",
        ".xbm",
        ".xpm",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".dng",
        ".raf",
        ".orf",
        ".rw2",
        ".jls",
        ".jxr",
        ".wdp",
        ".qoi",
        ".ora",
        ".kra",
    ]
)
CANDIDATES = READABLE | REFUSED

_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r"))
_SYSTEM_FOLDERS = frozenset(
    (
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "@eadir",
        ".trashes",
        ".spotlight-v100",
        ".fseventsd",
    )
)
_DIGITS = re.compile("([0-9]+)")


@dataclass(frozen=True)
class Found:
    """One finding of `discover`.

    Attributes:
        path: A file that may be an image, or a folder that could not be listed.
        problem: Why the folder could not be listed, as a sentence; None for a file.
    """

    path: Path
    problem: str | None = None


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Returns a sort key that puts "img2" before "img10"; no two names share one."""
    parts = _DIGITS.split(name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def is_system_file(name: str) -> bool:
    """Returns whether `name` belongs to an operating system or to us, and never is a user's picture."""
    return name.casefold() in _SYSTEM_FILES or name.startswith(("._", ".img2img")) or is_part(name)


def discover(
    folder: str | os.PathLike[str],
    recursive: bool = True,
    follow_symlinks: bool = False,
    everything: bool = False,
) -> Iterator[Found]:
    """Yields the image files below `folder`, in the natural order of their names, folder by folder.

    A file is a candidate when its extension is that of an image, readable or not; what it really is
    shows when it is opened. Pipes, devices and sockets are skipped, and so are system files.

    Args:
        folder: Where to look. The paths that are yielded start with it.
        recursive: Look into folders below it.
        follow_symlinks: Look behind symbolic links; a folder that can be reached twice is listed once.
        everything: Yield every regular file, whatever its extension.
    """
    seen: set[tuple[int, int]] = set()
    stack: list[Iterator[os.DirEntry[str]]] = []

    def enter(path: str) -> str | None:
        """Puts the sorted entries of `path` on the stack; returns what went wrong."""
        try:
            if follow_symlinks:
                status = os.stat(path)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in seen:
                    return None
                seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                stack.append(iter(sorted(entries, key=lambda entry: natural_key(entry.name))))
        except OSError as error:
            return f"the folder cannot be listed: {error.strerror or type(error).__name__}"
        return None

    problem = enter(os.fspath(folder))
    if problem is not None:
        yield Found(Path(folder), problem)
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        try:
            if entry.is_dir(follow_symlinks=follow_symlinks):
                name = entry.name.casefold()
                if recursive and name not in _SYSTEM_FOLDERS and not name.startswith(".img2img"):
                    problem = enter(entry.path)
                    if problem is not None:
                        yield Found(Path(entry.path), problem)
            elif (
                (everything or os.path.splitext(entry.name)[1].lower() in CANDIDATES)  # noqa: PTH122
                and not is_system_file(entry.name)
                and entry.is_file(follow_symlinks=follow_symlinks)
            ):
                yield Found(Path(entry.path))
        except OSError as error:
            yield Found(Path(entry.path), f"it cannot be examined: {error.strerror or type(error).__name__}")
