"""How the frames of a result are stored: encoder, pixel format and settings, chosen once for a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from img2img.errors import ConfigError, ImageWriteError
from img2img.video.clip import Clip
from img2img.video.colour import Colours, ToFrames, has_alpha
from img2img.video.library import is_installed, load
from img2img.video.options import VideoOptions

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.codeccontext import VideoCodecContext

THREADS = 4
"""Of every encoder, on every machine: what some encoders make depends on it."""
SEGMENT = 100
"""Frames in a segment, and the most between two key frames."""

_NAMES = {
    "h264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
}
_KEPT = {"h264", "hevc", "vp8", "vp9", "av1", "prores"} | (
    LOSSLESS := {"ffv1", "huffyuv", "ffvhuff", "utvideo", "qtrle", "png", "rawvideo"}
)
# Where quality is a number: its option, the default, what else is set. `None` is the option of all encoders.
_QUALITY: dict[str, tuple[str, float, dict[str, str]]] = {
    "libx264": ("crf", 18, {}),
    "libx265": ("crf", 20, {"x265-params": "log-level=none"}),
    "libvpx": ("crf", 8, {"b": "20M", "cpu-used": "2"}),
    "libvpx-vp9": ("crf", 24, {"b": "0", "cpu-used": "4", "row-mt": "1"}),
    "libsvtav1": ("crf", 24, {"preset": "8"}),
    "h264_nvenc": ("cq", 19, {"rc": "vbr", "b": "0"}),
    "hevc_nvenc": ("cq", 21, {"rc": "vbr", "b": "0"}),
    "av1_nvenc": ("cq", 24, {"rc": "vbr", "b": "0"}),
    "mpeg4": ("qscale", 2, {}),
    "mjpeg": ("qscale", 2, {}),
}
_WITHOUT_LOSS: dict[str, dict[str, str]] = {
    "libx264": {"qp": "0"},
    "libx264rgb": {"qp": "0"},
    "libx265": {"x265-params": "lossless=1:log-level=none"},
    "libvpx-vp9": {"lossless": "1"},
}
_STRANGE = ("gray", "yaf", "mono", "x2", "rgb4", "bgr4", "rgb8", "bgr8", "rgb5", "rgb6", "cuda", "yuv440p")
_EVEN = {"libx264", "libx265", "libsvtav1", "libvpx", "h264_nvenc", "hevc_nvenc", "av1_nvenc"}
"""Those that take odd sides only where colour has the full resolution."""


@dataclass(frozen=True)
class EncoderSettings:
    """Everything that an encoder has to know; two with equal values make equal packets of equal frames.

    Attributes:
        encoder: FFmpeg's name.
        format: Of the pixels.
        bits: Of each number.
        width, height: As frames are stored.
        rate: Frames a second.
        options: Of the encoder.
        colours: What the numbers mean.
        aspect: Width of a pixel divided by its height, or None.
        orientation: Of the source: what turns its frames upright, which is taken back; as in EXIF.
        global_header: Whether the container keeps the encoder's parameters apart.
        source_type: What made the pictures, where the file is to say that; see `Metadata` of pictures.
        warnings: Sentences about what is stored otherwise than asked for.
    """

    encoder: str
    format: str
    bits: int
    width: int
    height: int
    rate: Fraction
    options: Mapping[str, str]
    colours: Colours
    aspect: Fraction | None
    orientation: int
    global_header: bool
    source_type: str | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """Returns what tells whether packets of another run fit."""
        facts = asdict(self)
        return {**facts, "rate": str(self.rate), "aspect": str(self.aspect), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> EncoderSettings:
        """Returns what `to_json` was made from.

        Raises:
            KeyError, TypeError, ValueError: It is nothing of the kind.
        """
        aspect = facts["aspect"]
        changed = {
            "rate": Fraction(facts["rate"]),
            "aspect": None if aspect == "None" else Fraction(aspect),
            "colours": Colours(**facts["colours"]),
            "warnings": tuple(facts["warnings"]),
        }
        return cls(**{**facts, **changed})

    def configure(self, context: VideoCodecContext) -> None:
        """Sets up an encoder that is not open yet."""
        context.width, context.height, context.pix_fmt = self.width, self.height, self.format
        context.framerate = self.rate
        context.time_base = 1 / self.rate
        context.thread_count = THREADS
        context.gop_size = SEGMENT
        colours = self.colours
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        context.colorspace, context.color_range = colours.matrix, colours.range
        if self.aspect is not None:
            context.sample_aspect_ratio = self.aspect
        context.options = dict(self.options)
        flags = load().codec.context.Flags
        if self.global_header:
            context.flags |= flags.global_header
        if "qscale" in self.options:
            context.qscale = True
            context.global_quality = round(float(self.options["qscale"]) * 118)
            context.options = {}

    def frames(self) -> ToFrames:
        """Returns what turns pictures into frames for the encoder."""
        return ToFrames(self.colours, self.orientation, self.format, self.bits)

    def opened(self) -> FrameEncoder:
        """Returns an encoder that takes the frames 0, 1, 2, ... of a segment.

        Raises:
            ImageWriteError: It refuses these settings.
        """
        av = load()
        context: VideoCodecContext = av.CodecContext.create(self.encoder, "w")
        self.configure(context)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise ImageWriteError(
                f"the encoder {self.encoder} refuses {self.width} x {self.height} pixels of {self.format}: "
                f"{getattr(error, 'strerror', error)}"
            ) from error
        return FrameEncoder(context)


class FrameEncoder:
    """An encoder of FFmpeg that numbers the frames which it gets."""

    def __init__(self, context: VideoCodecContext) -> None:
        self._context = context

    def encode(self, frame: VideoFrame, index: int) -> list[tuple[int, bytes, bool]]:
        """Takes a frame; returns packets: the frame that each holds, its bytes, whether decoding may begin.

        Raises:
            ImageWriteError: The encoder failed.
        """
        frame.pts, frame.time_base = index, self._context.time_base
        return self._packets(frame)

    def flush(self) -> list[tuple[int, bytes, bool]]:
        """Returns the packets that were held back."""
        return self._packets(None)

    def _packets(self, frame: VideoFrame | None) -> list[tuple[int, bytes, bool]]:
        name = self._context.name
        try:
            packets = self._context.encode(frame)
        except load().error.FFmpegError as error:
            raise ImageWriteError(f"the encoder {name} failed: {error.strerror or error}") from error
        if any(packet.pts is None for packet in packets):
            raise ImageWriteError(f"the encoder {name} lost the times of frames")
        return [(int(packet.pts or 0), bytes(packet), bool(packet.is_keyframe)) for packet in packets]


def check(options: VideoOptions) -> None:
    """Refuses what no clip could be stored with.

    Raises:
        ConfigError: There is no such encoder, or it knows no quality.
    """
    if options.codec is None or not is_installed():
        return  # without PyAV every video says so by itself
    encoder = _encoder(options.codec)
    if options.crf is not None and encoder not in _QUALITY and encoder not in _WITHOUT_LOSS:
        raise ConfigError(f"the codec {encoder} has no `crf`; leave it away.")


def _encoder(name: str) -> str:
    av = load()
    encoder = _NAMES.get(name.lower(), name.lower())
    try:
        codec = av.Codec(encoder, "w")
    except (av.error.FFmpegError, ValueError):
        usual = ", ".join(["h264", "hevc", "vp9", "av1", "prores", "ffv1"])
        raise ConfigError(
            f"{name!r} is no codec that this installation writes; usual ones are {usual}."
        ) from None
    if codec.type != "video":
        raise ConfigError(f"{name!r} is no codec of videos.")
    return encoder


def choose(
    clip: Clip, options: VideoOptions, extension: str, size: tuple[int, int], alpha: bool
) -> EncoderSettings:
    """Returns how the results of `clip` are stored.

    Args:
        clip: The source.
        options: What was asked for.
        extension: Of the result's container: ".mp4".
        size: Height and width of the frames, as they are stored.
        alpha: Whether they have transparency.

    Raises:
        ConfigError: There is no such encoder.
        ImageWriteError: None takes frames of this size.
    """
    av = load()
    height, width = size
    if options.codec is not None:
        encoder = _encoder(options.codec)
    elif clip.codec in _KEPT and _holds(extension, clip.codec):
        encoder = _encoder(clip.codec)
    else:
        encoder = "libvpx-vp9" if extension == ".webm" else "libx264"
    chosen = options.codec is not None
    lossless = encoder in LOSSLESS or (options.crf == 0 and encoder in _WITHOUT_LOSS)
    source = av.VideoFormat(clip.format)
    rgb = (lossless and (chosen or options.crf == 0)) or source.is_rgb
    if encoder == "libx264" and lossless and clip.bits == 8:
        encoder = "libx264rgb"
    bits = 16 if lossless and rgb and clip.bits > 8 else clip.bits  # what pictures of more than 8 bits have
    chroma = (1, 1) if rgb else _subsampling(clip.format)
    odd = any(side % 2 for side in size)
    if odd and encoder in _EVEN:
        chroma = (1, 1)
    best = min(
        (format.name for format in av.Codec(encoder, "w").video_formats or ()),
        key=lambda name: _distance(name, bits, chroma, rgb, alpha),
        default=None,
    )
    if best is None:
        raise ImageWriteError(f"the encoder {encoder} takes no pixels that img2img makes")
    warnings = []
    if odd and encoder in _EVEN and _subsampling(best) != (1, 1):
        encoder, best = "libx264", "yuv444p10le" if clip.bits > 8 else "yuv444p"
        warnings.append("its odd size is stored as H.264 in 4:4:4, since its codec takes only even ones")
    elif odd and encoder in _EVEN and _subsampling(clip.format) != (1, 1):
        warnings.append(
            f"{width} x {height} is stored in 4:4:4, since {encoder} takes odd sizes in 4:2:0 not at all; "
            "not every player shows that"
        )
    if alpha and not has_alpha(best):
        warnings.append(f"the codec {encoder} has no transparency; it was dropped")
    depth = max(component.bits for component in av.VideoFormat(best).components)
    if clip.bits > depth:
        warnings.append(f"{clip.bits} bits became {depth}, which is all that {encoder} takes")
    colours = clip.colours.stored((clip.height, clip.width), size, bool(av.VideoFormat(best).is_rgb))
    if best.startswith("yuvj"):
        colours = Colours(colours.primaries, colours.transfer, colours.matrix, 2)
    container = av.format.ContainerFormat(muxer(extension), "w")
    return EncoderSettings(
        encoder,
        best,
        depth,
        width,
        height,
        _steady(clip.rate, encoder),
        _settings(encoder, options, lossless, extension),
        colours,
        clip.aspect,
        clip.orientation,
        bool(container.flags & 0x40),
        warnings=tuple(warnings),
    )


def muxer(extension: str) -> str:
    """Returns FFmpeg's name of the container that an extension names."""
    return {".mkv": "matroska", ".webm": "webm", ".avi": "avi", ".mov": "mov"}.get(extension, "mp4")


