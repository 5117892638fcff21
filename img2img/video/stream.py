"""Frames through a processor: decoded ahead in one thread, encoded behind in another."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from img2img.errors import ImageReadError, Img2ImgError, ProcessingError
from img2img.image import Image
from img2img.image.image import Pixels
from img2img.video.clip import Clip, Raw, frames
from img2img.video.colour import ToPictures
from img2img.video.encoding import SEGMENT
from img2img.video.options import VideoOptions
from img2img.video.smoothing import Smoother

T = TypeVar("T")
ProcessFrames = Callable[[Sequence[Image]], Sequence[Image]]
_MAX_QUEUED = 16  # frames that wait before and behind the processor
_EVERY = 0.2  # seconds between two words about how far it is


class Sink(Protocol):
    """Where results go: parts of a file (`img2img.video.segments.SegmentFolder`), or numbered pictures."""

    @property
    def frames(self) -> int:
        """How many are there."""

    @property
    def encoding(self) -> object | None:
        """How they are stored; None until `begin`."""

    def begin(self, clip: Clip, options: VideoOptions, extension: str, image: Image) -> None:
        """Chooses that by the first result."""

    def add(self, image: Image, pts: int, duration: int, held: int | None) -> None:
        """Adds the next."""

    def finish(self) -> None:
        """Says that there are no more."""

    def state(self) -> dict[str, Pixels]:
        """Returns what `keep_state` stored behind what is there."""

    def keep_state(self, arrays: Mapping[str, Pixels]) -> None:
        """Stores what results depend on behind the one that is about to be added."""


class StoppedError(Exception):
    """The run came to its end in the middle of a clip; what is finished is kept."""


@dataclass
class Converted:
    """What was done with a clip.

    Attributes:
        warnings: Sentences of frames.
        made_by: Of the results, see `Image`.
        seconds: That decoding, processing and encoding took, by "decode", "process" and "encode"; they
            overlap.
        resumed: How many frames an earlier run had finished.
    """

    warnings: dict[str, None]
    made_by: str
    seconds: dict[str, float]
    resumed: int


def convert(
    clip: Clip,
    options: VideoOptions,
    extension: str,
    process: ProcessFrames,
    group_key: Callable[[Image], Hashable],
    segments: Sink,
    *,
    name: str = "",
    batch_size: int = 8,
    group_bytes: int = 1 << 24,
    memory: int = 1 << 28,
    halted: Callable[[], bool] = lambda: False,
    show: Callable[[str], None] = lambda text: None,
) -> Converted:
    """Puts the frames of `clip` through `process`, and their results into `segments`.

    Args:
        clip: The source.
        options: How it is read and stored.
        extension: Of the result's container.
        process: Called in this thread, with frames that have one key, in order.
        group_key: What frames that share a call must agree in; None stays alone.
        segments: Where results go; what is in there is not done again.
        name: What pictures are called, see `Image`; each frame gets its number behind it.
        batch_size: Largest number of frames in a call.
        group_bytes: A group that has so many bytes is not joined by more.
        memory: Bytes of frames that wait between the threads.
        halted: Whether to stop; asked before each call.
        show: Called with how far it is.

    Raises:
        StoppedError: `halted` said so.
        Img2ImgError: A frame could not be decoded, processed or stored; the message names it.
    """
    done = segments.frames
    notes: list[str] = []
    result = Converted({}, "", {"decode": 0.0, "process": 0.0, "encode": 0.0}, done)
    queued = max(
        2, min(_MAX_QUEUED, memory // 4 // max(clip.width * clip.height * 3 * (1 + (clip.bits > 8)), 1))
    )
    smoother = Smoother(options.smooth, segments.state()) if options.smooth else None
    pictures = _pictures(clip, options, done, name, notes, result.seconds)
    progress = _Pace(clip, options, done, show)

    def encode(item: tuple[Image, Raw, Mapping[str, Pixels]]) -> None:
        image, raw, state = item
        started = time.perf_counter()
        if state:
            segments.keep_state(state)
        segments.add(image, raw.pts, raw.duration, raw.index if raw.held else None)
        result.seconds["encode"] += time.perf_counter() - started

    with closing(_Ahead(pictures, queued)) as ahead, closing(_Behind(encode, queued)) as behind:
        for group in _grouped(ahead, group_key, batch_size, group_bytes):
            if halted():
                raise StoppedError
            started = time.perf_counter()
            made = _attempt(process, group)
            for (source, raw), image in zip(group, made, strict=True):
                if smoother is not None:
                    image = smoother(source, image)
                if segments.encoding is None:
                    segments.begin(clip, options, extension, image)
                result.warnings.update(dict.fromkeys(image.warnings))
                result.made_by = image.made_by
                done += 1
                ends = smoother is not None and done % SEGMENT == 0  # a segment
                behind.put((image, raw, smoother.state if smoother is not None and ends else {}))
            result.seconds["process"] += time.perf_counter() - started
            progress.at(done)
        behind.finish()
    segments.finish()
    result.warnings.update(dict.fromkeys(notes))
    return result


def _pictures(
    clip: Clip, options: VideoOptions, done: int, name: str, notes: list[str], seconds: dict[str, float]
) -> Iterator[tuple[Image, Raw]]:
    """Yields the frames that are not done yet."""
    to_picture = converter(clip)
    size = (clip.width, clip.height)
    started = time.perf_counter()
    for place, raw in enumerate(frames(clip, options, notes)):
        if place < done:
            continue
        if (raw.frame.width, raw.frame.height) != size:
            raise ImageReadError(
                f"its size changes at frame {raw.index}, from {size[0]} x {size[1]} to {raw.frame.width} x "
                f"{raw.frame.height}; frames of a video have one size",
                clip.path,
            )
        image = to_picture(raw.frame).replace(name=f"{name}/{raw.index:06d}")
        seconds["decode"] += time.perf_counter() - started
        yield image, raw
        started = time.perf_counter()


def converter(clip: Clip) -> Callable[[Any], Image]:
    """Returns what makes pictures of the frames of `clip`."""
    if clip.read is None:
        return ToPictures(clip.colours, clip.orientation)
    return lambda image: image


def _grouped(
    pictures: Iterator[tuple[Image, Raw]], group_key: Callable[[Image], Hashable], size: int, most: int
) -> Iterator[list[tuple[Image, Raw]]]:
    """Yields frames that follow each other and may share a call."""
    group: list[tuple[Image, Raw]] = []
    last: Hashable = None
    for image, raw in pictures:
        key = group_key(image)
        if group and (key is None or key != last):
            yield group
            group = []
        group.append((image, raw))
        last = key
        if key is None or len(group) == size or len(group) * image.pixels.nbytes >= most:
            yield group
            group = []
    if group:
        yield group


def _attempt(process: ProcessFrames, group: list[tuple[Image, Raw]]) -> Sequence[Image]:
    try:
        return process([image for image, _ in group])
    except Img2ImgError as error:
        first, last = group[0][1].index, group[-1][1].index
        which = f"frame {first}" if first == last else f"frames {first} to {last}"
        raise ProcessingError(f"{which}: {getattr(error, 'reason', error)}") from error


class _Pace:
    """Tells how far a clip is."""

    def __init__(self, clip: Clip, options: VideoOptions, done: int, show: Callable[[str], None]) -> None:
        start, stop = options.frames
        ends = [end for end in (stop, clip.count) if end is not None]
        self._total = max(min(ends) - start, 0) if ends else 0
        self._name = clip.path.name
        self._before = done
        self._show = show
        self._started = self._shown = time.monotonic()

    def at(self, done: int) -> None:
        """Shows it, unless that was just done."""
        now = time.monotonic()
        if now - self._shown < _EVERY:
            return
        self._shown = now
        rate = (done - self._before) / max(now - self._started, 1e-9)
        text = f"{self._name}: frame {done}"
        if self._total:
            left = max(self._total - done, 0) / max(rate, 1e-9)
            text += f" of {self._total}, {rate:.1f}/s, {_duration(left)} left"
        else:
            text += f", {rate:.1f}/s"
        self._show(text)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Ahead(Generic[T]):
    """Takes things out of an iterator in a thread of its own, a few ahead."""

    def __init__(self, things: Iterator[T], size: int) -> None:
        self._things = things
        self._queue: queue.Queue[T | _End] = queue.Queue(size)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="img2img-frames", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end = _End()
        try:
            for thing in self._things:
                if not _put(self._queue, thing, self._closed):
                    break
        except BaseException as error:  # noqa: BLE001  it is raised again, in the thread that asks
            end = _End(error)
        finally:
            close = getattr(self._things, "close", None)
            if close is not None:
                close()
        _put(self._queue, end, self._closed)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        thing = self._queue.get()
        if isinstance(thing, _End):
            self._queue.put(thing)
            if thing.error is not None:
                raise thing.error
            raise StopIteration
        return thing

    def close(self) -> None:
        self._closed.set()
        self._thread.join()


class _Behind(Generic[T]):
    """Does something with things that are handed over, in a thread of its own."""

    def __init__(self, do: Callable[[T], None], size: int) -> None:
        self._do = do
        self._queue: queue.Queue[T | _End] = queue.Queue(size)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="img2img-encode", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                try:
                    thing = self._queue.get(timeout=0.1)
                except queue.Empty:
                    continue
                if isinstance(thing, _End):
                    return
                self._do(thing)
        except BaseException as error:  # noqa: BLE001  it is raised again, in the thread that hands over
            self._error = error
            self._closed.set()

    def put(self, thing: T) -> None:
        if not _put(self._queue, thing, self._closed) and self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Waits until everything is done."""
        _put(self._queue, _End(), self._closed)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._closed.set()
        self._thread.join()


def _put(place: queue.Queue[Any], thing: object, closed: threading.Event) -> bool:
    """Waits for room and returns whether there was some before it was closed."""
    while not closed.is_set():
        try:
            place.put(thing, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
