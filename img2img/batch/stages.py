"""What is done with one file: decoding, processing, encoding, and what is told when one of them fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeAlias

from img2img.batch.clips import Clips
from img2img.batch.flow import Condition, Flow, Task
from img2img.batch.journal import UNCHANGED, Journal, left_as_edited
from img2img.batch.outputs import FALLBACKS
from img2img.batch.report import Result
from img2img.batch.work import Plan
from img2img.errors import ImageFitError, ImageWriteError, Img2ImgError, ProcessingError, display_path
from img2img.image import EncodeOptions, Image, Limits, decode, encode, fit_reason, prepare
from img2img.image.codec import check, is_copy, of_copy
from img2img.image.files import read_bytes
from img2img.image.formats import recognise
from img2img.image.image import UNTOUCHED
from img2img.video.stream import StoppedError

_logger = logging.getLogger(__name__)
LOST = "its result was removed together with its folder while this ran; the same command makes it anew"


Inspect: TypeAlias = Callable[[Image], Mapping[str, Any]]
"""Finds something out of a picture, JSON-able; called in several threads."""


class Processor(Protocol):
    """What a folder is put through: a model, an operation, a chain of them. It is called in one thread.

    One that needs companions has an attribute `conditions`, their names, and takes them by name: each is a
    sequence, as long as `images`, of images or of tuples of numbers. Files whose companions differ in size
    never share a call. One that chooses a model for each picture has a method `settled` that takes some
    frames of a video and returns a processor which does the same with all of them.
    """

    def group_key(self, image: Image) -> Hashable:
        """Images with one key may share a call; None stays alone."""

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns one image for each of `images`, in order; the given ones are not changed."""


