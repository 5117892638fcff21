"""Places that are no folders of this machine: s3://bucket/folder, and whatever else fsspec opens.

`place` tells them apart from paths. A `RemotePath` is a path to all who ask for its name, its parent or its
facts, and to those who read and write whole files; what only a disk has (links, locks, appending) it has not.
fsspec is an extra: `pip install img2img[remote]` brings it and s3fs; other stores need packages of their own.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from img2img.errors import UsageError, display_path

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/(?=/|[^/])", re.IGNORECASE)  # two letters: C: is a drive
_SPELT = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_ATOMIC = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory", "r2", "b2")
"""Stores that show a new object as a whole or not at all; others get it beside its name, and moved."""
_IN_ONE_PIECE = 2**26  # bytes; what is larger is not read into memory as a whole
_WHEN = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")


class Facts(NamedTuple):
    """What a store tells of an object: bytes, when it was written, and what it calls its content."""

    size: int
    mtime_ns: int
    etag: str = ""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Facts:
        """Returns those in what fsspec calls `info`."""
        written = next((info[key] for key in _WHEN if info.get(key)), 0.0)
        if isinstance(written, datetime):
            written = written.timestamp()
        if not isinstance(written, int | float):
            written = 0.0
        tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
        return cls(int(info.get("size") or 0), int(written * 1e9), tag.strip('"'))


def is_remote(*texts: str | os.PathLike[str]) -> bool:
    """Returns whether one of `texts` names a place that is no path of this machine."""
    found = [_SPELT.match(os.fspath(text)) for text in texts]
    return any(each is not None and each[1].lower() not in ("file", "local") for each in found)


def require_local(path: Path, what: str) -> None:
    """Makes sure that a path of this machine is meant, and not a store whose `//` became a `/` in it.

    Raises:
        UsageError: A store is.
    """
    scheme = path.parts[0] if path.parts else ""
    if _SPELT.match(f"{scheme}//") and not Path(scheme).is_dir():
        raise UsageError(
            f"{what} lies on this machine and is named by a path, not by {display_path(scheme)}//."
        )


def place(text: str | os.PathLike[str]) -> Path:
    """Returns the path or the remote place that `text` names; file:///x is the path /x.

    Raises:
        UsageError: A part of it is empty or made of dots, which a path would take for another place.
    """
    if isinstance(text, Path):
        return text
    text = os.fspath(text)
    found = _SPELT.match(text)
    if found is None:
        return Path(text)
    if not is_remote(text):
        return Path(text[found.end() :])
    rest = text[found.end() :].lstrip("/").removesuffix("/")
    if rest and not all(map(is_plain_part, rest.split("/"))):
        raise UsageError(
            f"{display_path(text)} cannot be named by a path: between two slashes of a store, nothing, . and "
            ".. are names of folders like others. Write one slash between two names, or rename the objects."
        )
    return RemotePath(text)


def is_plain_part(name: str) -> bool:
    """Returns whether a part of a key between two slashes can be one of a path."""
    return name not in ("", os.curdir, os.pardir)


def real_path(text: str | os.PathLike[str]) -> str:
    """Returns `text` without links; a remote place has none."""
    return os.fspath(text) if is_remote(text) else os.path.realpath(text)


class RemotePath(type(Path())):  # type: ignore[misc]  # of the system, before Python 3.12
    """An object of a store, or a folder of them; see `place`.

    Raises:
        OSError: Of what asks the store: it is not there, cannot be reached, or does not let us in.
        UsageError: Nothing that is installed opens such places.
    """

    facts: Facts | None = None
    """What the listing said, from which this comes."""

    def __str__(self) -> str:
        return _URL.sub(r"\1://", super().__str__(), count=1)

    def __fspath__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (str(self), self.facts)

    def is_top(self) -> bool:
        """Returns whether it is a bucket, or the store itself."""
        return len(self.parts) <= 2

    def lookup(self) -> Facts:
        """Returns what the store tells of this object now."""
        with self._asked() as (files, name):
            info = files.info(name)
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file", str(self))
        return Facts.of(info)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Returns size and time as of a regular file, by the listing where it comes from one."""
        facts = self.facts = self.facts or self.lookup()
        seconds = facts.mtime_ns / 1e9
        fields = (stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, facts.size, seconds, seconds, seconds)
        return os.stat_result(fields, {"st_mtime_ns": facts.mtime_ns})

    def lstat(self) -> os.stat_result:
        """Returns `stat`."""
        return self.stat()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Returns whether it is an object, or a folder with objects."""
        if self.is_top() or self.facts is not None:
            return True
        with self._asked() as (files, name):
            return bool(files.exists(name))

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Returns whether there are objects below it."""
        if self.facts is not None:
            return False
        with self._asked() as (files, name):
            return self.is_top() or bool(files.isdir(name))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Returns whether it is an object."""
        if self.facts is not None:
            return True
        with self._asked() as (files, name):
            return bool(files.isfile(name))

    def is_symlink(self) -> bool:
        """Returns False."""
        return False

    def absolute(self) -> RemotePath:
        """Returns itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Returns itself."""
        return self

    def samefile(self, other: str | os.PathLike[str]) -> bool:
        """Returns whether `other`, which must exist, is this one."""
        if not (there := place(other)).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(there))
        return str(there) == str(self)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing: folders come with what is put into them."""

    def open(self, mode: str = "rb", *_: Any, **__: Any) -> IO[Any]:
        """Returns the content, for reading bytes."""
        if mode != "rb":
            raise io.UnsupportedOperation(f"{self} is read as bytes, and written whole")
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """Returns the content."""
        with self._asked() as (files, name):
            return bytes(files.cat_file(name))

    def put(self, file: Path) -> None:
        """Stores the content of `file`, replacing what is there: in one step as far as the store has one."""
        if file.stat().st_size <= _IN_ONE_PIECE:
            self.write_whole(file.read_bytes())
        else:
            self._store(lambda files, name: files.put_file(str(file), name))

    def write_whole(self, data: bytes) -> None:
        """Stores `data` as `put` does."""
        self._store(lambda files, name: files.pipe_file(name, data))

    def _store(self, store: Callable[[Any, str], None]) -> None:
        with self._asked() as (files, name):
            if _scheme(self) in _ATOMIC:
                store(files, name)
                return
            folder = name.rpartition("/")[0]
            aside = f"{folder}/.img2img-{uuid.uuid4().hex[:12]}.part"
            files.makedirs(folder, exist_ok=True)
            try:
                store(files, aside)
                files.mv(aside, name)
            except BaseException:
                if files.exists(aside):
                    files.rm_file(aside)
                raise

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes this object."""
        with self._asked() as (files, name):
            if not missing_ok or files.exists(name):
                files.rm_file(name)

    def below(self) -> Iterator[tuple[str, Facts]]:
        """Yields all objects in this folder: their names below it, and what the store tells of them."""
        with self._asked() as (files, name):
            found = files.find(name, detail=True)
        start = len(name.rstrip("/")) + 1
        for key, info in found.items():
            if info.get("type") == "file" and len(key) > start and not key.endswith("/"):
                yield key[start:], Facts.of(info)

    @contextmanager
    def _asked(self) -> Iterator[tuple[Any, str]]:
        """Gives the file system and what it calls this place; whatever it raises becomes an OSError."""
        files = _files(_scheme(self))
        try:
            yield files, files._strip_protocol(str(self))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self)) from error
        except OSError as error:
            said = error.strerror or _sentence(error)  # those of stores often have no number
            kind = (
                type(error) if type(error).__module__ == "builtins" else OSError
            )  # others take what they like
            raise kind(error.errno or errno.EIO, said, str(self)) from error
        except Exception as error:  # of libraries for one store
            raise OSError(errno.EIO, _sentence(error), str(self)) from error


def _rebuilt(text: str, facts: Facts | None) -> RemotePath:
    path = RemotePath(text)
    path.facts = facts
    return path


def _scheme(path: RemotePath) -> str:
    return str(path).partition(":")[0].lower()


def _sentence(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@cache
def _files(scheme: str) -> Any:
    """Returns what opens the places of `scheme`. Settings come from the store's own files and environment.

    Raises:
        UsageError: It is not installed, or there is no such scheme.
    """
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(
            f"{scheme}:// needs fsspec, which cannot be imported ({error}): pip install 'img2img[remote]'."
        ) from None
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise UsageError(f"{scheme}:// cannot be opened: {error}.") from None
    except ValueError:
        known = ", ".join(sorted(fsspec.available_protocols()))
        raise UsageError(
            f"{display_path(scheme)}:// is no kind of place that fsspec knows; these are: {known}."
        ) from None