def _holds(extension: str, codec: str) -> bool:
    if extension == ".webm":
        return codec in ("vp8", "vp9", "av1")
    if extension in (".mp4", ".m4v"):
        return codec in ("h264", "hevc", "vp9", "av1")
    if extension == ".mov":
        return codec in ("h264", "hevc", "prores", "qtrle", "png", "rawvideo")
    if extension == ".avi":
        return codec in ("h264", "ffv1", "huffyuv", "ffvhuff", "utvideo", "png")
    return codec != "rawvideo" or extension == ".mkv"


def _settings(encoder: str, options: VideoOptions, lossless: bool, extension: str) -> dict[str, str]:
    if lossless:
        settings = dict(_WITHOUT_LOSS.get(encoder, {}))
    elif encoder in _QUALITY:
        name, default, more = _QUALITY[encoder]
        settings = {name: f"{default if options.crf is None else options.crf:g}", **more}
    else:
        settings = {}
    if extension == ".avi" and encoder in ("libx264", "libx264rgb", "mpeg4"):
        settings["bf"] = "0"  # its packets have no times of their own
    if encoder == "ffv1":
        settings |= {"level": "3", "slices": "4", "slicecrc": "1"}
    return settings


def _steady(rate: Fraction, encoder: str) -> Fraction:
    rate = rate.limit_denominator(1001)
    if not 0 < rate <= 1000:
        return Fraction(25)
    if encoder in ("mpeg4", "libx265", "libsvtav1") and rate.numerator > 65535:
        return Fraction(max(round(rate), 1))
    return rate


