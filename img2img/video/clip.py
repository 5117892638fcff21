"""A video file: what it is, and its frames one after the other."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image import Limits
from img2img.video.colour import Colours
from img2img.video.library import load
from img2img.video.options import VideoOptions

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_LOST_FRAMES = 1.5  # of the last ones: what durations in headers are off by in whole files
_UNIT = 1 << 16  # in a display matrix
_ORIENTATIONS = {  # of EXIF, by what a display matrix does to right and to down
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


@dataclass(frozen=True)
class Clip:
    """What a video file says, and what its first frame shows.

    Attributes:
        path: The file.
        container: FFmpeg's name of its format.
        stream: Index of the video stream that is converted.
        codec: FFmpeg's name of its codec.
        width, height: Of frames as they are stored.
        format: FFmpeg's name of their pixel format.
        bits: Of each number in it.
        time_base: Seconds of one tick of the stream.
        rate: Frames a second on average.
        count: How many frames there may be, or None.
        seconds: Duration by the header, or None.
        matrix: The display matrix, nine numbers, where there is one.
        orientation: How frames have to be turned to be upright, as in EXIF; 1 where the matrix is none of
            right angles.
        aspect: Width of a pixel divided by its height, or None.
        colours: What the numbers mean.
        notes: Sentences about what is not kept.
        plays: How often it is shown in a row; 0 is for ever.
        read: Of what is no container: yields its frames, whose `frame` is a picture, and puts sentences about
            missing ones into the list that it is given.
    """

    path: Path
    container: str
    stream: int
    codec: str
    width: int
    height: int
    format: str
    bits: int
    time_base: Fraction
    rate: Fraction
    count: int | None
    seconds: float | None
    matrix: tuple[int, ...] | None
    orientation: int
    aspect: Fraction | None
    colours: Colours
    notes: tuple[str, ...] = ()
    plays: int = 1
    read: Callable[[list[str]], Iterator[Raw]] | None = None


@dataclass(frozen=True)
class Raw:
    """One frame on its way out of the decoder.

    Attributes:
        index: From 0, of all frames in the file.
        pts: When it is shown, in ticks of the stream.
        duration: How long, in ticks; 0 where it is not known.
        frame: PyAV's frame, or the picture itself (`Image`) where the source is no container.
        held: Whether it stands for one that is broken.
    """

    index: int
    pts: int
    duration: int
    frame: Any
    held: bool = False


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Opens a video file.

    Raises:
        ImageReadError: It cannot be opened, or holds nothing that is known.
    """
    av = load()
    try:
        if path.stat().st_size == 0:
            raise ImageReadError("the file is empty", path)
        container = av.open(str(path.absolute()), "r", metadata_errors="replace")
    except av.error.InvalidDataError as error:
        raise ImageFormatError(
            "this is not a video of a kind that is read, or its beginning or index is missing, as in a file "
            "that was not written to its end",
            path,
        ) from error
    except (OSError, av.error.FFmpegError) as error:
        raise ImageReadError(f"the file cannot be opened: {error.strerror or error}", path) from error
    with container:
        yield container