class Stages:
    """The loops of the threads.

    Args:
        flow: Where tasks come from and go to.
        plan: What is done.
        process: Called in `processor_loop` only.
        journal: What earlier runs did.
        limits: What is refused before it is decoded.
        options: How results are stored.
        inspect: Asked about every source.
        clips: Does what is different with videos.
    """

    def __init__(
        self,
        flow: Flow,
        plan: Plan,
        process: Processor,
        journal: Journal,
        limits: Limits,
        options: EncodeOptions,
        inspect: Inspect | None,
        clips: Clips,
    ) -> None:
        self._flow = flow
        self._plan = plan
        self._process = process
        self._journal = journal
        self._limits = limits
        self._options = options
        self._inspect = inspect
        self._clips = clips
        self._kept: dict[tuple[Path, Hashable], Image] = {}

    def lost(self) -> Iterator[Result]:
        """Yields the failures of files that were done and are gone again; when all loops have returned."""
        lost = self._journal.lost()
        named = {str(item.source.absolute()): item.source for item in self._plan.items} if lost else {}
        for record in lost:
            source = named.get(record.source, Path(record.source))
            yield Result(source, None, "failed", LOST, lost=True)

    def close(self) -> None:
        """To be called when all loops have returned."""
        self._journal.close()

    def codec_loop(self) -> None:
        """Decodes and encodes until nothing is left."""
        while (step := self._flow.next_task()) is not None:
            task, is_result = step
            stage = self._encode if is_result else self._decode
            stage(task)

    def processor_loop(self) -> None:
        """Groups and processes until nothing is left."""
        while (step := self._flow.next_images()) is not None:
            tasks, is_group = step
            if is_group:
                self._process_group(tasks)
            else:
                self._find_group(tasks[0])

    # --- decoding

    def _decode(self, task: Task) -> None:
        image = result = None
        companions: dict[str, Condition] = {}
        try:
            with _timed(task, "decode"):
                result = self._up_to_date(task)
                if result is None:
                    data = b""
                    if task.item.is_video:
                        task.clip = self._clips.open(task.item)
                    else:
                        data = read_bytes(task.item.source, self._limits)
                    unread = self._read_companions(task, companions)
                    size = task.clip.size if task.clip else _decoded_size(data, self._limits)
                    for name, each in unread.items():
                        with _companion(name, task):
                            size += _decoded_size(each, self._limits)
                    if not self._flow.reserve(task, size):
                        return
                    name = PurePosixPath(task.item.relative).with_suffix("").as_posix()
                    image = task.clip.image if task.clip else decode(data, self._limits, task.item.source)
                    image = image.replace(name=name)
                    task.pixels = image.height * image.width
                    task.warnings = image.warnings
                    task.found = self._inspect(image) if self._inspect else {}
                    self._decode_companions(task, unread, companions)
        except Exception as error:  # noqa: BLE001  whatever it is, it concerns this file alone
            image, result = None, _failure(task, error)
        self._flow.decoded(task, image, companions)
        if result is not None:
            self._flow.emit(result)

    def _read_companions(self, task: Task, companions: dict[str, Condition]) -> dict[str, bytes]:
        """Returns the content of the files that have to be decoded; the others go into `companions`."""
        unread = {}
        for name, place in task.item.companions.items():
            if isinstance(place, tuple):
                companions[name] = place
            elif (kept := self._kept.get((place, _state(task, name)))) is not None:
                companions[name] = kept
            else:
                with _companion(name, task):
                    unread[name] = read_bytes(place, self._limits)
        return unread

    def _decode_companions(
        self, task: Task, unread: dict[str, bytes], companions: dict[str, Condition]
    ) -> None:
        for name, data in unread.items():
            place = task.item.companions[name]
            assert isinstance(place, Path)
            with _companion(name, task):
                companions[name] = image = decode(data, self._limits, place)
            if place in self._plan.shared:
                self._kept[place, _state(task, name)] = image

    def _up_to_date(self, task: Task) -> Result | None:
        item = task.item
        task.fingerprint = self._journal.fingerprint(item)
        if item.is_video and self._clips.is_done(task):
            return Result(item.source, item.output, "skipped", UNCHANGED, (), task.ms)
        path = self._journal.stored(item)
        verdict = self._journal.check(item, task.fingerprint, path)
        if verdict == "go":
            return None
        warnings = (left_as_edited(path),) if verdict == "edited" else ()
        made_by = self._journal.made_by(path)
        return Result(item.source, path, "skipped", UNCHANGED, warnings, task.ms, made_by=made_by)

    # --- processing

    def _find_group(self, task: Task) -> None:
        assert task.image is not None
        try:
            key = None if task.clip else self._process.group_key(task.image)
            hash(key)
            if key is not None and task.companions:
                key = (key, *((name, _shape(each)) for name, each in sorted(task.companions.items())))
        except Exception as error:  # noqa: BLE001
            self._flow.processed([task], [None])
            self._flow.emit(_failure(task, error))
        else:
            self._flow.join_group(task, key)

    def _process_group(self, tasks: Sequence[Task]) -> None:
        if tasks[0].clip is not None:
            self._process_clip(tasks[0])
            return
        started = time.perf_counter()
        outcomes = self._attempt(tasks)
        if outcomes is None:  # one by one, so that only the culprit fails
            outcomes = []
            for task in tasks:
                outcomes += self._attempt([task]) or []
        share = (time.perf_counter() - started) * 1e3 / len(tasks)
        for task, outcome in zip(tasks, outcomes, strict=True):
            task.ms["process"] = share
            if isinstance(outcome, Image):
                task.made_by = outcome.made_by
                task.warnings = tuple(dict.fromkeys((*task.warnings, *outcome.warnings)))
        self._flow.processed(tasks, [image if isinstance(image, Image) else None for image in outcomes])
        for outcome in outcomes:
            if isinstance(outcome, Result):
                self._flow.emit(outcome)

    def _process_clip(self, task: Task) -> None:
        image = failure = None
        try:
            image = self._clips.convert(task, self._process, self._call_with)
        except StoppedError:
            pass  # what is left over has no result
        except Exception as error:  # noqa: BLE001
            failure = _failure(task, error)
        self._flow.processed([task], [image])
        if failure is not None:
            self._flow.emit(failure)

    def _attempt(self, tasks: Sequence[Task]) -> Sequence[Image | Result] | None:
        """Returns the results of one call, the failure of a single image, or None for a failed group."""
        try:
            return self._call(tasks)
        except Exception as error:  # noqa: BLE001
            return [_failure(tasks[0], error)] if len(tasks) == 1 else None

    def _call(self, tasks: Sequence[Task]) -> list[Image]:
        images = [task.image for task in tasks if task.image is not None]
        return self._call_with(images, [task.companions for task in tasks])

    def _call_with(
        self,
        images: Sequence[Image],
        companions: Sequence[Mapping[str, Condition]],
        processor: Processor | None = None,
    ) -> list[Image]:
        conditions = {name: [each[name] for each in companions] for name in self._plan.conditions}
        process: Callable[..., list[Image]] = processor or self._process
        results = process(images, **conditions)
        if not isinstance(results, (list, tuple)):
            raise ProcessingError(
                f"the processor returned {type(results).__name__} instead of a list of images."
            )
        if len(results) != len(images):
            raise ProcessingError(f"the processor returned {len(results)} images for {len(images)}.")
        for result in results:
            if not isinstance(result, Image):
                raise ProcessingError(f"the processor returned {type(result).__name__} instead of an image.")
        return list(results)

    # --- encoding

    def _encode(self, task: Task) -> None:
        item, pixels = task.item, task.pixels
        try:
            with _timed(task, "encode"):
                assert task.image is not None and task.fingerprint is not None
                data: bytes | Callable[[BinaryIO], None] | None
                if self._clips.is_stored(task):
                    data, path = b"", item.output
                elif task.clip is not None:
                    path, extension = self._clips.destination(task)
                    data = self._clips.writer(task, extension)
                else:
                    path, extension = self._destination(task)
                    data = self._copied(task, extension)
                    if data is not None:
                        task.warnings = of_copy(task.warnings)
                if data is None:
                    image = prepare(task.image, extension, self._options)
                    task.warnings = tuple(dict.fromkeys((*task.warnings, *image.warnings)))
                    data = encode(image, extension, self._options)
                    del image
                self._flow.encoded(task)
                video = self._clips.facts(task)
                if not self._clips.is_stored(task):
                    self._store(data, task, path, video)
                self._clips.clear(task)
            result = Result(
                item.source,
                path,
                "done",
                "",
                task.warnings,
                task.ms,
                pixels,
                found=task.found,
                made_by=task.made_by,
                video=video,
            )
        except Exception as error:  # noqa: BLE001
            result = _failure(task, error)
        self._flow.encoded(task)
        self._flow.emit(result)

    def _copied(self, task: Task, extension: str) -> bytes | None:
        """Returns the source itself, where its picture was left untouched and may stay in this file."""
        assert task.image is not None and task.fingerprint is not None
        if task.made_by != UNTOUCHED:
            return None
        data = read_bytes(task.item.source, self._limits)
        same = self._journal.fingerprint(task.item).matches(task.fingerprint)  # what was decoded
        return data if same and is_copy(data, extension, self._options) else None

    def _store(
        self,
        data: bytes | Callable[[BinaryIO], None],
        task: Task,
        path: Path,
        video: Mapping[str, Any],
    ) -> None:
        """Stores a result.

        Raises:
            ImageWriteError: It could not be written, or something stands there that may not be replaced.
        """
        assert task.fingerprint is not None
        for again in (False, True):
            _make_folder(path.parent)
            try:
                return self._journal.store(data, task.item, task.fingerprint, path, task.made_by, video)
            except ImageWriteError as error:
                if again or not isinstance(error.__cause__, FileNotFoundError):
                    raise  # otherwise somebody has just removed the folder

    def _destination(self, task: Task) -> tuple[Path, str]:
        """Returns where the result goes, and its format; notes it when that is not what was planned.

        Raises:
            ImageFitError: No format that may be taken can hold it.
        """
        assert task.image is not None
        item = task.item
        extension = item.output.suffix.lower()
        reason = fit_reason(task.image, extension)
        if reason is None:
            return item.output, extension
        for fallback in FALLBACKS:
            if fit_reason(task.image, fallback) is None:
                path = item.output.with_name(item.output.name + fallback)
                if not self._plan.is_free(path):
                    raise ImageFitError(
                        f"{reason}; the name {display_path(path.name)} is already that of another file. "
                        "Choose a format for all outputs with `extension`, or add a `suffix`"
                    )
                task.warnings += (f"it was stored as {display_path(path.name)}: {reason}",)
                return path, fallback
        raise ImageFitError(f"{reason}, and no other format can hold it either")


