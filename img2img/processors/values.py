"""The kinds of values that parameters take, each readable from a word on the command line."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo

from img2img.errors import ImageError
from img2img.image import decode
from img2img.image.colour import BT601
from img2img.image.conversion import Meaning, converted
from img2img.image.files import read_bytes
from img2img.image.image import Image

_DIGITS = 12  # of a percentage


class ValueForm(NamedTuple):
    """Says in a few words what a value may look like, for messages and help."""

    text: str


def parameter(text: str, *, unit: str = "", **bounds: Any) -> Any:
    """Returns the field that documents and bounds one parameter.

    Args:
        text: What it does, one sentence.
        unit: What the number counts, for people: "pixels", "degrees".
        bounds: Limits as pydantic names them: ge, gt, le, lt.
    """
    return Field(description=text, json_schema_extra={"unit": unit}, **bounds)


def _fraction(value: object) -> object:
    if isinstance(value, str) and value.strip().endswith("%"):
        return float(value.strip()[:-1]) / 100
    return value


Fraction = Annotated[
    float, BeforeValidator(_fraction), ValueForm("a fraction such as 0.05, or a percentage such as 5%")
]


class Length(NamedTuple):
    """A length in pixels, or in percent of the picture's side."""

    value: float
    relative: bool = False

    def of(self, whole: int) -> int:
        """Returns the length in pixels for a side of `whole` pixels."""
        return round(self.value * whole / 100) if self.relative else int(self.value)

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.relative else str(int(self.value))


def _length(value: object) -> Length:
    if isinstance(value, Length):
        return value
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%|([0-9]{1,7})", str(value).strip())
    if not found or len(found[1] or "") > _DIGITS:
        raise ValueError("is not a length")
    return Length(float(found[1]), True) if found[1] else Length(float(found[2]))


PixelLength = Annotated[
    Length,
    PlainValidator(_length),
    PlainSerializer(str),
    ValueForm("a whole number of pixels, or a percentage of the picture such as 50%"),
]


class Area(NamedTuple):
    """Width and height."""

    width: Length
    height: Length

    def of(self, image: Image) -> tuple[int, int]:
        """Returns (height, width) in pixels, at least 1, for `image`."""
        return max(1, self.height.of(image.height)), max(1, self.width.of(image.width))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _area(value: object) -> Area:
    if isinstance(value, Area):
        return value
    sides = [_length(side) for side in re.split("[x×]", str(value).strip().lower())]
    if len(sides) != 2 or min(sides).value <= 0:
        raise ValueError("is not a size")
    return Area(*sides)


PixelArea = Annotated[
    Area,
    PlainValidator(_area),
    PlainSerializer(str),
    ValueForm("WIDTHxHEIGHT in pixels such as 512x384, or in percent such as 50%x50%"),
]


class Ratio(NamedTuple):
    """Width to height."""

    width: float
    height: float

    def __str__(self) -> str:
        return f"{self.width:g}:{self.height:g}"


def _ratio(value: object) -> Ratio:
    if isinstance(value, Ratio):
        return value
    found = re.fullmatch(r"([0-9.]+)[:/]([0-9.]+)", str(value).strip())
    ratio = Ratio(float(found[1]), float(found[2])) if found else Ratio(0, 0)
    if min(ratio) <= 0 or not 1e-3 <= ratio.width / ratio.height <= 1e3:
        raise ValueError("is not an aspect ratio")
    return ratio


Aspect = Annotated[
    Ratio, PlainValidator(_ratio), PlainSerializer(str), ValueForm("WIDTH:HEIGHT such as 16:9, up to 1000:1")
]

Gravity = Literal[
    "center", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"
]


def offset(gravity: Gravity, free_rows: int, free_columns: int) -> tuple[int, int]:
    """Returns (top, left) of a part that leaves so many rows and columns free around it."""
    down = {"top": 0, "bottom": 2}.get(gravity.split("-")[0], 1)
    right = {"left": 0, "right": 2}.get(gravity.split("-")[-1], 1)
    return free_rows * down // 2, free_columns * right // 2


class FillColour(NamedTuple):
    """A colour in fractions of white, with its opacity."""

    red: float
    green: float
    blue: float
    alpha: float = 1.0

    def of(self, channels: int) -> NDArray[np.float32]:
        """Returns it for a picture of so many channels (C,): the luma where there are not three."""
        rgb = np.array(self[:3], np.float32)
        return rgb if channels == 3 else np.full(channels, rgb @ np.array(BT601, np.float32), np.float32)

    def __str__(self) -> str:
        return "#" + "".join(f"{round(part * 255):02x}" for part in self)


_NAMED = {
    "black": FillColour(0, 0, 0),
    "white": FillColour(1, 1, 1),
    "gray": FillColour(0.5, 0.5, 0.5),
    "grey": FillColour(0.5, 0.5, 0.5),
    "red": FillColour(1, 0, 0),
    "green": FillColour(0, 0.5, 0),
    "blue": FillColour(0, 0, 1),
    "transparent": FillColour(0, 0, 0, 0),
}


def _colour(value: object) -> FillColour:
    if isinstance(value, FillColour):
        return value
    text = str(value).strip().lower()
    if text in _NAMED:
        return _NAMED[text]
    if re.fullmatch(r"#?(?:[0-9a-f]{6}|[0-9a-f]{8})", text):
        return FillColour(*(byte / 255 for byte in bytes.fromhex(text.lstrip("#"))))
    raise ValueError("is not a colour")


Fill = Annotated[
    FillColour,
    PlainValidator(_colour),
    PlainSerializer(str),
    ValueForm("black, white, gray, red, green, blue, transparent, #rrggbb or #rrggbbaa"),
]


@dataclass(frozen=True)
class ReferencePicture:
    """A reference picture: read once, when the operation is built, and known by its content.

    Attributes:
        digest: SHA-256 of the file's bytes; two references are equal when this is.
        path: Where it was read.
        image: The picture.
    """

    digest: str
    path: Path = field(compare=False)
    image: Image = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"sha256:{self.digest}"

    def in_colours(self, to: Meaning) -> tuple[Image, tuple[str, ...]]:
        """Returns the picture with numbers that mean what `to` says, and what has to be said about that."""
        image = _in_colours(self, to)
        return image, image.warnings[len(self.image.warnings) :]


@lru_cache(maxsize=8)
def _in_colours(picture: ReferencePicture, to: Meaning) -> Image:
    return converted(picture.image, to, "the reference")


def _picture(value: object, info: ValidationInfo) -> ReferencePicture:
    if isinstance(value, ReferencePicture):
        return value
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("is not the name of a file")
    path = Path(value).expanduser()
    if info.context:  # a recipe names files from where it lies, as every file that names files does
        path = info.context["folder"] / path
    try:
        data = read_bytes(path)
        image = decode(data, name=path)
    except ImageError as error:
        raise ValueError(f"it cannot be read ({error.reason})") from None
    return ReferencePicture(hashlib.sha256(data).hexdigest(), path, image)


Reference = Annotated[
    ReferencePicture, PlainValidator(_picture), PlainSerializer(str), ValueForm("the name of a picture file")
]
