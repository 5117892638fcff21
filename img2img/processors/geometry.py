"""Where pixels lie: resize, crop, pad, rotate, flip. Alpha goes along."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from img2img.errors import ProcessingError
from img2img.image.image import Image, Pixels
from img2img.processors.base import Operation, processors
from img2img.processors.pixels import by_channels, restore, through_opacity, unit
from img2img.processors.resample import resample
from img2img.processors.values import (
    Aspect,
    Fill,
    FillColour,
    Fraction,
    Gravity,
    PixelArea,
    PixelLength,
    offset,
    parameter,
)

_LARGEST = 2**28  # pixels; a typing error must not take the machine's memory


@processors.register("resize")
class Resize(Operation):
    """Makes a picture larger or smaller.

    Say the new size in one way: `long`, `short`, `width`, `height`, `size` (or `width` and `height`
    together) or `scale`. Nothing aliases: every kernel but nearest is stretched when the picture shrinks.
    """

    bare: ClassVar = ("size", "scale", "fit", "kernel")
    examples: ClassVar = (
        "resize=long:1024",
        "resize=50%",
        "resize=512x512,cover",
        "resize=short:720,upscale:false",
    )

    long: Annotated[
        int | None, parameter("Length of the longer side.", unit="pixels", ge=1, le=1_000_000)
    ] = None
    short: Annotated[
        int | None, parameter("Length of the shorter side.", unit="pixels", ge=1, le=1_000_000)
    ] = None
    width: Annotated[int | None, parameter("New width.", unit="pixels", ge=1, le=1_000_000)] = None
    height: Annotated[int | None, parameter("New height.", unit="pixels", ge=1, le=1_000_000)] = None
    size: Annotated[PixelArea | None, parameter("A box; `fit` says what to do with it.")] = None
    scale: Annotated[Fraction | None, parameter("Factor for both sides.", gt=0, le=16)] = None
    fit: Annotated[
        Literal["inside", "cover", "stretch", "pad"],
        parameter(
            "With `size`: fit inside it, cover it and cut the rest, stretch to it, or fit inside and pad."
        ),
    ] = "inside"
    kernel: Annotated[
        Literal["bicubic", "lanczos", "linear", "area", "nearest"],
        parameter("Interpolation; bicubic is MATLAB's, as papers use it."),
    ] = "bicubic"
    upscale: Annotated[bool, parameter("If false, pictures only ever shrink.")] = True
    gravity: Annotated[Gravity, parameter("With cover and pad: which part stays, or where it stands.")] = (
        "center"
    )
    fill: Annotated[
        Fill | None, parameter("With pad: the colour around; transparent or black if not given.")
    ] = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [
            name for name in ("long", "short", "width", "height", "size", "scale") if getattr(self, name)
        ]
        if len(given) != 1 and given != ["width", "height"]:
            found = " and ".join(given) if given else "no size"
            raise ValueError(
                f"has {found}; say one of long:N, short:N, width:N, height:N, WIDTHxHEIGHT, scale:0.5 or 50%"
            )
        return self

    @property
    def moves(self) -> bool:
        """Whether it only moves pixels: with the kernel nearest."""
        return self.kernel == "nearest"

    def apply(self, image: Image) -> Image:
        """Returns the resized image."""
        box = self._box(image)
        height, width = self._target(image, box)
        _check_area(height, width)
        factors = width / image.width, height / image.height
        if self.kernel == "nearest":
            image = _every_plane(image, lambda pixels: resample(pixels, height, width, "nearest"))
        elif (height, width) != (image.height, image.width):
            image = through_opacity(image, lambda pixels: resample(pixels, height, width, self.kernel))
        quality = image.jpeg_quality if factors == (1, 1) else None  # other pixels than the file's
        image = image.replace(metadata=image.metadata.resized(*factors), jpeg_quality=quality)
        if box is None or self.fit in ("inside", "stretch"):
            return image
        if self.fit == "cover":
            rows, columns = min(height, box[0]), min(width, box[1])
            top, left = offset(self.gravity, height - rows, width - columns)
            return _cut(image, top, left, rows, columns)
        return _padded_to(image, max(height, box[0]), max(width, box[1]), self.gravity, "constant", self.fill)

    def _box(self, image: Image) -> tuple[int, int] | None:
        """Returns (height, width) of the box, if there is one."""
        if self.width and self.height:
            return self.height, self.width
        return self.size.of(image) if self.size else None

    def _target(self, image: Image, box: tuple[int, int] | None) -> tuple[int, int]:
        """Returns (height, width) that the picture itself is resampled to."""
        height, width = image.height, image.width
        if box:
            down, across = box[0] / height, box[1] / width
            if self.fit != "stretch":
                down = across = max(down, across) if self.fit == "cover" else min(down, across)
        else:
            down = across = (
                self.scale
                or (self.long and self.long / max(height, width))
                or (self.short and self.short / min(height, width))
                or (self.width and self.width / width)
                or (self.height or 0) / height
            )
        if not self.upscale:
            down, across = min(down, 1), min(across, 1)
        return max(1, round(height * down)), max(1, round(width * across))


@processors.register("crop")
class Crop(Operation):
    """Cuts a part out of a picture.

    The part is `size` (or `width` and `height`), or the largest one of an `aspect`; it lies at `x` and `y`
    from the top left corner, or where `gravity` says. A part larger than the picture is cut down to it,
    with a warning.
    """

    bare: ClassVar = ("size", "aspect", "gravity")
    examples: ClassVar = (
        "crop=center,512x512",
        "crop=16:9",
        "crop=x:10,y:20,width:300,height:200",
        "crop=80%x80%",
    )

    size: Annotated[PixelArea | None, parameter("Width and height of the part.")] = None
    aspect: Annotated[Aspect | None, parameter("The largest part of this shape.")] = None
    x: Annotated[PixelLength | None, parameter("Left edge of the part.")] = None
    y: Annotated[PixelLength | None, parameter("Top edge of the part.")] = None
    width: Annotated[PixelLength | None, parameter("Width of the part; all that is there if not given.")] = (
        None
    )
    height: Annotated[
        PixelLength | None, parameter("Height of the part; all that is there if not given.")
    ] = None
    gravity: Annotated[Gravity, parameter("Where the part lies, without `x` and `y`.")] = "center"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [bool(self.size), bool(self.aspect), bool(self.width or self.height)]
        if sum(ways) > 1 or not (any(ways) or self.x or self.y):
            raise ValueError("needs one of WIDTHxHEIGHT, an aspect such as 16:9, or x, y, width and height")
        return self

    @property
    def moves(self) -> bool:
        """Whether it only moves pixels: always."""
        return True

    def apply(self, image: Image) -> Image:
        """Returns the part."""
        left = self.x.of(image.width) if self.x else 0
        top = self.y.of(image.height) if self.y else 0
        if left >= image.width or top >= image.height:
            raise ProcessingError(
                f"the crop begins at x {left}, y {top}, outside the {image.width} x {image.height} pixels."
            )
        room = image.height - top, image.width - left
        rows, columns = wanted = self._extent(image, room)
        rows, columns = min(max(rows, 1), room[0]), min(max(columns, 1), room[1])
        down, across = offset(self.gravity, room[0] - rows, room[1] - columns)
        image = _cut(image, top if self.y else top + down, left if self.x else left + across, rows, columns)
        if (rows, columns) != wanted:
            image = image.warn(
                f"the crop of {wanted[1]} x {wanted[0]} is too large here; it became {columns} x {rows}."
            )
        return image

    def _extent(self, image: Image, room: tuple[int, int]) -> tuple[int, int]:
        """Returns the (height, width) asked for, where (height, width) are `room`."""
        if self.size:
            return self.size.of(image)
        if self.aspect:
            ratio = self.aspect.width / self.aspect.height
            return max(1, min(room[0], round(room[1] / ratio))), max(1, min(room[1], round(room[0] * ratio)))
        return (
            self.height.of(image.height) if self.height else room[0],
            self.width.of(image.width) if self.width else room[1],
        )


@processors.register("pad")
class Pad(Operation):
    """Adds a border: up to a size, a shape or a multiple, or so much on each side.

    A side that is long enough stays as it is; nothing is ever cut.
    """

    bare: ClassVar = ("size", "aspect", "mode", "gravity")
    examples: ClassVar = (
        "pad=256x256,mode:reflect",
        "pad=1:1,fill:white",
        "pad=multiple:32,edge",
        "pad=left:10,top:5%",
    )

    size: Annotated[PixelArea | None, parameter("Width and height to reach.")] = None
    aspect: Annotated[Aspect | None, parameter("Shape to reach.")] = None
    multiple: Annotated[
        int | None, parameter("Both sides become multiples of this.", unit="pixels", ge=1, le=65536)
    ] = None
    left: Annotated[PixelLength | None, parameter("Columns to add on the left.")] = None
    top: Annotated[PixelLength | None, parameter("Rows to add above.")] = None
    right: Annotated[PixelLength | None, parameter("Columns to add on the right.")] = None
    bottom: Annotated[PixelLength | None, parameter("Rows to add below.")] = None
    mode: Annotated[
        Literal["constant", "reflect", "edge"],
        parameter("A colour, the picture mirrored, or its outermost pixels repeated."),
    ] = "constant"
    fill: Annotated[
        Fill | None,
        parameter("The colour; transparent where the picture has alpha, black otherwise, if not given."),
    ] = None
    gravity: Annotated[Gravity, parameter("Where the picture stands.")] = "center"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        sides = any((self.left, self.top, self.right, self.bottom))
        if sum(map(bool, (self.size, self.aspect, self.multiple, sides))) != 1:
            raise ValueError(
                "needs one of WIDTHxHEIGHT, an aspect such as 1:1, multiple:N, or left, top, right, bottom"
            )
        return self

    @property
    def moves(self) -> bool:
        """Whether it only moves pixels: always."""
        return True

    def apply(self, image: Image) -> Image:
        """Returns the picture with its border."""
        height, width = image.height, image.width
        if self.size:
            rows, columns = self.size.of(image)
        elif self.aspect:
            ratio = self.aspect.width / self.aspect.height
            rows, columns = round(width / ratio), round(height * ratio)
        elif self.multiple:
            rows, columns = (math.ceil(side / self.multiple) * self.multiple for side in (height, width))
        else:
            top, bottom = (side.of(height) if side else 0 for side in (self.top, self.bottom))
            left, right = (side.of(width) if side else 0 for side in (self.left, self.right))
            return _padded(image, (top, bottom), (left, right), self.mode, self.fill)
        return _padded_to(image, max(rows, height), max(columns, width), self.gravity, self.mode, self.fill)


@processors.register("rotate")
class Rotate(Operation):
    """Turns a picture clockwise.

    Multiples of 90 degrees move pixels without changing any, and swap the sides. Other angles are
    interpolated (bicubic) with smooth edges; `fill` shows in the corners.
    """

    bare: ClassVar = ("angle",)
    examples: ClassVar = ("rotate=90", "rotate=-3.5,expand:false", "rotate=10,fill:white")

    angle: Annotated[float, parameter("How far, clockwise.", unit="degrees", ge=-360, le=360)]
    expand: Annotated[
        bool,
        parameter("Grow so that nothing is cut (otherwise the size stays); for angles but multiples of 90."),
    ] = True
    fill: Annotated[
        Fill | None,
        parameter(
            "Colour of the corners; transparent where the picture has alpha, black otherwise, if not given."
        ),
    ] = None

    @property
    def moves(self) -> bool:
        """Whether it only moves pixels: by multiples of 90 degrees."""
        return self.angle % 90 == 0

    def apply(self, image: Image) -> Image:
        """Returns the turned picture."""
        if self.angle % 90 == 0:
            turns = -int(self.angle // 90) % 4
            return _every_plane(image.moved(), lambda pixels: np.rot90(pixels, turns)) if turns else image
        if image.alpha is None or image.alpha.min() >= image.white:
            ones = np.ones((image.height, image.width, 1), np.float32)
            pixels, opacity = self._warp(image.pixels, cv2.BORDER_REPLICATE), self._warp(ones)[:, :, 0]
        else:
            moved = through_opacity(image, self._warp)
            pixels, opacity = moved.pixels, unit(np.asarray(moved.alpha))
        image = image.moved()
        fill = _fill_of(image, self.fill)
        edge = opacity < 1
        front = np.clip(opacity[edge], 0, 1)[:, None]
        behind = fill.alpha * (1 - front)
        mixed = unit(pixels[edge]) * front + fill.of(image.channels) * behind
        pixels[edge] = restore(mixed / np.maximum(front + behind, 1e-6), pixels.dtype)
        if image.alpha is None and fill.alpha == 1:
            return image.replace(pixels=pixels)
        alpha = np.full(edge.shape, image.white, pixels.dtype)
        alpha[edge] = restore((front + behind)[:, 0], pixels.dtype)
        return image.replace(pixels=pixels, alpha=alpha)

    def _warp(self, pixels: Pixels, border: int = cv2.BORDER_CONSTANT) -> Pixels:
        height, width = pixels.shape[:2]
        angle = math.radians(self.angle)
        cos, sin = math.cos(angle), math.sin(angle)
        size = width, height
        if self.expand:
            across = math.ceil(abs(width * cos) + abs(height * sin) - 1e-6)
            size = across, math.ceil(abs(width * sin) + abs(height * cos) - 1e-6)
            _check_area(size[1], size[0])
        turn = np.array([[cos, -sin], [sin, cos]])  # clockwise, because y points down
        shift = (np.array(size) - 1) / 2 - turn @ ((np.array([width, height]) - 1) / 2)
        matrix = np.column_stack([turn, shift])

        def warp(part: Pixels) -> Pixels:
            return np.asarray(cv2.warpAffine(part, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border))

        return by_channels(warp, pixels)


@processors.register("flip")
class Flip(Operation):
    """Mirrors a picture."""

    bare: ClassVar = ("direction",)
    examples: ClassVar = ("flip=horizontal", "flip=vertical")

    direction: Annotated[
        Literal["horizontal", "vertical", "both"],
        parameter("Left and right change places, top and bottom, or both."),
    ] = "horizontal"

    @property
    def moves(self) -> bool:
        """Whether it only moves pixels: always."""
        return True

    def apply(self, image: Image) -> Image:
        """Returns the mirrored picture."""
        axes = {"horizontal": (1,), "vertical": (0,), "both": (0, 1)}[self.direction]
        return _every_plane(image.moved(), lambda pixels: np.flip(pixels, axes))


def _check_area(height: int, width: int) -> None:
    if height * width > _LARGEST:
        raise ProcessingError(f"the result would have {width} x {height} pixels; {_LARGEST:,} are allowed.")


def _cut(image: Image, top: int, left: int, rows: int, columns: int) -> Image:
    if (rows, columns) == (image.height, image.width):
        return image
    part = np.s_[top : top + rows, left : left + columns]
    return _every_plane(image.moved(), lambda pixels: pixels[part])


def _every_plane(image: Image, move: Callable[[Pixels], Pixels]) -> Image:
    """Returns the image with pixels (H, W, C) and alpha (H, W) moved alike."""
    alpha = None if image.alpha is None else np.ascontiguousarray(move(image.alpha))
    return image.replace(pixels=np.ascontiguousarray(move(image.pixels)), alpha=alpha)


def _fill_of(image: Image, fill: FillColour | None) -> FillColour:
    return fill or FillColour(0, 0, 0, 1.0 if image.alpha is None else 0.0)


def _padded_to(
    image: Image, rows: int, columns: int, gravity: Gravity, mode: str, fill: FillColour | None
) -> Image:
    top, left = offset(gravity, rows - image.height, columns - image.width)
    return _padded(image, (top, rows - image.height - top), (left, columns - image.width - left), mode, fill)


def _padded(
    image: Image, rows: tuple[int, int], columns: tuple[int, int], mode: str, fill: FillColour | None
) -> Image:
    """Returns the image with (before, after) rows and columns around it; a fill with opacity adds alpha."""
    if not any((*rows, *columns)):
        return image
    _check_area(image.height + sum(rows), image.width + sum(columns))
    image = image.moved()
    if mode != "constant":
        return _every_plane(
            image,
            lambda pixels: np.pad(pixels, (rows, columns, (0, 0))[: pixels.ndim], mode=mode),  # type: ignore[call-overload]
        )
    colour = _fill_of(image, fill)
    alpha = image.alpha
    if alpha is None and colour.alpha < 1:
        alpha = np.full(image.pixels.shape[:2], image.white, image.pixels.dtype)
    inside = np.s_[rows[0] : rows[0] + image.height, columns[0] : columns[0] + image.width]
    shape = image.height + sum(rows), image.width + sum(columns)
    pixels = np.empty((*shape, image.channels), image.pixels.dtype)
    pixels[:] = restore(colour.of(image.channels), image.pixels.dtype)
    pixels[inside] = image.pixels
    if alpha is not None:
        around = np.full(shape, restore(np.float32(colour.alpha), image.pixels.dtype), image.pixels.dtype)
        around[inside] = alpha
        alpha = around
    return image.replace(pixels=pixels, alpha=alpha)
