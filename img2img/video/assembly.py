"""One file from finished segments and everything else that the source holds, copied as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from img2img.errors import ImageWriteError
from img2img.image import EncodeOptions
from img2img.video.clip import Clip, opened
from img2img.video.encoding import EncoderSettings, muxer
from img2img.video.library import load
from img2img.video.segments import Segment

if TYPE_CHECKING:
    from av.codec import CodecContext
    from av.container import InputContainer, OutputContainer
    from av.stream import AttachmentStream, Stream
    from av.video.stream import VideoStream

_OF_THE_SOURCE = ("major_brand", "minor_version", "compatible_brands", "encoder", "rotate", "duration")
_STATISTICS = ("BPS", "NUMBER_OF_", "_STATISTICS_", "DURATION", "ENCODER")  # of Matroska, about other packets
_AS_USUAL = EncodeOptions()
_BITEXACT = 0x400  # of containers: no date, no random numbers


def fit_reason(
    clip: Clip, encoding: EncoderSettings, segments: Sequence[Segment], extension: str
) -> str | None:
    """Returns why a container cannot hold the result, or None where it can.

    Args:
        clip: The source.
        encoding: How frames are stored.
        segments: All of them.
        extension: Of the container: ".mp4".
    """
    av = load()
    with av.open(_Nowhere(), "w", format=muxer(extension)) as container:
        known = container.supported_codecs
    if encoding.encoder not in known:
        return f"{extension} files do not hold {encoding.encoder}"
    if extension == ".avi" and not _is_steady(segments):
        return ".avi files have one rate, and the times of these frames vary"
    if extension == ".avi" and clip.matrix is not None:
        return ".avi files cannot say that they are turned"
    with _source_of(clip) as source:
        for stream in source.streams if source is not None else ():
            if stream.type == "audio" and not _is_known(stream, known):
                return f"{extension} files do not hold its audio, {_codec(stream)}"
    return None


def assemble(
    clip: Clip,
    encoding: EncoderSettings,
    segments: Sequence[Segment],
    extension: str,
    window: tuple[int, int | None] | None,
    file: BinaryIO,
    options: EncodeOptions = _AS_USUAL,
) -> list[str]:
    """Writes the result.

    Args:
        clip: The source.
        encoding: How frames are stored.
        segments: All of them.
        extension: Of the container.
        window: First tick and the one behind the last where the result is only a part of the source.
        file: Where it goes; written from its beginning.
        options: What is left out of metadata: tags of the file and its streams, and tracks of data, where
            places are among them.

    Returns:
        Sentences about what could not be kept.

    Raises:
        ImageWriteError: It could not be put together.
        OSError: It could not be written.
    """
    av = load()
    kept = {"attachment", "data", "subtitle", "audio", "video"}
    if options.strip_metadata or options.strip_gps:
        kept.discard("data")
    with _source_of(clip) as source:
        while True:
            file.seek(0)
            file.truncate()
            try:
                return _assemble(source, clip, encoding, segments, extension, window, file, kept, options)
            except _HeaderError as error:
                # what the container refuses it does not name: the least important kind goes first
                for kind in ("data", "attachment", "subtitle"):
                    if kind in kept:
                        kept.discard(kind)
                        break
                else:
                    raise ImageWriteError(f"the file cannot be put together: {error}") from error
            except av.error.FFmpegError as error:
                if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
                    raise
                raise ImageWriteError(
                    f"the file cannot be put together: {error.strerror or error}"
                ) from error


def _source_of(clip: Clip) -> AbstractContextManager[InputContainer | None]:
    return opened(clip.path) if clip.read is None else nullcontext()


class _HeaderError(Exception):
    pass


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def tell(self) -> int:
        return 0


def _assemble(
    source: InputContainer | None,
    clip: Clip,
    encoding: EncoderSettings,
    segments: Sequence[Segment],
    extension: str,
    window: tuple[int, int | None] | None,
    file: BinaryIO,
    kept: set[str],
    options: EncodeOptions,
) -> list[str]:
    av = load()
    origin = window[0] * clip.time_base if window else Fraction(0)
    end = window[1] * clip.time_base if window and window[1] is not None else None
    warnings: list[str] = []
    with av.open(file, "w", format=muxer(extension), container_options=_options(source, extension)) as out:
        out.flags |= _BITEXACT
        known = out.supported_codecs
        streams: dict[int, Stream] = {}
        video: Stream | None = None
        if source is None:
            video = _add_video(out, None, clip, encoding, extension, options)
        out.metadata.update(_tags(source, encoding, options))
        for stream in source.streams if source is not None else ():
            if stream.index == clip.stream:
                video = _add_video(out, stream, clip, encoding, extension, options)
            elif source is not None:
                copy, warning = _add_copy(source, out, stream, known, kept, extension, options)
                if copy is not None:
                    streams[stream.index] = copy
                if warning:
                    warnings.append(warning)
        assert video is not None
        if source is None:
            pass
        elif extension != ".avi":
            out.set_chapters(_chapters(source, origin, end))
        elif source.chapters():
            warnings.append("its chapters were left out: .avi files have none")
        try:
            out.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            raise _HeaderError(str(error)) from error
        frames = _video_packets(segments, clip, origin, video)
        pending = next(frames, None)
        last: dict[int, int] = {}
        for packet in _copied(source, streams, origin, end) if source is not None else ():
            time = packet.dts * packet.time_base
            while pending is not None and pending.dts * pending.time_base <= time:
                out.mux_one(pending)
                pending = next(frames, None)
            own = packet.stream.index
            if own in last and packet.dts <= last[own]:
                packet.dts = last[own] + 1
                packet.pts = max(packet.pts if packet.pts is not None else packet.dts, packet.dts)
            last[own] = packet.dts
            packet.stream = streams[own]
            out.mux_one(packet)
        while pending is not None:
            out.mux_one(pending)
            pending = next(frames, None)
    return warnings


def _options(source: InputContainer | None, extension: str) -> dict[str, str]:
    if (
        source is not None
        and extension in (".mp4", ".m4v", ".mov")
        and any("." in key for key in source.metadata)
    ):
        return {"movflags": "use_metadata_tags"}  # those of phones: where, with what
    return {}


def _add_video(
    out: OutputContainer,
    template: Stream | None,
    clip: Clip,
    encoding: EncoderSettings,
    extension: str,
    options: EncodeOptions,
) -> Stream:
    stream = cast("VideoStream", out.add_stream(encoding.encoder, encoding.rate))
    encoding.configure(stream.codec_context)
    stream.codec_context.time_base = 1 / encoding.rate if extension == ".avi" else clip.time_base
    stream.time_base = stream.codec_context.time_base
    if encoding.encoder in ("libx265", "hevc_nvenc") and extension in (".mp4", ".m4v", ".mov"):
        stream.codec_context.codec_tag = "hvc1"  # what players of Apple ask for
    if clip.matrix is not None:
        stream.set_display_matrix(clip.matrix)
    if template is not None:
        _describe(stream, template, options)
    return stream


def _add_copy(
    source: InputContainer,
    out: OutputContainer,
    stream: Stream,
    known: set[str],
    kept: set[str],
    extension: str,
    options: EncodeOptions,
) -> tuple[Stream | None, str]:
    """Adds a stream that is copied; returns None and a sentence where that cannot be."""
    what = f"its {stream.type} stream {stream.index}"
    codec = _codec(stream)
    named = f"{what} ({codec})" if codec else what
    left_out = f"{named} was left out: {extension} files do not hold it"
    if stream.type == "data" and not codec and source.chapters():
        return None, ""  # the track that holds the chapters, which is written anew
    if stream.type not in kept:
        return None, left_out
    try:
        if stream.type == "attachment":
            if extension != ".mkv":
                return None, left_out
            tags, attached = stream.metadata, cast("AttachmentStream", stream)
            name, kind = tags.get("filename", "attachment"), tags.get("mimetype", "")
            return out.add_attachment(name, kind, attached.data), ""
        if _is_cover(stream) and extension == ".mkv":
            name = f"cover.{'jpg' if codec == 'mjpeg' else codec}"
            kind = f"image/{'jpeg' if codec == 'mjpeg' else codec}"
            out.add_attachment(name, kind, _cover(source, stream.index))
            return None, ""
        if stream.type == "data":
            if extension not in (".mp4", ".m4v", ".mov") or not codec:
                return None, left_out
        elif not _is_known(stream, known):
            return None, left_out
        copy = out.add_stream_from_template(stream, opaque=True)
    except (ValueError, TypeError, load().error.FFmpegError):
        return None, left_out
    _describe(copy, stream, options)
    return copy, ""


def _is_cover(stream: Stream) -> bool:
    return load().stream.Disposition.attached_pic in stream.disposition


def _cover(source: InputContainer, index: int) -> bytes:
    """Returns the picture in a stream that holds just one."""
    with opened(Path(source.name)) as again:
        return next((bytes(packet) for packet in again.demux(again.streams[index]) if packet.size), b"")


def _tags(source: InputContainer | None, encoding: EncoderSettings, options: EncodeOptions) -> dict[str, str]:
    """Returns the tags of the file: those of the source, and that a network made it."""
    tags = {} if source is None or options.strip_metadata else dict(source.metadata)
    tags = {key: value for key, value in tags.items() if key.lower() not in _OF_THE_SOURCE}
    if options.strip_gps:
        tags = {key: value for key, value in tags.items() if not _is_of_place(key)}
    if encoding.source_type is not None:
        mark = f"DigitalSourceType: {encoding.source_type}"
        name = next((key for key in tags if key.lower() == "comment"), "comment")
        known = tags.get(name, "")
        if mark not in known:
            tags[name] = f"{known}; {mark}" if known else mark
    return tags


def _is_of_place(key: str) -> bool:
    return any(word in key.lower() for word in ("location", "gps", "xyz"))


def _describe(copy: Stream, template: Stream, options: EncodeOptions) -> None:
    tags = {
        key: value
        for key, value in template.metadata.items()
        if key.lower() not in _OF_THE_SOURCE and not key.upper().startswith(_STATISTICS)
    }
    if options.strip_metadata:
        tags = {key: value for key, value in tags.items() if key == "language"}
    if options.strip_gps:
        tags = {key: value for key, value in tags.items() if not _is_of_place(key)}
    copy.metadata.update(tags)
    copy.disposition = template.disposition


def _codec(stream: Stream) -> str:
    context: CodecContext | None = stream.codec_context
    return "" if context is None else str(context.codec.canonical_name)


def _is_known(stream: Stream, known: set[str]) -> bool:
    context: CodecContext | None = stream.codec_context
    if context is None:
        return False
    return context.codec.name in known or context.codec.canonical_name in known


def _chapters(source: InputContainer, origin: Fraction, end: Fraction | None) -> list[Any]:
    chapters = []
    for chapter in source.chapters():
        base = chapter["time_base"]
        if base is None:
            continue
        first, last = chapter["start"] * base, chapter["end"] * base
        if last <= origin or (end is not None and first >= end):
            continue
        first, last = max(first - origin, Fraction(0)), (last if end is None else min(last, end)) - origin
        chapters.append({**chapter, "start": round(first / base), "end": round(last / base)})
    return chapters


def _copied(
    source: InputContainer, streams: dict[int, Stream], origin: Fraction, end: Fraction | None
) -> Iterator[Any]:
    """Yields the packets of the copied streams, their times counted from `origin`; as far as they go."""
    av = load()
    wanted = [s for s in source.streams if s.index in streams and s.type != "attachment"]
    if not wanted:
        return
    demuxed = source.demux(wanted)
    while True:
        try:
            packet = next(demuxed, None)
        except av.error.FFmpegError:
            return  # the end of a file that is cut off, which the video has told already
        if packet is None:
            return
        if packet.size == 0 or packet.is_corrupt:
            continue
        base = packet.time_base
        picture = _is_cover(packet.stream)  # which has no time
        if picture:
            packet.pts = packet.dts = 0
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.dts is None or not base:
            continue
        start = (packet.pts if packet.pts is not None else packet.dts) * base
        if (
            not picture
            and (end is not None or origin)
            and (start < origin or (end is not None and start >= end))
        ):
            continue
        shift = 0 if picture else round(origin / base)
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        yield packet


def _video_packets(
    segments: Sequence[Segment], clip: Clip, origin: Fraction, stream: Stream
) -> Iterator[Any]:
    """Yields the packets of all segments with the times of their frames.

    Decoding times are the times of showing in order, as much earlier as frames wait for later ones.
    """
    av = load()
    shift = round(origin / clip.time_base)
    shown = [pts - shift for segment in segments for pts in segment.pts]
    durations = [after - pts for pts, after in pairwise(shown)]
    durations.append(max(segments[-1].duration, 0) or (durations[-1] if durations else 0))
    delay, before = 0, 0
    for segment in segments:
        for place, (frame, _, _) in enumerate(segment.packets):
            delay = max(delay, place - frame)
        before += len(segment.packets)
    tick = max(min(durations[:-1], default=durations[-1]), 1)
    start = at = 0
    for segment in segments:
        for (frame, _, key), data in zip(segment.packets, segment.read(), strict=True):
            packet = av.Packet(data)
            packet.stream = stream
            packet.time_base = clip.time_base
            packet.pts = shown[start + frame]
            packet.dts = shown[at - delay] if at >= delay else shown[0] - (delay - at) * tick
            packet.duration = durations[start + frame]
            packet.is_keyframe = key
            at += 1
            yield packet
        start += len(segment.pts)


def _is_steady(segments: Sequence[Segment]) -> bool:
    shown = [pts for segment in segments for pts in segment.pts]
    steps = [after - pts for pts, after in pairwise(shown)]
    return not steps or max(steps) - min(steps) <= 2