def _subsampling(name: str) -> tuple[int, int]:
    """Returns how many pixels share a colour, across and down."""
    format = load().VideoFormat(name, 16, 16)
    if format.is_rgb or len(format.components) < 3:
        return (1, 1) if format.is_rgb else (2, 2)  # grey, which a model may have coloured
    return 16 // format.components[1].width, 16 // format.components[1].height


def _distance(name: str, bits: int, chroma: tuple[int, int], rgb: bool, alpha: bool) -> tuple[Any, ...]:
    """Returns how far a pixel format is from what is wanted; what loses something is the farthest."""
    format = load().VideoFormat(name, 16, 16)
    own, depth = _subsampling(name), max(component.bits for component in format.components)
    grey = len(format.components) < 3
    strange = (
        format.has_palette or grey or name.startswith(_STRANGE) or name.endswith(("be", "f16le", "f32le"))
    )
    return (
        strange,
        own[0] > chroma[0] or own[1] > chroma[1],
        depth < bits,
        alpha and not has_alpha(name),
        bool(format.is_rgb) != rgb,
        depth - bits,
        name.startswith("yuvj"),
        has_alpha(name) and not alpha,
        chroma[0] * chroma[1] - own[0] * own[1],
        not name.startswith(("yuv", "rgb", "gbr", "bgr")),
        name,
    )