def _state(task: Task, name: str) -> Hashable:
    """Returns what the companion called `name` was when this task began."""
    assert task.fingerprint is not None
    return dict(task.fingerprint.companions)[name]


def _shape(companion: Condition) -> Hashable:
    if isinstance(companion, tuple):
        return len(companion)
    return companion.pixels.shape, companion.pixels.dtype, companion.alpha is None


@contextmanager
def _companion(name: str, task: Task) -> Iterator[None]:
    """Lets a failure say that it is a companion which cannot be read, and not the source."""
    try:
        yield
    except Exception as error:
        place = display_path(str(task.item.companions[name]))
        raise ProcessingError(f"its {name}, {place}: {_reason(error)}") from error


def _decoded_size(data: bytes, limits: Limits) -> int:
    """Returns the bytes that the picture in `data` is going to take, 16 bits counted as 8, by its header.

    Raises:
        ImageLimitError: It is larger than allowed.
    """
    try:
        header = recognise(data).probe(data)
    except Exception:  # noqa: BLE001  decoding will tell what is wrong with it
        return max(len(data), 1)
    check(header, len(data), limits)
    return header.width * header.height * header.channels


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageWriteError(
            f"the folder {display_path(folder)} cannot be made: {error.strerror or error}"
        ) from error


@contextmanager
def _timed(task: Task, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        task.ms[stage] = (time.perf_counter() - started) * 1e3


def _failure(task: Task, error: Exception) -> Result:
    if not isinstance(error, (Img2ImgError, OSError, MemoryError)):
        _logger.debug("unexpected failure on %s", display_path(task.item.source), exc_info=error)
    source, reason = task.item.source, _reason(error)
    return Result(source, None, "failed", reason, task.warnings, task.ms, task.pixels, found=task.found)


def _reason(error: Exception) -> str:
    if isinstance(error, Img2ImgError):
        return str(getattr(error, "reason", error))
    if isinstance(error, MemoryError):
        return "there is not enough memory for this picture"
    if isinstance(error, OSError) and error.strerror:
        where = f" ({display_path(error.filename)})" if isinstance(error.filename, str) else ""
        return f"{error.strerror}{where}"
    return f"unexpected {type(error).__name__}: {error}"
