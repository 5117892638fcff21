"""What is compared, and how: the conventions that make numbers comparable.

A protocol turns a target file into the picture that counts and a prediction and its target into numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from img2img.errors import ConfigError, ProcessingError
from img2img.image import Image
from img2img.image.colour import BT601
from img2img.image.image import Pixels
from img2img.image.numbers import from_unit, require_sound, to_unit, words
from img2img.image.resize import resize
from img2img.image.tensor import to_tensor
from img2img.metrics import luma, metric_of, metrics
from img2img.types import ValueRange

Rounding = Literal["rounded", "float"]
Grey = Literal["raw", "rgb"]
ColourKind = Literal["colour", "grey", "grey in colour"]

LEVELS = ValueRange(0.0, 255.0)
_NAMED = 3  # files in one sentence
_PLAIN = ("psnr", "ssim", "l1")
_BEYOND = 1e-3  # of the range: more is worth a word


Say = Callable[[str], None]


def forget(sentence: str) -> None:
    """Takes what nobody asked for."""


class EvaluationProtocol(ABC):
    """What every protocol offers."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of its numbers, the most important one first; each begins with that of a metric."""

    @abstractmethod
    def measure(self, prediction: Image, truth: Image, say: Say = forget) -> dict[str, float]:
        """Returns the numbers in `columns`; NaN for an extra one that cannot be had of these two.

        Args:
            prediction: Any depth and number of channels, opaque, its numbers with the meaning of those of
                the target.
            truth: What `truth` returned.
            say: Told why there is no number.

        Raises:
            ProcessingError: The pictures cannot be compared.
        """

    @abstractmethod
    def describe(self) -> str:
        """Returns the conventions in a few words."""

    names: bool = False
    """Whether pictures are label maps, whose colours are names: they are compared as they are stored."""

    numbers: ValueRange | None = None
    """Black and white in the numbers of targets and predictions; None where they are those of the depth."""

    def levels(self, image: Image) -> Image:
        """Returns a target or prediction whose black and white are those of its depth.

        Raises:
            ProcessingError: Its depth does not hold `numbers`, or a value is no finite number or none at all.
        """
        if self.numbers is not None:
            image = to_unit(image, self.numbers)
        if image.pixels.dtype != np.float32 or self.names:
            return image
        require_sound(image.pixels, self.numbers)
        low, high = float(image.pixels.min()), float(image.pixels.max())
        if self.numbers is None and (low < -_BEYOND or high > 1 + _BEYOND):
            said = f"values from {low:.3g} to {high:.3g} were taken for black and white where they are beyond"
            image = image.replace(warnings=(*image.warnings, said))
        return image.replace(pixels=np.clip(image.pixels, 0, 1))  # as black or white, like in training

    def truth(self, target: Image) -> Image:
        """Returns the part of an opaque target that a prediction has to match."""
        return target

    def decimals(self, column: str) -> int:
        """Returns how many decimals of a number are worth printing."""
        return metric_of(column).decimals

    def higher_is_better(self, column: str) -> bool:
        """Returns which way is up."""
        return metric_of(column).higher_is_better

    def describe_grey(self, names: Sequence[str], kind: ColourKind) -> str | None:
        """Returns how the grey pictures `names` were compared, in a sentence, where that is a choice."""
        return None


@dataclass(frozen=True)
class PlainProtocol(EvaluationProtocol):
    """PSNR, SSIM and L1 of pictures as they are, over all channels: for translations.

    Every depth is scaled to one range; grey becomes colour where the other picture has colour.

    Args:
        numbers: See `EvaluationProtocol`.
        extra: Names of further metrics, see `img2img.metrics`.

    Raises:
        ConfigError: There is no such metric.
    """

    numbers: ValueRange | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", _further(self.extra, _PLAIN))

    @property
    def columns(self) -> tuple[str, ...]:
        """See `EvaluationProtocol`."""
        return (*_PLAIN, *self.extra)

    def measure(self, prediction: Image, truth: Image, say: Say = forget) -> dict[str, float]:
        """See `EvaluationProtocol`."""
        require_size(prediction, truth)
        channels = max(prediction.channels, truth.channels)
        a, b = (to_tensor(_widened(image, channels), LEVELS) for image in (prediction, truth))
        return {name: _number(name, a, b) for name in _PLAIN} | _extras(self.extra, a, b, say)

    def describe(self) -> str:
        """See `EvaluationProtocol`."""
        scaled = "every depth scaled to one range" if self.numbers is None else f"{words(self.numbers)}"
        return f"plain: all channels, no border, {scaled}; L1 is a part of that range"