def open_clip(path: Path, limits: Limits) -> tuple[Clip, Raw]:
    """Returns what the video at `path` is, and its first frame.

    Raises:
        ImageReadError: It is no video, has no video stream, or none of its frames can be decoded.
        ImageLimitError: Its frames are larger than allowed.
    """
    with opened(path) as container:
        stream = _stream(container, path)
        limits.check(stream.width, stream.height, 4)
        if stream.codec_context is None or stream.codec_context.codec is None:
            raise ImageFormatError("its video stream is of a kind that is not read", path)
        first = next(_decoded(container, stream, VideoOptions()), None)
        if first is None:
            raise ImageReadError("none of its frames can be decoded", path)
        frame = first.frame
        matrix = _matrix(frame)
        shape = () if matrix is None else tuple(matrix[i] // _UNIT for i in (0, 1, 3, 4))
        if stream.time_base is None:
            raise ImageReadError("its video stream says nothing about time", path)
        seconds = _seconds(container, stream)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        clip = Clip(
            path,
            container.format.name,
            stream.index,
            stream.codec_context.codec.canonical_name,
            frame.width,
            frame.height,
            frame.format.name,
            max(component.bits for component in frame.format.components),
            stream.time_base,
            rate,
            stream.frames or (round(seconds * rate) if seconds else None),
            seconds,
            matrix,
            _ORIENTATIONS.get(shape, 1),  # type: ignore[arg-type]
            stream.sample_aspect_ratio or None,
            Colours.of(frame),
            tuple(_notes(container, stream, frame)),
        )
        return clip, first


def frames(clip: Clip, options: VideoOptions, notes: list[str]) -> Generator[Raw, None, None]:
    """Yields the frames of `clip` that `options` choose, in the order in which they are shown.

    Args:
        clip: From `open_clip`.
        options: Which of them, and what is done about broken ones.
        notes: Receives sentences about what is missing.

    Raises:
        ImageReadError: One is broken, and `options` say that this fails the file.
    """
    start, stop = options.frames
    seen = -1
    problems: list[str] = []
    source = _of_container(clip, options, problems) if clip.read is None else clip.read(problems)
    with closing(source):  # type: ignore[type-var]
        for raw in source:
            seen = raw.index
            if stop is not None and seen >= stop:
                return
            if raw.held and options.broken_frames == "fail":
                raise ImageReadError(
                    f"frame {seen}, at {_clock(raw.pts * clip.time_base)}, is broken; `broken_frames` set to "
                    "hold shows the one before it in its place",
                    clip.path,
                )
            if seen >= start:
                yield raw
    if problems and options.broken_frames == "fail":
        raise ImageReadError(f"{problems[0]}; `broken_frames` set to hold takes what is there", clip.path)
    notes += problems
    if seen < start:
        raise ImageReadError(f"it has {seen + 1} frames, and none from {start} on", clip.path)


def _of_container(clip: Clip, options: VideoOptions, problems: list[str]) -> Iterator[Raw]:
    with opened(clip.path) as container:
        stream: Any = container.streams[clip.stream]
        count, end = 0, 0.0
        for raw in _decoded(container, stream, options):
            count, end = raw.index + 1, float((raw.pts + raw.duration) * clip.time_base)
            yield raw
        missing = _missing(clip, stream, count, end)
        if missing:
            problems.append(missing)


def _decoded(container: InputContainer, stream: VideoStream, options: VideoOptions) -> Iterator[Raw]:
    """Yields all frames; one that could not be decoded as the one before it, held.

    A decoder says too late which packet it failed on, and the pictures come in another order than the
    packets: what is missing is told by the times that were announced and never came.
    """
    av = load()
    stream.thread_type = "AUTO"
    announced: list[int] = []
    index = failures = 0
    last: Raw | None = None
    early: list[int] = []  # times of broken frames before any good one

    def lost(before: int | None) -> Iterator[int]:
        nonlocal failures
        while announced and (before is None or announced[0] < before):
            pts = heapq.heappop(announced)
            if failures:
                failures -= 1
                yield pts

    def following(pts: int | None, duration: int, frame: VideoFrame, held: bool) -> Raw:
        nonlocal index, last
        if last is not None and (pts is None or pts <= last.pts):
            pts = last.pts + max(last.duration, 1)
        last = Raw(index, pts or 0, duration, frame, held)
        index += 1
        return last

    for packet in _packets(container, stream):
        if packet is not None and packet.pts is not None and not packet.is_discard:
            heapq.heappush(announced, packet.pts)
        try:
            found = stream.codec_context.decode(packet)
        except av.error.EOFError:
            found = []
        except av.error.FFmpegError:
            failures += 1
            continue
        for frame in found:
            pts = frame.pts if frame.pts is not None else frame.dts
            if pts is not None:
                for time in lost(pts):
                    if last is None:
                        early.append(time)
                    else:
                        yield following(time, last.duration, last.frame, True)
                if announced and announced[0] == pts:
                    heapq.heappop(announced)
            for time in early:
                yield following(time, frame.duration or 0, frame, True)
            early.clear()
            if frame.is_corrupt and last is not None:
                yield following(pts, frame.duration or 0, last.frame, True)
            else:
                yield following(pts, frame.duration or 0, frame, bool(frame.is_corrupt))
    if last is not None:
        for time in lost(None):
            yield following(time, last.duration, last.frame, True)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any] | None]:
    """Yields the packets of `stream` as far as the file can be read, and None at the end."""
    av = load()
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except av.error.FFmpegError:
            packet = None  # it ends in the middle; what is missing is told by the count
        if packet is None or packet.size == 0:
            yield None
            return
        yield packet


