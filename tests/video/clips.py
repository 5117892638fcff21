"""Short videos made on the spot, and what is in a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2img.batch import Result, Rules, plan, run
from img2img.image import Image
from img2img.video import VideoOptions


class Invert:
    """A processor that can be taken back, and whose results are right or wrong to the last bit."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def group_key(self, image: Image) -> Any:
        return image.pixels.shape

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        self.batches.append(len(images))
        return [image.replace(pixels=image.pixels.dtype.type(image.white) - image.pixels) for image in images]


def make_clip(
    path: Path,
    frames: int = 12,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    format: str = "yuv420p",
    audio: int = 0,
    turn: int | None = None,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    **settings: Any,
) -> Path:
    """Writes a video of moving blocks, at 25 frames a second or shown at `times` in thousandths of a second.

    Args:
        path: Of the file.
        frames: How many.
        size: Width and height.
        codec, format, options: Of FFmpeg's encoder.
        audio: Number of tracks with a tone.
        turn: Degrees counterclockwise that the display matrix says.
        times: Of all frames.
        settings: Attributes of the encoder.
    """
    import av

    width, height = size
    blocks = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    scene = blocks.repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, 25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, format
        stream.codec_context.time_base = Fraction(1, 25) if times is None else Fraction(1, 1000)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if turn is not None:
            stream.set_display_rotation(turn)
        tracks = [_track(out, path) for _ in range(audio)]
        for index in range(frames):
            pixels = np.ascontiguousarray(np.roll(scene, index, 1)[:height, :width])
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=format)
            frame.pts = index if times is None else times[index]
            frame.time_base = stream.codec_context.time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for place, track in enumerate(tracks):
            for start in range(0, frames * 1920, 1024):
                tone = np.sin(np.arange(start, start + 1024) * (0.05 + place / 20)).astype(np.float32) / 4
                sound = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
                out.mux(track.encode(sound))
            out.mux(track.encode(None))
    return path


def _track(out: Any, path: Path) -> Any:
    track = out.add_stream("libopus" if path.suffix == ".webm" else "aac", 48000)
    track.layout = "mono"
    return track


@dataclass
class Seen:
    """What a player sees of a video.

    Attributes:
        times: Of frames, in seconds.
        frames: (N, H, W, 3), as they are stored.
        packets: Of each other stream: its packets, with their times in seconds.
        facts: Of the video stream: codec, size, pixel format, colours, and so on.
    """

    times: list[Fraction] = field(default_factory=list)
    frames: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    packets: dict[int, list[tuple[bytes, Fraction]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def look(path: Path, format: str = "rgb24") -> Seen:
    """Decodes a video with plain PyAV."""
    import av

    seen = Seen()
    frames = []
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        for frame in file.decode(stream):
            frames.append(frame.to_ndarray(format=format))
            seen.times.append(frame.pts * stream.time_base)
            context = stream.codec_context
            seen.facts = {
                "size": (frame.width, frame.height),
                "format": frame.format.name,
                "rotation": frame.rotation,
                "aspect": stream.sample_aspect_ratio,
                "primaries": frame.color_primaries,
                "transfer": frame.color_trc,
                "matrix": frame.colorspace,
                "range": frame.color_range,
                "codec": context.codec.canonical_name,
                "metadata": dict(file.metadata),
                "chapters": [(c["start"] * c["time_base"], c["metadata"]) for c in file.chapters()],
            }
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.stream.type != "video" and packet.size:
                own = seen.packets.setdefault(packet.stream.index, [])
                own.append((bytes(packet), packet.pts * packet.time_base))
    seen.frames = np.stack(frames)
    return seen


def convert(
    source: Path,
    output: Path,
    process: Any = None,
    extension: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> dict[str, Result]:
    """Converts with `VideoOptions` of `options`; returns results by the names of their sources."""
    planned = plan([source], output, Rules(extension=extension, video=VideoOptions(**options)))
    settings = {"process": "invert"}
    results = run(planned, process or Invert(), settings=settings, overwrite=overwrite, jobs=2)
    return {result.source.name: result for result in results}
