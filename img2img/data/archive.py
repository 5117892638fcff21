"""Unpacking archives of strangers: nothing leaves the folder, no links, no more than was announced."""

from __future__ import annotations

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from img2img.errors import DownloadError, display_path
from img2img.image.discovery import is_system_file

_BLOCK = 1 << 20
_LARGEST_RATIO = 50  # pictures hardly shrink in an archive; a bomb grows a thousandfold and more
_SMALL = 64 * 2**20  # bytes that any archive may unpack to
_MOST_FILES = 2_000_000  # and folders
_DEEPEST = 50  # folders in folders
_LARGEST_HEADER = 2**20  # bytes of a long name and of what else describes one member of a tar
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        files: How many.
        bytes: How much.
        left_out: Names of links and special files, which are never made.
    """

    files: int
    bytes: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str  # file, folder or other
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Unpacks a zip or a tar (plain, gzip, bzip2, xz) into an existing empty folder.

    Permissions, owners and times are not taken over. Links and devices are left out; so are files that an
    operating system put there (`__MACOSX`, `.DS_Store`).

    Args:
        archive: The file; its content decides what it is.
        folder: Where its tree goes.

    Raises:
        DownloadError: It is no such archive or a broken one, a member would leave the folder, stands there
            twice or is a folder and a file, or it holds more than a data set can. What was unpacked stays.
        OSError: The disk does not take it.
    """
    limit = max(_LARGEST_RATIO * archive.stat().st_size, _SMALL)
    limit = min(limit, shutil.disk_usage(folder).free)
    entries = files = total = 0
    left_out = []
    try:
        with _members(archive) as members:
            for member in members:
                parts = _parts(member.name, archive)
                if member.kind == "other":
                    left_out.append(member.name)
                    continue
                if not parts or "__MACOSX" in parts or is_system_file(parts[-1]):
                    continue
                target = folder.joinpath(*parts)
                entries += 1
                if entries > _MOST_FILES:
                    raise _refused(archive, f"holds more than {_MOST_FILES:,} files")
                if len(parts) > _DEEPEST:
                    raise _refused(archive, f"holds folders in folders, more than {_DEEPEST} deep")
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                files += 1
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, target.open("xb") as file:
                    while block := source.read(_BLOCK):
                        total += len(block)
                        if total > limit:
                            raise _refused(
                                archive,
                                f"unpacks to more than {limit / 2**30:.1f} GiB: more than a data set of its "
                                "size can hold, or than the disk has left",
                            )
                        file.write(block)
    except (FileExistsError, NotADirectoryError):
        raise _refused(
            archive, "holds two files of one name, or of names that this disk takes for one"
        ) from None
    except _BROKEN as error:
        raise DownloadError(
            f"{display_path(archive)}: the archive is broken or of a kind that is not read "
            f"({display_path(str(error)[:200])}). "
            "Remove it and download it again."
        ) from error
    return Unpacked(files, total, tuple(left_out))


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield (_of_zip(opened, info) for info in opened.infolist())
        return
    with tarfile.open(
        archive, "r|*", tarinfo=_TarInfo
    ) as stream:  # a stream: nothing is read ahead of what is checked
        yield (_of_tar(stream, info) for info in stream)


class _TarInfo(tarfile.TarInfo):
    """A member of a tar whose description is not larger than a description is."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: Any, errors: str) -> _TarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.size > _LARGEST_HEADER and not info.isreg() and not info.isdir():
            raise tarfile.ReadError(f"the name of a member takes {info.size} bytes")
        return info


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    kind = "other" if special else "folder" if info.is_dir() else "file"
    return _Member(info.filename, kind, lambda: archive.open(info))


def _of_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def opened() -> IO[bytes]:
        stream = archive.extractfile(info)
        if stream is None:
            raise tarfile.ReadError(f"{info.name!r} has no content")
        return stream

    kind = "folder" if info.isdir() else "file" if info.isreg() else "other"
    return _Member(info.name, kind, opened)


def inner_parts(name: str) -> tuple[str, ...] | None:
    """Returns the folders and the file that a relative name means, or None if it leads out of its folder.

    A name is read as on any system: a backslash separates, and a drive leads out.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    parts = tuple(part for part in path.parts if part != ".")
    outside = path.is_absolute() or ".." in parts or "\0" in name
    return None if outside or (parts and re.match("[A-Za-z]:|.*:$", parts[0])) else parts


def _parts(name: str, archive: Path) -> tuple[str, ...]:
    parts = inner_parts(name)
    if parts is None:
        raise _refused(archive, f"holds the name {display_path(name)!r}, which leads out of its folder")
    return parts


def _refused(archive: Path, reason: str) -> DownloadError:
    return DownloadError(f"{display_path(archive)}: the archive {reason}; it is not used.")
