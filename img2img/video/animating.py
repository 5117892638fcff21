"""Animated GIF, WebP and PNG files from finished frames, one after the other: memory does not grow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np

from img2img.errors import ImageWriteError
from img2img.image import EncodeOptions, Image, decode, encode, prepare
from img2img.image.image import Pixels
from img2img.video.clip import Clip, opened
from img2img.video.segments import Segment
from img2img.video.stills import StillSettings

_SHORTEST = {"gif": 10}  # milliseconds of a frame
_LONGEST = {"gif": 0xFFFF * 10, "webp": 0xFFFFFF, "apng": 0xFFFF * 1000}
_OPAQUE = 128  # of 255: from where on a pixel of a GIF file is seen


def animate(
    clip: Clip, stored: StillSettings, segments: Sequence[Segment], options: EncodeOptions, file: BinaryIO
) -> list[str]:
    """Writes an animation.

    Args:
        clip: The source, which says how often it is shown.
        stored: How the frames are stored.
        segments: All of them.
        options: Quality, and what metadata stays.
        file: Where it goes.

    Returns:
        Sentences about what could not be kept.

    Raises:
        ImageWriteError: It could not be put together.
        OSError: It could not be written.
    """
    lost = _other_streams(clip, stored)
    write = {"gif": _write_gif, "webp": _write_webp, "apng": _write_png}[stored.encoder]
    frames = _Frames(segments, stored, clip)
    try:
        warnings = lost + write(frames, clip.plays, options, file)
    except (ValueError, RuntimeError, struct.error) as error:
        raise ImageWriteError(f"the animation cannot be put together: {error}") from error
    if frames.shortened:
        longest = _LONGEST[stored.encoder] / 1000
        warnings.append(f"{frames.shortened} of its frames are shown for {longest:g} seconds, and not longer")
    return warnings


def _other_streams(clip: Clip, stored: StillSettings) -> list[str]:
    """Returns sentences about what a video holds and an animation does not."""
    if clip.read is not None:
        return []
    with opened(clip.path) as source:
        kinds = sorted({stream.type for stream in source.streams if stream.type in ("audio", "subtitle")})
    return (
        [f"its {' and '.join(kinds)} was left out: an animation ({stored.encoder}) holds none"]
        if kinds
        else []
    )


class _Frames:
    """The finished frames, read one by one.

    Attributes:
        ticks: Of each, how long it is shown: in milliseconds, for GIF in whole hundredths of a second.
        shortened: How many are shown longer in the source than such files can say.
        source_type: What made them, where the file is to say that.
    """

    def __init__(self, segments: Sequence[Segment], stored: StillSettings, clip: Clip) -> None:
        self._segments, self.source_type = segments, stored.source_type
        kind = stored.encoder
        unit = Fraction(_SHORTEST.get(kind, 1), 1000)
        shown = [pts * clip.time_base for segment in segments for pts in segment.pts]
        last = segments[-1].duration * clip.time_base
        if not last and clip.read is None:  # a container that does not say it; an animation says 0
            last = shown[-1] - shown[-2] if len(shown) > 1 else Fraction(1, 10)
        shown.append(shown[-1] + last)
        if shown[0] == shown[-1]:  # a file that says nothing about time
            shown = [shown[0]] * len(shown)
        at = [round((each - shown[0]) / unit) for each in shown]
        ticks = [(after - before) * _SHORTEST.get(kind, 1) for before, after in pairwise(at)]
        self.ticks = [min(each, _LONGEST[kind]) for each in ticks]
        self.shortened = sum(each > _LONGEST[kind] for each in ticks)

    def __len__(self) -> int:
        return len(self.ticks)

    def encoded(self) -> Iterator[bytes]:
        """Yields each as the PNG file that it is."""
        for segment in self._segments:
            yield from segment.read()

    def __iter__(self) -> Iterator[Image]:
        return map(decode, self.encoded())

    def first(self) -> Image:
        """Returns the first, with everything that the file is to say."""
        return self.telling(next(iter(self)))

    def telling(self, image: Image) -> Image:
        """Returns `image` with what made it, also where nothing else is to be said."""
        return image.replace(metadata=image.metadata.replace(source_type=self.source_type))


def _write_gif(frames: _Frames, plays: int, options: EncodeOptions, file: BinaryIO) -> list[str]:
    from PIL import GifImagePlugin
    from PIL import Image as PillowImage

    first = frames.first()
    file.write(struct.pack("<6sHHBBB", b"GIF89a", first.width, first.height, 0, 0, 0))
    if plays != 1:
        again = plays - 1 if plays else 0
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", min(again, 0xFFFF), 0))
    if frames.source_type is not None:
        mark = f"DigitalSourceType: {frames.source_type}".encode()[:255]
        file.write(b"!\xfe" + bytes((len(mark),)) + mark + b"\0")  # a comment
    reduced = 0
    for image, ticks in zip(frames, frames.ticks, strict=True):
        indices, palette, transparent, exact = _reduced(image)
        reduced += not exact
        picture = PillowImage.fromarray(indices)
        picture.putpalette(palette.tobytes())
        words: dict[str, Any] = {"duration": ticks, "disposal": 1 if image.alpha is None else 2}
        if transparent is not None:
            words["transparency"] = transparent
        for part in GifImagePlugin.getdata(picture, include_color_table=True, **words):
            file.write(part)
    file.write(b";")
    return [f"{reduced} of its frames have 256 colours, which is what .gif files hold"] if reduced else []


def _reduced(image: Image) -> tuple[Pixels, Pixels, int | None, bool]:
    """Returns indices (H, W), colours (N, 3), the index of what is transparent, and whether that is exact.

    It is where there are few enough colours; otherwise what is nearest among those that Pillow chooses.
    """
    from PIL import Image as PillowImage

    pixels, hidden = image.pixels, None
    if image.alpha is not None:
        hidden = image.alpha < _OPAQUE
        pixels = np.where(hidden[..., None], 0, pixels).astype(np.uint8)
    most = 256 if hidden is None else 255
    codes = pixels @ np.array((65536, 256, 1), np.int32)
    known, places = np.unique(codes, return_inverse=True)
    exact = len(known) <= most
    if exact:
        indices = places.reshape(codes.shape).astype(np.uint8)
        palette = np.stack((known >> 16, known >> 8 & 255, known & 255), 1).astype(np.uint8)
    else:
        picture = PillowImage.fromarray(np.ascontiguousarray(pixels)).quantize(most)
        indices = np.array(picture)
        palette = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)
    if hidden is None:
        return indices, palette, None, exact
    palette = np.concatenate((palette, np.zeros((1, 3), np.uint8)))
    return np.where(hidden, len(palette) - 1, indices).astype(np.uint8), palette, len(palette) - 1, exact


def _write_webp(frames: _Frames, plays: int, options: EncodeOptions, file: BinaryIO) -> list[str]:
    from PIL import Image as PillowImage

    reader = iter(frames)
    first = frames.telling(next(reader))

    class Moving(PillowImage.Image):
        """What Pillow takes for a picture with several frames; each is read when it is asked for."""

        n_frames = len(frames)
        shown = 0

        def seek(self, frame: int) -> None:
            if frame == self.shown + 1:
                self.shown = frame
                self.show_frame(next(reader))

        def tell(self) -> int:
            return self.shown

        def show_frame(self, image: Image) -> None:
            both = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
            own = PillowImage.fromarray(np.ascontiguousarray(both))
            self.im, self._mode, self._size = own.im, own.mode, own.size

    kept = prepare(first, ".webp", options)
    moving = Moving()
    moving.show_frame(first)
    words: dict[str, Any] = {"duration": frames.ticks, "loop": min(plays, 0xFFFF), "method": 4}
    words |= {"lossless": bool(options.lossless), "quality": 100 if options.lossless else options.quality}
    for name, value in (("icc_profile", kept.icc), ("exif", kept.exif), ("xmp", kept.metadata.xmp)):
        if value:
            words[name] = value
    out = io.BytesIO()
    moving.save(out, "WEBP", save_all=True, **words)
    file.write(out.getbuffer())
    return []


def _write_png(frames: _Frames, plays: int, options: EncodeOptions, file: BinaryIO) -> list[str]:
    """Writes every frame as it was compressed, in the chunks that the specification has for the purpose."""
    first = frames.first()
    head = list(_chunks(encode(prepare(first, ".png", options), ".png", options)))
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(_chunk(b"IHDR", head[0][1]))
    file.write(_chunk(b"acTL", struct.pack(">II", len(frames), plays)))
    for name, body in head[1:]:
        if name not in (b"IDAT", b"IEND"):
            file.write(_chunk(name, body))
    number = 0
    for index, (data, ticks) in enumerate(zip(frames.encoded(), frames.ticks, strict=True)):
        unit = next(unit for unit in (1000, 100, 10, 1) if ticks * unit // 1000 < 0xFFFF or unit == 1)
        delay = round(ticks * unit / 1000)
        control = struct.pack(
            ">IIIIIHHBB", number, first.width, first.height, 0, 0, delay, unit, 0, 0
        )  # nothing is disposed of, and the frame replaces everything
        file.write(_chunk(b"fcTL", control))
        number += 1
        for name, body in _chunks(data):
            if name == b"IDAT" and index == 0:
                file.write(_chunk(name, body))
            elif name == b"IDAT":
                file.write(_chunk(b"fdAT", struct.pack(">I", number) + body))
                number += 1
    file.write(_chunk(b"IEND", b""))
    return []


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