def _stream(container: InputContainer, path: Path) -> VideoStream:
    av = load()
    streams = [
        stream
        for stream in container.streams.video
        if av.stream.Disposition.attached_pic not in stream.disposition
    ]
    if not streams:
        others = sorted({stream.type for stream in container.streams})
        only = f"; there is only {' and '.join(others)}" if others else ""
        raise ImageFormatError(f"it has no video stream{only}", path)
    return streams[0]


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    said = stream.metadata.get("DURATION", "")  # Matroska has it among the tags
    parts = said.split(":")
    try:
        return float(parts[0]) * 3600 + float(parts[1]) * 60 + float(parts[2])
    except (ValueError, IndexError):
        return container.duration / 1e6 if container.duration else None


def _matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    import numpy as np

    numbers = tuple(int(number) for number in np.frombuffer(bytes(data), np.int32))
    return None if numbers == (_UNIT, 0, 0, 0, _UNIT, 0, 0, 0, 1 << 30) else numbers


def _missing(clip: Clip, stream: VideoStream, count: int, end: float) -> str:
    """Returns the sentence about a file that ends before its header says."""
    tick = float(1 / clip.rate)
    if stream.frames > count + stream.frames // 50 + 2 and stream.frames:
        return f"the file is cut off: it has {count} of {stream.frames} frames that its header announces"
    start = float((stream.start_time or 0) * clip.time_base)
    if clip.seconds is not None and clip.seconds - (end - start) > max(_LOST_FRAMES * tick, 0.5):
        return (
            f"the file is cut off: it ends at {_clock(Fraction(end))}, and its header announces "
            f"{_clock(Fraction(clip.seconds))}"
        )
    return ""


def _clock(seconds: Fraction) -> str:
    whole = float(seconds)
    return f"{int(whole // 3600)}:{int(whole // 60) % 60:02d}:{whole % 60:06.3f}"


_SAYS = {
    "MASTERING_DISPLAY_METADATA": "the brightness of the mastering display (HDR)",
    "CONTENT_LIGHT_LEVEL": "the light level of the content (HDR)",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "A53_CC": "closed captions inside the pictures",
}


def _notes(container: InputContainer, stream: VideoStream, frame: VideoFrame) -> Iterator[str]:
    if frame.interlaced_frame:
        yield "it is interlaced; its frames were taken whole, and deinterlacing it first gives better ones"
    if int(frame.color_trc) in (16, 18):
        kind = "PQ" if int(frame.color_trc) == 16 else "HLG"
        yield f"its brightness is coded for HDR ({kind}); the numbers are processed and stored as they are"
    said = [_SAYS[name] for name in _SAYS if frame.side_data.get(name) is not None]
    if said:
        yield f"what it says about {', '.join(dict.fromkeys(said))} is not kept"
    if stream.metadata.get("alpha_mode") == "1":
        yield "its transparency is not read"
