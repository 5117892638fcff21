"""Colours as a whole: grayscale, and matching the colours of a reference picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.errors import ProcessingError
from img2img.image.alpha import visible
from img2img.image.colour import ADOBE_RGB, BT601, ColourSpace
from img2img.image.conversion import Meaning, converted, meaning, same_colours
from img2img.image.image import Image, Pixels
from img2img.processors.base import Operation, processors
from img2img.processors.pixels import Values, curve, luma, restore, spread, unit
from img2img.processors.values import Fraction, Reference, ReferencePicture, parameter

_WEIGHTS = {"bt601": BT601, "bt709": (0.2126, 0.7152, 0.0722), "mean": (1 / 3, 1 / 3, 1 / 3)}
_SPACES = {"srgb": None, "display-p3": ColourSpace(12, 13), "adobe-rgb": ADOBE_RGB}


@processors.register("grayscale")
class Grayscale(Operation):
    """Removes the colours. Of pictures that have not three channels it takes the mean."""

    bare: ClassVar = ("method",)
    examples: ClassVar = ("grayscale", "grayscale=bt709", "grayscale=keep_channels")

    method: Annotated[
        Literal["bt601", "bt709", "mean"],
        parameter("How bright red, green and blue count: as on television, as in sRGB, or alike."),
    ] = "bt601"
    keep_channels: Annotated[bool, parameter("Return as many (equal) channels as there were, not one.")] = (
        False
    )

    def apply(self, image: Image) -> Image:
        """Returns the picture with one channel, or with equal ones."""
        if image.channels == 1:
            return image
        values = unit(image.pixels)
        weights = np.array(
            _WEIGHTS[self.method] if image.channels == 3 else [1 / image.channels] * image.channels
        )
        gray = restore(np.dot(values, weights.astype(np.float32)), image.pixels.dtype)
        return image.replace(pixels=spread(gray, image.channels) if self.keep_channels else gray[:, :, None])


@processors.register("colour-space")
class ToColourSpace(Operation):
    """Brings the colours into another colour space.

    The picture looks the same with other numbers; colours that the space has not are cut off, but not those
    of floats. A picture in sRGB needs no profile, and has none afterwards.
    """

    bare: ClassVar = ("space",)
    examples: ClassVar = ("colour-space", "colour-space=display-p3")

    space: Annotated[Literal["srgb", "display-p3", "adobe-rgb"], parameter("Which one.")] = "srgb"

    def apply(self, image: Image) -> Image:
        """Returns the picture with other numbers, and their description."""
        to = None, _SPACES[self.space]
        image = converted(image, to)
        told = same_colours(meaning(image), to)  # not where a profile cannot be followed
        return image.replace(icc=None, space=_SPACES[self.space]) if told else image


@processors.register("colour-match")
class ColourMatch(Operation):
    """Gives a picture the colours of a reference picture.

    The reference is brought into the colour space of the picture before, so that the two look alike after.

    References:
        reinhard: E. Reinhard et al., Color Transfer between Images, 2001; here in CIELAB instead of the
            paper's space.
    """

    bare: ClassVar = ("method", "reference", "strength")
    examples: ClassVar = ("colour-match=reference.jpg", "colour-match=reference.jpg,histogram,strength:0.5")

    reference: Annotated[Reference, parameter("The picture to match.")]
    method: Annotated[
        Literal["reinhard", "histogram"],
        parameter(
            "Match mean and spread in Lab (gentle), or the whole distribution of each channel (exact)."
        ),
    ] = "reinhard"
    strength: Annotated[Fraction, parameter("How far to go.", ge=0, le=1)] = 1.0

    def apply(self, image: Image) -> Image:
        """Returns the matched picture.

        Raises:
            ProcessingError: Picture and reference have numbers of channels that cannot be compared.
        """
        if self.strength == 0:
            return image
        pixels = self._reinhard(image) if self.method == "reinhard" else self._histogram(image)
        _, notes = self.reference.in_colours(meaning(image))
        return image.replace(pixels=pixels).warn(*notes)

    def _reinhard(self, image: Image) -> Pixels:
        before = unit(image.pixels)
        colours = _lab(before) if image.channels == 3 else before.copy()
        means, spreads = _moments(colours, visible(image))
        goal = _goal_moments(self.reference, image.channels, meaning(image))
        for c, (mean, deviation) in enumerate(goal):
            gain = deviation / spreads[c] if spreads[c] > 1e-6 else 1.0
            colours[:, :, c] *= np.float32(gain)
            colours[:, :, c] += np.float32(mean - gain * means[c])
        matched = colours
        if image.channels == 3:
            matched = np.asarray(cv2.cvtColor(colours, cv2.COLOR_LAB2RGB), np.float32)
        if self.strength < 1:
            matched = before + np.float32(self.strength) * (matched - before)
        return restore(matched, image.pixels.dtype)

    def _histogram(self, image: Image) -> Pixels:
        pixels, seen = np.empty_like(image.pixels), visible(image)
        goals = _goal_distributions(self.reference, image.channels, meaning(image))
        for c, (goal_levels, goal_ranks) in enumerate(goals):
            plane = np.ascontiguousarray(image.pixels[:, :, c])
            levels, ranks = _distribution(plane if seen is None else plane[seen])
            mapped = np.interp(ranks, goal_ranks, goal_levels)
            pixels[:, :, c] = curve(plane, _towards(levels, mapped, self.strength))
        return pixels


def _towards(levels: NDArray[Any], mapped: NDArray[Any], strength: float) -> Callable[[Any], Any]:
    return lambda x: x + strength * (np.interp(x, levels, mapped) - x)


def _lab(values: Values) -> Values:
    """Returns CIELAB of three channels, anything else as it is."""
    if values.shape[2] != 3:
        return values
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2LAB))


def _moments(values: Values, seen: NDArray[np.bool_] | None) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation of each channel, over what can be seen."""
    mask = None if seen is None else seen.astype(np.uint8)
    found = [cv2.meanStdDev(np.ascontiguousarray(values[:, :, c]), mask=mask) for c in range(values.shape[2])]
    return [float(mean[0, 0]) for mean, _ in found], [float(deviation[0, 0]) for _, deviation in found]


