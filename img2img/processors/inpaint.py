"""Holes in pictures: which pixels they are, filling them, and leaving every other pixel as it was."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Fields, Mask
from img2img.image.alpha import bleed
from img2img.image.image import Image, Pixels
from img2img.image.planes import mask_of, painted
from img2img.processors.pixels import by_channels, unit
from img2img.registry import unknown

Hole = NDArray[np.bool_]  # (H, W), True where a pixel is to be made
HoleFiller = Callable[[Image, Hole], Image]
"""Returns a picture like the given one of which the pixels in the hole are taken; what the given one holds
there must not matter. Neither the hole nor the rest of the picture is empty."""

ClassicMethod = Literal["telea", "navier_stokes"]
_METHODS = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}
_GREY = (0.1, 0.9)  # between these a mask says neither hole nor known
_FEW_GREYS = 0.01  # of a mask: soft edges of a brush, and what JPEG leaves around hard ones
_COLOURED, _FEW_COLOURS = 0.5, 1e-4  # of white between the channels of a pixel; of a mask
_NEAR = 64  # levels
_MOST_TOLERANT = 127  # levels: more takes half of all colours
NO_HOLE = "nothing in it is a hole"
"""How the warning about a picture begins that comes back as it was."""


@dataclass(frozen=True)
class Classic:
    """Fills holes from their edge inwards with one of OpenCV's two methods; a `HoleFiller`.

    Computes in 16 bits whatever the depth, so that all depths agree: of floats OpenCV's own version of Telea
    makes noise, and that of 8 bits rounds at every pixel.

    Args:
        method: "telea" weights what is known around a pixel by direction, distance and level; "navier_stokes"
            continues lines of equal brightness.
        radius: How many pixels around a pixel are looked at.

    Raises:
        ConfigError: There is no such method.

    References:
        Telea, An Image Inpainting Technique Based on the Fast Marching Method (2004); Bertalmio, Bertozzi,
        Sapiro, Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting (CVPR 2001).
    """

    method: ClassicMethod = "telea"
    radius: float = 3.0

    def __post_init__(self) -> None:
        if self.method not in get_args(ClassicMethod):
            raise ConfigError(unknown("inpainting method", self.method, get_args(ClassicMethod)))

    def __call__(self, image: Image, hole: Hole) -> Image:
        """Returns `image` with the hole filled, alpha too.

        Raises:
            ProcessingError: What is known holds values that are no finite numbers.
        """
        pixels = self._filled(image.pixels, hole)
        alpha = None if image.alpha is None else self._filled(image.alpha[..., None], hole)[..., 0]
        return image.replace(pixels=pixels, alpha=alpha)

    def _filled(self, pixels: Pixels, hole: Hole) -> Pixels:
        known = pixels[~hole]
        low, high = (0.0, float(np.iinfo(pixels.dtype).max)) if pixels.dtype != np.float32 else _limits(known)
        scale = np.float64(65535 / max(high - low, 1e-30))
        levels = np.where(hole[..., None], 0, np.rint((pixels.astype(np.float64) - low) * scale))
        mask = hole.astype(np.uint8)
        made = by_channels(
            lambda plane: cv2.inpaint(plane, mask, self.radius, _METHODS[self.method]),
            levels.astype(np.uint16),
            most=1,
        )
        values = made / scale + low
        return (values if pixels.dtype == np.float32 else np.rint(values)).astype(pixels.dtype)


def _limits(known: Pixels) -> tuple[float, float]:
    low, high = float(known.min()), float(known.max())
    if not np.isfinite([low, high]).all():
        raise ProcessingError(
            "the picture holds values that are not finite numbers; give such places a number, or make them "
            "part of the hole."
        )
    return low, high


def continued_alpha(image: Image, hole: Hole) -> Pixels | None:
    """Returns the alpha of `image` (H, W) with the hole filled: as it is all around, or by Telea's method."""
    alpha = image.alpha
    if alpha is None:
        return None
    known = alpha[~hole]
    if (known == known[0]).all():
        return np.full_like(alpha, known[0])
    return Classic()(Image(alpha[..., None]), hole).pixels[..., 0]


def thickness(hole: Hole) -> NDArray[np.float32]:
    """Returns for each pixel of a hole how thick the hole is there, 0 elsewhere, (H, W).

    That is the largest distance in pixels from anything known, of all that hangs together with it.
    """
    mask = hole.astype(np.uint8)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    count, labels = cv2.connectedComponents(mask)
    largest = np.zeros(count, np.float32)
    np.maximum.at(largest, labels[hole].astype(np.intp), distance[hole])
    return np.where(hole, largest[labels], 0)