@dataclass(frozen=True)
class SuperResolutionProtocol(EvaluationProtocol):
    """PSNR and SSIM as papers on super-resolution print them.

    The target is cropped to a multiple of the scale at its right and bottom, the low-resolution picture is
    made from it by MATLAB's bicubic, and the prediction has 8 bits. Both are compared on Y without a border
    as wide as the scale. Deeper pictures are rounded to 8 bits first.

    Args:
        scale: Output pixels per input pixel along one side.
        y: Y in whole levels, as MATLAB's rgb2ycbcr makes it of 8-bit pictures ("rounded"), or unrounded
            ("float"). The usual bicubic rows of tables are rounded, and RCAN's for example are not: for Set5
            x2 that is 38.18 against 38.27 dB, less at lower numbers.
        grey: Targets that are stored in one channel are compared in their own levels from 0 to 255 ("raw"),
            or as colour pictures through Y from 16 to 235 ("rgb"), which makes 1.3 dB more of the same
            error. Of the usual sets one picture in Set14 is grey: that is all there is between 25.99 dB and
            26.09 dB for the bicubic x4 mean.
        rgb: Add the numbers over the three colour channels.
        numbers: See `EvaluationProtocol`.
        extra: Names of further metrics, see `img2img.metrics`; of the colours, without the same border.

    Raises:
        ConfigError: The scale is no positive whole number, or a choice or metric is not known.
    """

    scale: int
    y: Rounding = "rounded"
    grey: Grey = "raw"
    rgb: bool = False
    numbers: ValueRange | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", _further(self.extra, ()))
        if isinstance(self.scale, bool) or not isinstance(self.scale, int) or self.scale < 1:
            raise ConfigError(f"the sr protocol is for whole factors from 1 up, not {self.scale!r}.")
        for name, value, allowed in (("y", self.y, Rounding), ("grey", self.grey, Grey)):
            if value not in get_args(allowed):
                raise ConfigError(f"{name} {value!r} is not one of {', '.join(get_args(allowed))}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """See `EvaluationProtocol`."""
        return (*self._own, *self.extra)

    @property
    def _own(self) -> tuple[str, ...]:
        return ("psnr_y", "ssim_y", *(("psnr_rgb", "ssim_rgb") if self.rgb else ()))

    def truth(self, target: Image) -> Image:
        """Returns `target` in 8 bits, cropped to a multiple of the scale.

        Raises:
            ProcessingError: It is smaller than the scale.
        """
        height, width = (side - side % self.scale for side in (target.height, target.width))
        if 0 in (height, width):
            raise ProcessingError(
                f"the target of {target.width} x {target.height} pixels is smaller than scale {self.scale}"
            )
        return target.replace(pixels=_eight_bit(target.pixels[:height, :width]))

    def low_resolution(self, truth: Image) -> Image:
        """Returns the input that belongs to what `truth` returned: MATLAB's bicubic, in 8 bits.

        Where there are `numbers`, they are what those bits stand for.
        """
        size = truth.height // self.scale, truth.width // self.scale
        low = truth.replace(pixels=resize(truth.pixels, *size))
        if self.numbers is None:
            return low
        return from_unit(to_unit(low, ValueRange(0, 255)), self.numbers, np.dtype(np.float32))

    def measure(self, prediction: Image, truth: Image, say: Say = forget) -> dict[str, float]:
        """See `EvaluationProtocol`."""
        prediction = Image(_eight_bit(prediction.pixels))
        require_size(prediction, truth)
        grey = kind_of(truth) == "grey"
        colours = [
            to_tensor(_grey(image.pixels) if grey else _widened(image, 3), LEVELS)
            for image in (prediction, truth)
        ]
        both = colours  # of a grey picture, one channel: three equal ones would have the same numbers
        if not grey or self.grey == "rgb":
            both = [luma(x.expand(-1, 3, -1, -1), LEVELS, self.y == "rounded") for x in colours]
        own = {
            name: _number(name, *(colours if name.endswith("_rgb") else both), border=self.scale)
            for name in self._own
        }
        return own | _extras(self.extra, colours[0], colours[1], say, border=self.scale)

    def describe(self) -> str:
        """See `EvaluationProtocol`."""
        y = "in whole levels" if self.y == "rounded" else "unrounded"
        bits = "8 bits" if self.numbers is None else f"8 bits of {words(self.numbers)}"
        return (
            f"sr x{self.scale}: Y of BT.601 (16 to 235) {y}, {bits}, without a border of {self.scale} pixels"
        )

    def describe_grey(self, names: Sequence[str], kind: ColourKind) -> str | None:
        """See `EvaluationProtocol`."""
        if kind == "grey in colour":
            stored = f"Grey, but stored in three channels: {listed(names)}"
            return f"{stored}; compared as colour, through Y from 16 to 235."
        if self.grey == "rgb":
            return f"Grey: {listed(names)}; compared as if stored in colour, through Y from 16 to 235."
        return f"Grey: {listed(names)}; compared as grey, in their own levels from 0 to 255."


def listed(names: Sequence[str]) -> str:
    """Returns the first of `names`, and how many more there are."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")