def _distribution(plane: Pixels) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the levels that occur, as fractions of white, and the part of the pixels up to each."""
    counts = np.bincount(restore(unit(plane), np.dtype(np.uint16)).ravel())
    present = np.flatnonzero(counts)
    return present / 65535, np.cumsum(counts[present]) / plane.size


def _goal(picture: ReferencePicture, channels: int, to: Meaning) -> Image:
    """Returns the reference as gray or RGB, whichever the picture is, with numbers that mean what its do.

    Raises:
        ProcessingError: They cannot be compared.
    """
    reference, _ = picture.in_colours(to)
    if reference.alpha is not None and not (reference.alpha > 0).any():
        raise ProcessingError("nothing can be seen of the reference; its alpha is 0 everywhere.")
    if reference.channels == channels:
        return reference
    if {reference.channels, channels} != {1, 3}:
        raise ProcessingError(
            f"a picture with {channels} channels cannot match a reference with {reference.channels}; "
            "use pictures with the same number, or gray with RGB."
        )
    light = restore(luma(unit(reference.pixels)), reference.pixels.dtype)
    return reference.replace(pixels=spread(light, channels))


@lru_cache(maxsize=8)
def _goal_moments(reference: ReferencePicture, channels: int, to: Meaning) -> list[tuple[float, float]]:
    goal = _goal(reference, channels, to)
    return list(zip(*_moments(_lab(unit(goal.pixels)), visible(goal)), strict=True))


@lru_cache(maxsize=8)
def _goal_distributions(
    reference: ReferencePicture, channels: int, to: Meaning
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    goal = _goal(reference, channels, to)
    seen = visible(goal)
    planes = [goal.pixels[:, :, c] for c in range(channels)]
    return [_distribution(plane if seen is None else plane[seen]) for plane in planes]
