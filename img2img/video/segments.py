"""Finished parts of a result: an interrupted run goes on behind the last one.

A segment is two files: the packets one behind the other, and, written after them, a table of what they are.
Every segment comes from an encoder of its own, so what it holds depends on its frames alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from img2img.errors import ProcessingError
from img2img.files import replacing, sweep_parts, write_bytes
from img2img.image import Image
from img2img.image.image import Pixels
from img2img.video.clip import Clip
from img2img.video.encoding import SEGMENT, EncoderSettings, FrameEncoder, choose
from img2img.video.options import CONTAINERS, VideoOptions
from img2img.video.stills import StillSettings, choose_stills

_VERSION = 2


@dataclass(frozen=True)
class Segment:
    """A finished part.

    Attributes:
        pts: When each of its frames is shown, in ticks of the source, in that order.
        duration: Of the last of them, in ticks; 0 where it is not known.
        held: Indices, in the source, of those that stand for broken ones.
        packets: Of each: the frame it holds, its size in bytes, whether decoding may begin there.
        path: Of the bytes.
    """

    pts: list[int]
    duration: int
    held: list[int]
    packets: list[tuple[int, int, bool]]
    path: Path

    def read(self) -> Iterator[bytes]:
        """Yields the bytes of each packet.

        Raises:
            OSError: They cannot be read.
        """
        with self.path.open("rb") as file:
            for _, size, _ in self.packets:
                yield file.read(size)


class SegmentFolder:
    """The folder of segments of one result. Closing it in the middle keeps what is finished.

    Args:
        folder: Where they lie; of this result alone.
        key: JSON-able; those that were made with another one are thrown away.

    Attributes:
        done: The finished ones, in order.
        encoding: How frames are stored; None until that is known.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self._folder = folder
        self._key = json.loads(json.dumps({**key, "version": _VERSION, "segment": SEGMENT}))
        self.done: list[Segment] = []
        self.encoding: EncoderSettings | StillSettings | None = None
        self._frames: Callable[[Image], Any] | None = None
        self._open: _Unfinished | None = None
        if not self._resume():
            self.remove()
            folder.mkdir(parents=True)

    @property
    def frames(self) -> int:
        """How many frames are in finished segments."""
        return sum(len(segment.pts) for segment in self.done)

    @property
    def held(self) -> list[int]:
        """Indices, in the source, of frames that stand for broken ones."""
        return [index for segment in self.done for index in segment.held]

    def begin(self, clip: Clip, options: VideoOptions, extension: str, image: Image) -> None:
        """Chooses how frames are stored, once, before the first.

        Args:
            clip: The source.
            options: What was asked for.
            extension: Of the result.
            image: The first of it.

        Raises:
            ConfigError, ImageWriteError: It cannot be stored.
        """
        if extension in CONTAINERS:
            size = image.pixels.shape[:2] if clip.orientation < 5 else image.pixels.shape[1::-1]
            encoding: EncoderSettings | StillSettings
            encoding = choose(clip, options, extension, size, image.alpha is not None)
        else:
            encoding = choose_stills(clip, extension, image)
        encoding = replace(encoding, source_type=image.metadata.source_type)
        self.encoding = encoding
        text = json.dumps({"key": self._key, "encoding": encoding.to_json()})
        write_bytes(text.encode(), self._folder / "encoding.json")

    def add(self, image: Image, pts: int, duration: int, held: int | None) -> None:
        """Adds the next frame.

        Args:
            image: The picture, upright.
            pts: When it is shown, in ticks of the source.
            duration: How long, or 0.
            held: The index in the source of the broken frame that it stands for, or None.

        Raises:
            ProcessingError: It is not of the size of the others.
            ImageWriteError: It cannot be encoded.
            OSError: It cannot be stored.
        """
        assert self.encoding is not None
        if self._frames is None:
            self._frames = self.encoding.frames()
        if self._open is None:
            self._open = _Unfinished(self._path(len(self.done)), self.encoding)
        frame = self._frames(image)
        if (frame.width, frame.height) != (self.encoding.width, self.encoding.height):
            raise ProcessingError(
                f"its result has {frame.width} x {frame.height} pixels as it is stored, and those before "
                f"have {self.encoding.width} x {self.encoding.height}; frames of a video have one size"
            )
        self._open.add(frame, pts, duration, held)
        if len(self._open.pts) == SEGMENT:
            self.finish()

    def finish(self) -> None:
        """Ends the segment that frames were added to."""
        if self._open is not None:
            opened, self._open = self._open, None
            self.done.append(opened.finish())

    def keep_state(self, arrays: Mapping[str, Pixels]) -> None:
        """Stores what the frames behind the segment depend on whose last frame is about to be added."""
        with replacing(self._state(len(self.done) + 1)) as file:
            np.savez(file, allow_pickle=False, **arrays)
        self._state(len(self.done) - 1).unlink(missing_ok=True)

    def state(self) -> dict[str, Pixels]:
        """Returns what `keep_state` stored at the end of the last finished segment; empty without."""
        path = self._state(len(self.done))
        if not path.exists():
            return {}
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}

    def close(self) -> None:
        """Drops what is not finished."""
        if self._open is not None:
            self._open.drop()
            self._open = None

    def remove(self) -> None:
        """Removes the folder, and what is empty around it then."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for folder in (self._folder.parent, self._folder.parent.parent):
            with suppress(OSError):
                folder.rmdir()

    def _state(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.packets"

    def _resume(self) -> bool:
        """Takes over what an earlier run has finished, where it fits."""
        sweep_parts(self._folder)
        try:
            facts = json.loads((self._folder / "encoding.json").read_bytes())
            if facts["key"] != self._key:
                return False
            kind = StillSettings if "alpha" in facts["encoding"] else EncoderSettings
            self.encoding = kind.from_json(facts["encoding"])
            while (table := self._path(len(self.done)).with_suffix(".json")).exists():
                own = json.loads(table.read_bytes())
                packets = [(int(frame), int(size), bool(key)) for frame, size, key in own["packets"]]
                segment = Segment(
                    own["pts"], own["duration"], own["held"], packets, self._path(len(self.done))
                )
                if segment.path.stat().st_size != sum(size for _, size, _ in packets):
                    break
                self.done.append(segment)
                if len(segment.pts) < SEGMENT:
                    break
        except (OSError, KeyError, TypeError, ValueError):
            return False
        return True


class _Unfinished:
    """The segment that is being written."""

    def __init__(self, path: Path, encoding: EncoderSettings | StillSettings) -> None:
        self.pts: list[int] = []
        self._path = path
        self._encoder: FrameEncoder | StillSettings = encoding.opened()
        self._duration = 0
        self._held: list[int] = []
        self._packets: list[tuple[int, int, bool]] = []
        self._stack = ExitStack()
        self._file: BinaryIO = self._stack.enter_context(replacing(path))

    def add(self, frame: Any, pts: int, duration: int, held: int | None) -> None:
        self._write(self._encoder.encode(frame, len(self.pts)))
        self.pts.append(pts)
        self._duration = duration
        if held is not None:
            self._held.append(held)

    def finish(self) -> Segment:
        self._write(self._encoder.flush())
        self._stack.close()
        segment = Segment(self.pts, self._duration, self._held, self._packets, self._path)
        facts = {"pts": self.pts, "duration": self._duration, "held": self._held, "packets": self._packets}
        write_bytes(json.dumps(facts).encode(), self._path.with_suffix(".json"))
        return segment

    def drop(self) -> None:
        """Closes the file so that nothing is left of it."""
        with suppress(_DroppedError), self._stack:
            raise _DroppedError

    def _write(self, packets: list[tuple[int, bytes, bool]]) -> None:
        for frame, data, key in packets:
            self._file.write(data)
            self._packets.append((frame, len(data), key))


class _DroppedError(Exception):
    pass