def kind_of(picture: Image) -> ColourKind:
    """Returns whether a picture is grey: stored in one channel, or in three equal ones."""
    if picture.channels == 1:
        return "grey"
    first = picture.pixels[..., :1]
    return "grey in colour" if picture.channels == 3 and (picture.pixels == first).all() else "colour"


def _grey(pixels: Pixels) -> Pixels:
    """Returns the levels of a picture in one channel: what a colour network made of a grey one has tints."""
    if pixels.shape[2] == 1 or (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    if pixels.shape[2] != 3:
        raise ProcessingError(f"the prediction has {pixels.shape[2]} channels, and its target is grey")
    levels: Pixels = np.rint(pixels @ np.array(BT601))[..., None].astype(pixels.dtype)
    return levels


def _eight_bit(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    scale = 255.0 if pixels.dtype == np.float32 else 1 / 257
    levels: Pixels = np.rint(np.clip(pixels * np.float64(scale), 0, 255)).astype(np.uint8)
    return levels


def _widened(image: Image, channels: int) -> Pixels:
    """Returns the pixels with as many channels; only grey can become more."""
    if image.channels == 1:
        return np.repeat(image.pixels, channels, axis=2)
    if image.channels != channels:
        raise ProcessingError(f"there are {image.channels} colour channels where {channels} are needed")
    return image.pixels


def require_size(prediction: Image, truth: Image) -> None:
    """Raises ProcessingError where a prediction is not of the size of its target."""
    if (prediction.height, prediction.width) != (truth.height, truth.width):
        raise ProcessingError(
            f"the sizes differ: {prediction.width} x {prediction.height} is compared with "
            f"{truth.width} x {truth.height}"
        )


def _number(column: str, a: Tensor, b: Tensor, *, border: int = 0) -> float:
    """Returns the metric that `column` begins with, for two batches of one picture."""
    try:
        with torch.inference_mode():
            return float(metric_of(column).measure(a, b, LEVELS, border))
    except ValueError as error:  # too small for the border or the window
        raise ProcessingError(str(error)) from error


def _further(names: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of metrics that a protocol does not have of its own, each once."""
    for name in names:
        metrics[name]  # or it says which there are
    return tuple(name for name in dict.fromkeys(names) if name not in own)


def _extras(names: Sequence[str], a: Tensor, b: Tensor, say: Say, *, border: int = 0) -> dict[str, float]:
    """Returns further metrics of two batches of one picture; NaN, and the reason, where there is none."""
    found = {}
    for name in names:
        try:
            found[name] = _number(name, a, b, border=border)
        except ProcessingError as error:
            found[name] = math.nan
            say(str(error))
    return found