def depth(hole: Hole) -> NDArray[np.float32]:
    """Returns for each pixel of a hole how far it is from anything known, in pixels, 0 elsewhere, (H, W)."""
    return np.asarray(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5))


@dataclass(frozen=True)
class Colour:
    """A colour that marks holes.

    Attributes:
        levels: Red, green and blue, 0 to 255.
        tolerance: How far each of them may be off, in the same units; 0 to 127.

    Raises:
        ConfigError: The tolerance is none.
    """

    levels: tuple[int, int, int]
    tolerance: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= _MOST_TOLERANT:
            raise ConfigError(
                f"the tolerance of a colour is 0 to {_MOST_TOLERANT} levels of 255, not {self.tolerance}."
            )

    def __str__(self) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.levels)


class Inpainter:
    """Fills the holes of pictures; a batch processor.

    Pixels that are no hole come back bit by bit as they were. A picture without holes comes back as it is,
    with a warning that begins with `NO_HOLE`.

    Args:
        fill: What makes the pixels in the holes.
        holes: Where they are. "mask": white in a mask that comes with each picture. "alpha": where the
            picture is transparent; the result is opaque, and what is half transparent there lies over what
            was filled in. Or where the picture has a colour.
        invert: Whether what is said to be a hole is known, and the rest is the hole.

    Attributes:
        conditions: What it takes beside a picture, by name.

    Raises:
        ConfigError: "alpha" cannot be inverted.
    """

    def __init__(
        self, fill: HoleFiller, holes: Literal["mask", "alpha"] | Colour = "mask", invert: bool = False
    ) -> None:
        if holes == "alpha" and invert:
            raise ConfigError("what is transparent holds no colours to fill the rest with; leave invert out.")
        self._fill, self._holes, self._invert = fill, holes, invert
        self.conditions: Fields = {"mask": Mask()} if holes == "mask" else {}

    def group_key(self, image: Image) -> Hashable:
        """Returns None: each picture is filled by itself."""
        return None

    def __call__(self, images: Sequence[Image], mask: Sequence[Image] | None = None) -> list[Image]:
        """Returns the pictures with their holes filled, in order.

        Args:
            images: Pictures of any depth and size.
            mask: One for each, of the same size, where holes are told by masks. Above one half is hole, see
                `mask_of`; what is transparent in a mask is none.

        Raises:
            ProcessingError: A mask has another size than its picture, or a picture is one hole.
        """
        masks = [None] * len(images) if mask is None else mask
        return [self._one(image, its) for image, its in zip(images, masks, strict=True)]

    def _one(self, image: Image, mask: Image | None) -> Image:
        if self._holes == "alpha":
            return self._behind(image)
        notes: tuple[str, ...] = ()
        if isinstance(self._holes, Colour):
            hole, notes = has_colour(image, self._holes)
        elif mask is None:
            raise ProcessingError("it came without a mask.")
        elif not isinstance(mask, Image):  # a table may hold numbers where it should name a file
            raise ProcessingError("its mask is to be a picture, and numbers were given.")
        else:
            hole, notes = hole_of(mask, image)
        hole ^= self._invert
        image = image.warn(*notes)
        if not hole.any():
            return image.warn(f"{NO_HOLE}: {self._why_none()}; it stays as it is")
        made = self._made(image, hole)
        pixels = np.where(hole[..., None], made.pixels, image.pixels)
        if image.alpha is None or made.alpha is None:
            return made.replace(pixels=pixels, alpha=image.alpha)
        return made.replace(pixels=pixels, alpha=np.where(hole, made.alpha, image.alpha))

    def _why_none(self) -> str:
        if isinstance(self._holes, Colour):
            return (
                f"it is of the colour {self._holes} everywhere"
                if self._invert
                else f"{self._holes} does not occur"
            )
        return "its mask is white everywhere" if self._invert else "its mask has no white"

    def _advice(self) -> str:
        if self._holes == "alpha":
            return ": it is transparent everywhere"
        where = f"{self._holes} is" if isinstance(self._holes, Colour) else "white in a mask is"
        return f"; {where} {'known' if self._invert else 'hole'}, and `invert` turns that round"

    def _behind(self, image: Image) -> Image:
        """Returns `image` laid over what is filled in where it is not opaque."""
        alpha = image.alpha
        if alpha is None or not (hole := ~(alpha >= image.white)).any():
            why = "it has no alpha channel" if alpha is None else "it is opaque everywhere"
            return image.warn(f"{NO_HOLE}: {why}; it stays as it is")
        if hole.all():  # where nothing is opaque, what is nearly so must do
            hole = ~(alpha > image.white / 2)
        made = self._made(image.replace(alpha=None), hole)
        share = np.clip(unit(np.nan_to_num(alpha)), 0, 1)[..., None]
        seen = np.where(share > 0, image.pixels, 0).astype(np.float64)
        mixed = seen * share + made.pixels.astype(np.float64) * (1 - share)
        mixed = mixed if image.pixels.dtype == np.float32 else np.rint(mixed)
        pixels = np.where(hole[..., None], mixed.astype(image.pixels.dtype), image.pixels)
        return made.replace(pixels=pixels, alpha=np.full_like(alpha, image.white))

    def _made(self, image: Image, hole: Hole) -> Image:
        """Returns what `fill` makes of `image`, of which it sees nothing in the hole.

        Colours that are transparent are those around them, and reach no hole.
        """
        if hole.all():
            raise ProcessingError(
                f"the whole picture is hole, and nothing is left to fill it from{self._advice()}."
            )
        if image.alpha is None:
            pixels = image.pixels.copy()
            pixels[hole] = 0
            return self._fill(image.replace(pixels=pixels), hole)
        seen = bleed(image.replace(alpha=np.where(hole, 0, image.alpha).astype(image.alpha.dtype)))
        return self._fill(seen, hole)


