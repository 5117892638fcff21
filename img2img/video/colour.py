"""Frames and pictures: from the numbers of a video to RGB and back, by its matrix and range."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from img2img.errors import ProcessingError
from img2img.image import Image, upright
from img2img.image.image import Pixels
from img2img.video.library import load

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

RGB, BT709, UNSPECIFIED, SMPTE170M = 0, 1, 2, 6  # AVColorSpace, as in ITU-T H.273
LIMITED, FULL = 1, 2  # AVColorRange
_SCALER = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # matrices of H.273 by swscale's numbers
_TURNED_BACK = {6: 8, 8: 6}


@dataclass(frozen=True)
class Colours:
    """What a stream says about the meaning of its numbers, as in ITU-T H.273.

    Attributes:
        primaries, transfer, matrix: 2 is not said.
        range: 0 not said, 1 limited, 2 full.
    """

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0

    @classmethod
    def of(cls, frame: VideoFrame) -> Colours:
        """Returns those of a decoded frame."""
        span = FULL if frame.format.name.startswith("yuvj") else int(frame.color_range)
        return cls(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), span)

    def stored(self, source: tuple[int, int], result: tuple[int, int], rgb: bool) -> Colours:
        """Returns what a result says.

        Players take untagged pictures for BT.709 when they are large and for BT.601 otherwise: one that has
        grown from the latter to the former is tagged, so that its colours stay.

        Args:
            source, result: Heights and widths.
            rgb: Whether the result is stored as RGB.
        """
        values = asdict(self)
        if rgb:
            return Colours(**{**values, "matrix": RGB, "range": FULL})
        if self.matrix == RGB:
            return Colours(**{**values, "matrix": _guessed(*result), "range": LIMITED})
        if self.matrix not in _SCALER and _guessed(*source) != _guessed(*result):
            return Colours(**{**values, "matrix": _guessed(*source)})
        return self

    def scaler(self, height: int, width: int) -> dict[str, int]:
        """Returns matrix and range in swscale's numbers, guessed by the size where nothing is said."""
        matrix = _SCALER.get(self.matrix) or _SCALER[_guessed(height, width)]
        return {"colorspace": matrix, "color_range": self.range or LIMITED}


def _guessed(height: int, width: int) -> int:
    return BT709 if width >= 1280 or height > 576 else SMPTE170M


class ToPictures:
    """Turns decoded frames into upright pictures: 8 bits into uint8, more into uint16.

    Args:
        colours: What the numbers mean.
        orientation: How frames have to be turned, as in EXIF.
    """

    def __init__(self, colours: Colours, orientation: int) -> None:
        self._colours = colours
        self._orientation = orientation
        self._reformatter: VideoReformatter = load().video.reformatter.VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Image:
        """Returns the picture in `frame`, as RGB, with alpha where its format has some."""
        deep, alpha = max(c.bits for c in frame.format.components) > 8, has_alpha(frame.format.name)
        array = _converted(
            self._reformatter,
            frame,
            _rgb(deep, alpha),
            self._colours.scaler(frame.height, frame.width),
            {"colorspace": BT709, "color_range": FULL},
        ).to_ndarray()
        pixels = upright(array[..., :3], self._orientation)
        opacity = upright(array[..., 3], self._orientation) if alpha else None
        return Image(pixels, opacity)


class ToFrames:
    """Turns pictures into frames of one size and format for an encoder.

    Args:
        colours: What the numbers are to mean.
        orientation: Of the source: its turn is taken back.
        format: FFmpeg's name of the pixel format.
        bits: Of each number in it.
    """

    def __init__(self, colours: Colours, orientation: int, format: str, bits: int) -> None:
        self._colours = colours
        self._orientation = _TURNED_BACK.get(orientation, orientation)
        self._format = format
        self._bits = bits
        av = load()
        self._frame = av.VideoFrame
        self._reformatter: VideoReformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, image: Image) -> VideoFrame:
        """Returns the frame of `image`; transparency that the format does not have is dropped.

        Raises:
            ProcessingError: It has channels that are no colours.
        """
        deep, alpha = self._bits > 8, has_alpha(self._format)
        array = as_rgb(image, np.uint16 if deep else np.uint8, alpha)
        array = upright(array, self._orientation)
        name = _rgb(deep, alpha)
        frame = self._frame.from_ndarray(array, format=name)
        target = self._colours.scaler(frame.height, frame.width)
        frame = _converted(
            self._reformatter, frame, self._format, {"colorspace": BT709, "color_range": FULL}, target
        )
        colours = self._colours
        frame.color_primaries, frame.color_trc = colours.primaries, colours.transfer
        frame.colorspace, frame.color_range = colours.matrix, colours.range
        return frame


def as_rgb(image: Image, dtype: type[np.generic], alpha: bool) -> Pixels:
    """Returns `image` as (H, W, 3), or (H, W, 4) with alpha, of an integer `dtype`.

    Raises:
        ProcessingError: It has channels that are no colours.
    """
    pixels = image.pixels
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, 2)
    elif pixels.shape[2] != 3:
        raise ProcessingError(
            f"the result has {pixels.shape[2]} channels; frames of videos have one (grey) or three"
        )
    if alpha:
        opacity = image.alpha
        if opacity is None:
            opacity = np.full(pixels.shape[:2], image.white, pixels.dtype)
        pixels = np.concatenate((pixels, opacity[..., None]), 2)
    return np.ascontiguousarray(_levels(pixels, dtype, image.white))


def _levels(pixels: Pixels, dtype: type[np.generic], white: float) -> Pixels:
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * 257
    top = float(np.iinfo(dtype).max)  # type: ignore[type-var]
    scaled = pixels.astype(np.float32) * np.float32(top / white)
    levels: Pixels = np.rint(np.clip(np.nan_to_num(scaled), 0, top)).astype(dtype)
    return levels


def has_alpha(name: str) -> bool:
    """Returns whether the pixel format has a channel for opacity."""
    format = load().VideoFormat(name)
    return bool(any(component.is_alpha for component in format.components)) and name != "pal8"


def _rgb(deep: bool, alpha: bool) -> str:
    return ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")


def _converted(
    reformatter: VideoReformatter,
    frame: VideoFrame,
    name: str,
    source: dict[str, int],
    target: dict[str, int],
) -> VideoFrame:
    kinds: Any = load().video.reformatter.Interpolation
    careful = kinds.BICUBIC | kinds.FULL_CHR_H_INT | kinds.FULL_CHR_H_INP | kinds.ACCURATE_RND
    return reformatter.reformat(
        frame,
        format=name,
        interpolation=careful | kinds.BITEXACT,
        src_colorspace=source["colorspace"],
        src_color_range=source["color_range"],
        dst_colorspace=target["colorspace"],
        dst_color_range=target["color_range"],
    )
