"""What is different with videos: frames stream through the processor, and one file is made of the results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from img2img.batch.journal import Journal
from img2img.batch.manifest import STATE_FOLDER
from img2img.batch.numbered import NumberedPictures
from img2img.batch.work import Item, Plan
from img2img.errors import ImageFitError, ImageWriteError, display_path
from img2img.image import EncodeOptions, Image, Limits
from img2img.image.image import UNTOUCHED
from img2img.video import is_video, stream
from img2img.video.animating import animate
from img2img.video.animation import open_animation
from img2img.video.assembly import assemble, fit_reason
from img2img.video.clip import Clip, frames, open_clip
from img2img.video.colour import ToPictures
from img2img.video.options import FALLBACK
from img2img.video.segments import SegmentFolder
from img2img.video.sequence import is_pattern, open_sequence
from img2img.video.stills import StillSettings

if TYPE_CHECKING:
    from img2img.batch.flow import Condition, Task
    from img2img.batch.stages import Processor

Call = Callable[[Sequence[Image], Sequence["Mapping[str, Condition]"], "Processor"], list[Image]]
_LOOKED_AT = 5  # frames, to choose a model for all
_IN_FLIGHT = 4  # frames that a video is counted with while it waits
_NAMED = 5  # broken frames in one sentence
_AS_IT_WAS = "its first frames need nothing of a model; all were stored anew as they are"


@dataclass
class OpenClip:
    """A video on its way.

    Attributes:
        clip: What it is.
        image: Its first frame.
        size: Bytes that it is counted with.
        segments: Its result, in parts, when there is one.
        converted: What was done.
    """

    clip: Clip
    image: Image
    size: int
    segments: SegmentFolder | NumberedPictures | None = None
    converted: stream.Converted | None = None


@dataclass(frozen=True)
class Batches:
    """Frames in a call, bytes from which a call is full, bytes of frames in flight."""

    size: int
    full: int
    memory: int


class Clips:
    """The stages of videos.

    Args:
        plan: What is done.
        journal: What earlier runs did.
        limits: What is refused before it is decoded.
        encoding: How pictures are stored, and so those of animations.
        batches: How many frames share a call.
        is_stopped: Whether to leave off in the middle.
        show: Called with how far a video is.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        limits: Limits,
        encoding: EncodeOptions,
        batches: Batches,
        is_stopped: Callable[[], bool],
        show: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._limits = limits
        self._encoding = encoding
        self._batches = batches
        self._is_stopped = is_stopped
        self._show = show

    def open(self, item: Item) -> OpenClip:
        """Returns what the video or animation of `item` is, with its first frame.

        Raises:
            ImageReadError: It is none, or the package that reads it is not installed.
        """
        if is_pattern(item.source):
            clip, image = open_sequence(item.source, self._plan.video.fps, self._limits)
        elif is_video(item.source.name):
            clip, first = open_clip(item.source, self._limits)
            image = ToPictures(clip.colours, clip.orientation)(first.frame)
        else:
            extension = item.output.suffix.lower()
            clip, image = open_animation(item.source, self._limits, extension)
        return OpenClip(clip, image, image.pixels.nbytes * _IN_FLIGHT)

    def convert(self, task: Task, process: Processor, call: Call) -> Image:
        """Puts all frames through `process`; returns the first one, which stands for all of them.

        Raises:
            StoppedError: The run ends.
            Img2ImgError: It could not be done; what is finished is kept for another run.
        """
        opened, item, companions = task.clip, task.item, task.companions
        process = self._settled(task, process)
        assert opened is not None and task.fingerprint is not None and task.image is not None
        key = {
            "source": task.fingerprint.to_json(),
            "settings": self._journal.settings_of(item),
            "extension": item.output.suffix.lower(),
        }
        try:
            opened.segments = segments = self._pictures(task) or SegmentFolder(self._place(item.output), key)
        except OSError as error:
            raise ImageWriteError(f"its parts cannot be stored: {error.strerror or error}") from error
        try:
            opened.converted = converted = stream.convert(
                opened.clip,
                self._plan.video,
                item.output.suffix.lower(),
                lambda images: call(images, [companions] * len(images), process),
                process.group_key,
                segments,
                name=PurePosixPath(item.relative).with_suffix("").as_posix(),
                batch_size=self._batches.size,
                group_bytes=self._batches.full,
                memory=self._batches.memory,
                halted=self._is_stopped,
                show=self._show,
            )
        finally:
            segments.close()
        for stage, seconds in converted.seconds.items():
            task.ms[stage] = task.ms.get(stage, 0.0) + seconds * 1e3
        task.made_by = converted.made_by
        task.pixels *= segments.frames
        assert segments.encoding is not None
        stored = segments.warnings if isinstance(segments, NumberedPictures) else segments.encoding.warnings
        sentences = [*opened.clip.notes, *stored, *converted.warnings, *_broken(segments.held)]
        if converted.made_by == UNTOUCHED:
            sentences.append(_AS_IT_WAS)
        task.warnings = tuple(dict.fromkeys((*task.warnings, *sentences)))
        return task.image

    def is_done(self, task: Task) -> bool:
        """Returns whether all frames of a video are there already that are to become numbered pictures."""
        pictures = self._pictures(task)
        return pictures is not None and pictures.is_whole

    def _pictures(self, task: Task) -> NumberedPictures | None:
        """Returns where the frames of `task` go if its output is a pattern."""
        item = task.item
        if not is_pattern(item.output):
            return None
        assert task.fingerprint is not None
        state = self._place(item.output).with_suffix(".json")
        continues = not self._plan.video.smooth
        return NumberedPictures(item, task.fingerprint, self._journal, self._encoding, state, continues)

    def _settled(self, task: Task, process: Processor) -> Processor:
        """Returns what does the same with all frames, where `process` chooses for each picture."""
        settle = getattr(process, "settled", None)
        if settle is None:
            return process
        assert task.clip is not None
        clip, images = task.clip.clip, []
        to_picture = stream.converter(clip)
        with closing(frames(clip, self._plan.video, [])) as source:
            for raw in islice(source, _LOOKED_AT):
                images.append(to_picture(raw.frame))
        settled: Processor = settle(images)
        return settled

    def destination(self, task: Task) -> tuple[Path, str]:
        """Returns where the result goes, and its container; notes it when that is not what was planned.

        Raises:
            ImageFitError: The other name is taken.
        """
        assert task.clip is not None and isinstance(task.clip.segments, SegmentFolder)
        path, segments = task.item.output, task.clip.segments
        assert segments.encoding is not None
        if isinstance(segments.encoding, StillSettings):
            return path, path.suffix.lower()
        reason = fit_reason(task.clip.clip, segments.encoding, segments.done, path.suffix.lower())
        if reason is None:
            return path, path.suffix.lower()
        path = path.with_name(path.name + FALLBACK)
        if not self._plan.is_free(path):
            raise ImageFitError(
                f"{reason}; the name {display_path(path.name)} is already that of another file. "
                "Choose a format for all videos with `extension`, or add a `suffix`"
            )
        task.warnings += (f"it was stored as {display_path(path.name)}: {reason}",)
        return path, FALLBACK

    def is_stored(self, task: Task) -> bool:
        """Returns whether the result is stored already, as numbered pictures are."""
        return task.clip is not None and isinstance(task.clip.segments, NumberedPictures)

    def writer(self, task: Task, extension: str) -> Callable[[BinaryIO], None]:
        """Returns what writes the result into a file."""

        def write(file: BinaryIO) -> None:
            opened = task.clip
            assert opened is not None and isinstance(opened.segments, SegmentFolder)
            segments = opened.segments
            assert segments.encoding is not None
            if isinstance(segments.encoding, StillSettings):
                warnings = animate(opened.clip, segments.encoding, segments.done, self._encoding, file)
            else:
                window = self._window(segments)
                warnings = assemble(
                    opened.clip, segments.encoding, segments.done, extension, window, file, self._encoding
                )
            task.warnings = tuple(dict.fromkeys((*task.warnings, *warnings)))

        return write

    def facts(self, task: Task) -> Mapping[str, Any]:
        """Returns what report and manifest say of a video that was converted; {} of a picture."""
        if task.clip is None or task.clip.segments is None:
            return {}
        clip, segments, converted = task.clip.clip, task.clip.segments, task.clip.converted
        assert segments.encoding is not None and converted is not None
        size = [segments.encoding.width, segments.encoding.height]
        if isinstance(segments, NumberedPictures):
            codec = segments.encoding.encoder
            facts = {"frames": segments.frames, "codec": codec, "size": size, "held": segments.held}
            return {**facts, "resumed": converted.resumed}
        shown = [pts for segment in segments.done for pts in segment.pts]
        last = segments.done[-1].duration or (shown[-1] - shown[-2] if len(shown) > 1 else 0)
        seconds = float((shown[-1] - shown[0] + last) * clip.time_base)
        return {
            "frames": len(shown),
            "fps": round(len(shown) / seconds, 3) if seconds else float(clip.rate),
            "seconds": round(seconds, 3),
            "codec": segments.encoding.encoder,
            "size": size,
            "held": segments.held,
            "resumed": converted.resumed,
        }

    def clear(self, task: Task) -> None:
        """Removes the parts of a result that is stored."""
        if task.clip is not None and isinstance(task.clip.segments, SegmentFolder):
            task.clip.segments.remove()

    def _place(self, output: Path) -> Path:
        """Returns the folder for the parts of the result `output`."""
        root = self._plan.root or output.parent
        name = output.relative_to(root).as_posix() if self._plan.root else output.name
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return root / STATE_FOLDER / "video" / digest

    def _window(self, segments: SegmentFolder) -> tuple[int, int | None] | None:
        """Returns the ticks that the chosen frames cover; None where these are all."""
        start, stop = self._plan.video.frames
        if not start and stop is None:
            return None
        last = segments.done[-1]
        return segments.done[0].pts[0] if start else min(segments.done[0].pts[0], 0), (
            None if stop is None else last.pts[-1] + max(last.duration, 1)
        )


def _broken(held: Sequence[int]) -> list[str]:
    if not held:
        return []
    shown = ", ".join(map(str, held[:_NAMED])) + (", ..." if len(held) > _NAMED else "")
    which = f"frame {shown} is" if len(held) == 1 else f"{len(held)} frames are"
    names = "" if len(held) == 1 else f" ({shown})"
    return [f"{which} broken{names}; the one before is shown in its place"]
