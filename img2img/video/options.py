"""What may be chosen for videos, and which names are those of videos. PyAV is not needed for this."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from img2img.errors import ConfigError

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
"""The kinds of video file that are written."""
VIDEOS = frozenset(
    (
        *CONTAINERS, ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".vob", ".wmv", ".asf", ".flv", ".3gp",
        ".3g2", ".ogv", ".mxf", ".y4m", ".nut",
    )
)  # fmt: skip
"""The kinds that are read, by extension."""
ANIMATIONS = (".gif", ".apng", ".webp", ".png")
"""The kinds of animation that are read and written, by extension; WebP and PNG files may be pictures, too."""
FALLBACK = ".mkv"
"""What is appended where another container cannot hold a result."""

BrokenFrames = Literal["hold", "fail"]


@dataclass(frozen=True)
class VideoOptions:
    """How videos are read and stored.

    Attributes:
        codec: The encoder, by FFmpeg's name or a usual one ("h264", "hevc", "vp9", "av1", "prores", "ffv1");
            None takes that of the source where it can be written, otherwise H.264 (VP9 in WebM).
        crf: Quality on the encoder's own scale, lower is better; None is the default of
            `img2img.video.encoding`. 0 stores without loss where the encoder can.
        frames: First frame and the one behind the last, from 0; None for the last is the end.
        broken_frames: "hold" shows the frame before a broken one in its place and says so; "fail" fails the
            file.
        fps: Pictures of an image sequence that a second shows; None is 25. Videos have times of their own.
        animated: Whether animated GIF, WebP and PNG files are short videos; else their first picture
            is taken.
        smooth: Share, 0 to 1, that the result of the frame before has where the source stands still.

    Raises:
        ConfigError: A value makes no sense.
    """

    codec: str | None = None
    crf: float | None = None
    frames: tuple[int, int | None] = (0, None)
    broken_frames: BrokenFrames = "hold"
    smooth: float = 0.0
    animated: bool = False
    fps: Fraction | None = None

    def __post_init__(self) -> None:
        start, stop = self.frames
        if start < 0 or (stop is not None and stop <= start):
            raise ConfigError(
                f"`frames` is {start}:{'' if stop is None else stop}, which holds none; frames count from 0 "
                "and the last is left out: 100:200 are one hundred."
            )
        if not 0 <= self.smooth < 1:
            raise ConfigError(f"`smooth` must be from 0 to below 1, not {self.smooth:g}.")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError(f"`fps` must be above 0 and at most 1000, not {float(self.fps):g}.")
        if self.crf is not None and self.crf < 0:
            raise ConfigError(f"`crf` must be 0 or more, not {self.crf:g}.")

    def to_json(self) -> dict[str, Any]:
        """Returns what results depend on."""
        facts = {name: getattr(self, name) for name in ("codec", "crf", "frames", "broken_frames", "smooth")}
        return facts if self.fps is None else {**facts, "fps": str(self.fps)}


AS_USUAL = VideoOptions()


def is_video(name: str) -> bool:
    """Returns whether the file is called like a video."""
    return _extension(name) in VIDEOS


def clip_name(name: str, suffix: str = "", extension: str | None = None) -> str:
    """Returns the name of the output for a video called `name`; as `output_name` of pictures.

    Args:
        name: A bare file name.
        suffix: Goes before the extension.
        extension: With its dot; replaces the extension.
    """
    stem, own = os.path.splitext(name)  # noqa: PTH122
    whole = stem + suffix + (own if extension is None else extension)
    return whole if _extension(whole) in (*CONTAINERS, *ANIMATIONS) else whole + FALLBACK


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122
