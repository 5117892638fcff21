"""Whether a file has to be done, and whether its output may be written: the rules of resuming."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal

from img2img.batch.fingerprint import Fingerprint, settings_keys
from img2img.batch.manifest import Manifest, OutputRecord, OutputState
from img2img.batch.remote_manifest import open_manifest
from img2img.batch.work import Item, Plan
from img2img.errors import ImageWriteError, display_path
from img2img.files import file_digest
from img2img.image.files import write_file
from img2img.remote import RemotePath, place
from img2img.video import CONTAINERS

UNCHANGED = "it is up to date"
_FOREIGN = (
    "a file that img2img did not write stands at {path}; it was not touched. Move it away, choose another "
    "output folder, or allow replacing it with `overwrite`"
)
_TAKEN = (
    "there is {path} already, and of a single file as output nothing is remembered; it was not touched. Name "
    "another, give a folder as output, or allow replacing it with `overwrite`"
)
_EDITED = (
    "{path} was changed after img2img wrote it, and would have to be made anew now; it was not touched. Move "
    "it away, or allow replacing it with `overwrite`"
)
_OF_ANOTHER = (
    "{path} was made from {source}, which is another file; it was not touched. Choose another output folder, "
    "or allow replacing it with `overwrite`"
)
_NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


class Journal:
    """Decides by what earlier runs left, and keeps track of what this one does; thread-safe.

    With a single file as output there is no place for a manifest: nothing is remembered, and a file that
    stands there is only replaced with `overwrite`.

    Args:
        plan: What is to be done.
        settings: Everything that results depend on besides the source; see `settings_keys`.
        overwrite: Outputs that are not ours may be replaced.
        checksum: Sources are compared by their content.
        of_videos: As `settings`, for videos and animations.
        manifest: What earlier runs left; None reads it.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Mapping[str, Any],
        overwrite: bool,
        checksum: bool,
        of_videos: Mapping[str, Any] = _NO_SETTINGS,
        manifest: Manifest | None = None,
    ) -> None:
        self._pictures, self._videos = settings_keys(settings), settings_keys(of_videos)
        self._animations = settings_keys({**settings, **of_videos})  # which are pictures in a row
        self._overwrite = overwrite
        self._checksum = checksum
        self._manifest = manifest
        if manifest is None and plan.root is not None:
            self._manifest = open_manifest(plan)

    def lost(self) -> list[OutputRecord]:
        """Returns what this run has stored and somebody has removed since, with the folder around it."""
        return [] if self._manifest is None else self._manifest.lost()

    def close(self) -> None:
        """Stores the manifest safely."""
        if self._manifest is not None:
            self._manifest.close()

    def fingerprint(self, item: Item) -> Fingerprint:
        """Returns what tells later whether the files of `item` have changed; take it before reading them.

        Raises:
            OSError: One cannot be examined.
        """
        return Fingerprint.of(item.source, self._checksum, item.companions)

    def stored(self, item: Item) -> Path:
        """Returns where an earlier run stored the result of `item`, or where it is planned."""
        return item.output if self._manifest is None else self._manifest.find(item.output)

    def made_by(self, path: Path) -> str:
        """Returns which of several models made what is stored at `path`, where that is known."""
        return "" if self._manifest is None else self._manifest.made_by(path)

    def check(self, item: Item, source: Fingerprint, path: Path) -> Literal["go", "unchanged", "edited"]:
        """Tells whether `item` has to be done, its result being stored at `path`.

        Returns:
            "go": yes. "unchanged": it is up to date. "edited": it would be, had not somebody edited it.

        Raises:
            ImageWriteError: Something stands there that may not be replaced.
        """
        state, record = self._examine(path)
        if record is not None and self._is_of_another(record, item.source):
            return self._allowed(_OF_ANOTHER, path, display_path(record.source))
        current = (
            record is not None
            and record.settings == self.settings_of(item).get(record.made_by)
            and source.matches(record.fingerprint)
        )
        if state is OutputState.OURS:
            return "unchanged" if current else "go"
        if state is OutputState.EDITED:
            if current and not self._overwrite:
                return "edited"
            return self._allowed(_EDITED, path)
        if state is not OutputState.FOREIGN:
            return "go"
        return self._allowed(_TAKEN if self._manifest is None else _FOREIGN, path)

    def settings_of(self, item: Item) -> dict[str, str]:
        """Returns what tells that a result was made in another way, by the `made_by` of results."""
        if not item.is_video:
            return self._pictures
        return self._videos if item.output.suffix.lower() in CONTAINERS else self._animations

    def store(
        self,
        data: bytes | Callable[[BinaryIO], None],
        item: Item,
        source: Fingerprint,
        path: Path,
        made_by: str = "",
        video: Mapping[str, Any] = _NO_SETTINGS,
    ) -> None:
        """Writes `data` to `path` and notes it with what made it; the file is complete or absent at any time.

        Args:
            data: The content, or what writes it into a file that is open for reading and writing.
            item, source: What it was made of.
            path: Where it goes.
            made_by: See `Image`.
            video: What there is to say of a video, JSON-able.

        Raises:
            ImageWriteError: It could not be written, or something stands there that may not be replaced.
        """
        self.check(item, source, path)
        seen = _stamp(path)
        manifest, size, digest = self._manifest, 0, ""
        record: OutputRecord | None = None

        def write(file: BinaryIO) -> None:
            nonlocal size, digest
            if callable(data):
                data(file)
                file.flush()
                size, digest = file.seek(0, os.SEEK_END), file_digest(file.name)
            else:
                file.write(data)
                size, digest = len(data), hashlib.sha256(data).hexdigest()

        def before_replace() -> None:
            nonlocal record
            self._check_same(path, seen)
            if manifest is not None:
                record = OutputRecord(
                    output=manifest.relative(path),
                    planned=manifest.relative(item.output),
                    source=str(item.source.absolute()),
                    fingerprint=source,
                    settings=self.settings_of(item).get(made_by, ""),
                    size=size,
                    digest=digest,
                    time_ns=time.time_ns(),
                    made_by=made_by,
                    video=video,
                )
                manifest.begin(record)

        write_file(write, path, before_replace=before_replace)
        if manifest is not None and record is not None:
            manifest.stored(record, path)

    def withdraw(self, source: Path, path: Path) -> bool:
        """Removes the file at `path` if an earlier run made it from `source` and nobody has changed it since.

        Returns:
            Whether it was removed; a file of anybody else is never touched.

        Raises:
            OSError: It cannot be removed.
        """
        state, record = self._examine(path)
        if state is not OutputState.OURS or record is None or record.source != str(source.absolute()):
            return False
        path.unlink()
        return True

    def _examine(self, path: Path) -> tuple[OutputState, OutputRecord | None]:
        if self._manifest is not None:
            return self._manifest.examine(path)
        there = path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)
        return (OutputState.FOREIGN if there else OutputState.ABSENT), None

    def _allowed(self, sentence: str, path: Path, source: str = "") -> Literal["go"]:
        if not self._overwrite:
            raise ImageWriteError(sentence.format(path=display_path(path), source=source))
        return "go"

    def _is_of_another(self, record: OutputRecord, source: Path) -> bool:
        """Returns whether the output was made from a file that still exists and is not `source`."""
        if record.source == str(source.absolute()):
            return False
        try:
            return not source.samefile(place(record.source))
        except (OSError, ValueError):
            return False

    def _check_same(self, path: Path, seen: object) -> None:
        if not self._overwrite and _stamp(path) != seen:
            raise ImageWriteError(_FOREIGN.format(path=display_path(path)))


def left_as_edited(path: Path) -> str:
    """Returns the warning for an output that somebody has edited and that is otherwise up to date."""
    return f"{display_path(path)} was changed after img2img wrote it; it was left as it is"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    if isinstance(path, RemotePath):  # a store cannot look and write in one step
        return None
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