def hole_of(mask: Image, image: Image) -> tuple[Hole, tuple[str, ...]]:
    """Returns where `mask` says that `image` has holes, with sentences about what is doubtful in it.

    Raises:
        ProcessingError: The sizes differ, or it says nothing (see `marked`).
    """
    if (mask.height, mask.width) != (image.height, image.width):
        raise ProcessingError(
            f"its mask has {mask.width} x {mask.height} pixels, the picture has {image.width} x "
            f"{image.height}; both need one size."
        )
    return marked(mask)


def marked(mask: Image) -> tuple[Hole, tuple[str, ...]]:
    """Returns where a mask is white, with sentences about what is doubtful in it.

    Raises:
        ProcessingError: It is in colours, of which nobody can know which one is to mean the holes, or holds
            values that are no finite numbers.
    """
    mask = painted(mask)
    coloured = np.ptp(mask.pixels, 2) > _COLOURED * mask.white
    if coloured.mean() > _FEW_COLOURS:
        example = ""
        if mask.channels == 3:
            red, green, blue = np.rint(np.clip(unit(mask.pixels[coloured][0]), 0, 1) * 255).astype(int)
            example = f", such as {Colour((red, green, blue))}"
        raise ProcessingError(
            f"its mask is in colours ({coloured.mean():.1%} of its pixels{example}). White is hole, black is "
            "known: paint the holes white."
        )
    white, notes = mask_of(mask)
    level = unit(mask.pixels).mean(2)
    low, high = _GREY
    greys = float(((level > low) & (level < high)).mean())
    if greys > _FEW_GREYS:
        notes.append(
            f"its mask is grey in {greys:.0%} of its pixels; brighter than one half is hole, the rest is "
            "known"
        )
    return white[..., 0] > 0, tuple(notes)


def has_colour(image: Image, colour: Colour) -> tuple[Hole, tuple[str, ...]]:
    """Returns where an image has a colour, and a sentence if it has only others that are near.

    A picture of one channel has the greys among the colours.

    Raises:
        ProcessingError: It is no picture of one or three channels.
    """
    if image.channels not in (1, 3):
        raise ProcessingError(f"a picture of {image.channels} channels has no colour to look for.")
    wanted = np.asarray(colour.levels, np.float32) * np.float32(image.white / 255)
    # half a level of the picture is what rounding may have moved a float by
    slack = max(colour.tolerance, 1 / 512) * image.white / 255
    off = np.abs(image.pixels - wanted).max(2)
    hole = np.asarray(off <= slack)
    nearest = np.ceil(np.nanmin(off, initial=np.inf) * 255 / image.white)
    if hole.any() or not nearest <= _NEAR:
        return hole, ()
    return hole, (
        f"the nearest to {colour} is {nearest:g} levels off, which a tolerance of {nearest:g} takes",
    )
