"""What a degradation promises: parameters with ranges, from which each picture gets its own by a stream."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from img2img.image.image import Pixels
from img2img.image.resize import resize
from img2img.processors.degradations.codec import Sampling
from img2img.processors.pixels import Values, restore, unit

LEVEL = 1 / 255
"""A level of 8 bits, in which strengths of noise are given, as a part of white."""


class Degradation(BaseModel, ABC):
    """Something that spoils pictures at random; an immutable, validated set of parameters.

    A subclass is one entry of `img2img.processors.degradations.AnyDegradation`. What it draws comes from one
    stream of random numbers in one order, so equal streams give equal results, whoever calls it and in
    which process. All channels are taken for colours of one picture, values outside of black and white are
    limited to it, as in a file of 8 bits, and strengths mean the same in every depth.

    Attributes:
        natural_scale: The factor that it is for where nobody gives one.
        reach: Target pixels around a patch that have an influence on it, roughly.
        sharpen: How much training sharpens targets, and what sources are made of, before; see `sharpened`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    natural_scale: ClassVar[int] = 1
    reach: ClassVar[int] = 16

    kind: str
    sharpen: float = Field(
        0.0, ge=0, le=2, description="How much targets are sharpened in training; 0 is not."
    )

    def __call__(self, pixels: Pixels, stream: np.random.Generator, scale: int = 1) -> Pixels:
        """Returns the spoiled picture.

        Args:
            pixels: (H, W, C) uint8, uint16 or float32; H and W are multiples of `scale`.
            stream: Where the random numbers come from.
            scale: How many times smaller the result is, along each side.

        Returns:
            (H / scale, W / scale, C) of the same dtype.
        """
        values = np.clip(self.spoil(np.clip(unit(pixels), 0, 1), stream, scale), 0, 1)
        return restore(values, pixels.dtype)

    @abstractmethod
    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Returns what it makes of (H, W, C) from 0 to 1; see calling it."""


def reduced(values: Values, scale: int) -> Values:
    """Returns (H, W, C) made smaller by MATLAB's bicubic, as in the measurements of super-resolution."""
    if scale == 1:
        return values
    return np.clip(resize(values, values.shape[0] // scale, values.shape[1] // scale), 0, 1)


def named_stream(name: str, seed: int = 0) -> np.random.Generator:
    """Returns the random numbers that belong to a picture with this name, on every machine."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int.from_bytes(digest, "big")])))


_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


_RANGE = re.compile(rf"\s*({_NUMBER})\s*(?:-\s*({_NUMBER}))?\s*")


def _two_shares(value: object) -> object:
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    return found.groups() if found and found[2] else value


def _no_more_than_all(value: tuple[float, float]) -> tuple[float, float]:
    if sum(value) > 1 + 1e-9:
        raise ValueError("two shares add up to 1 at most")
    return value


def _pair(value: object) -> object:
    """Reads a range as people write it: [1, 5], "1-5", or 3 for just that."""
    if isinstance(value, str):
        found = _RANGE.fullmatch(value)
        if not found:
            raise ValueError("it is one number, or a range such as 10-30")
        return found[1], found[2] or found[1]
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _upward(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range begins with its smaller number: {value[1]:g}-{value[0]:g}")
    return value


def listed(value: object) -> object:
    """Returns a single word as the only one of a list."""
    return (value,) if isinstance(value, str) else value


def within(low: float, high: float) -> AfterValidator:
    """Returns the check that both ends of a range lie within these limits."""

    def check(value: tuple[float, float]) -> tuple[float, float]:
        if value[0] < low or value[1] > high:
            raise ValueError(f"its numbers lie between {low:g} and {high:g}")
        return value

    return AfterValidator(check)


Portion = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Portion, Portion], BeforeValidator(_two_shares), AfterValidator(_no_more_than_all)]
Bounds = Annotated[tuple[float, float], BeforeValidator(_pair), AfterValidator(_upward)]
Quality = Annotated[tuple[int, int], BeforeValidator(_pair), AfterValidator(_upward), within(1, 100)]
Sigmas = Annotated[Bounds, within(0.05, 10)]
Levels = Annotated[Bounds, within(0, 255)]
Samplings = Annotated[tuple[Sampling, ...], BeforeValidator(listed), Field(min_length=1)]


def drawn(range_: tuple[float, float], stream: np.random.Generator) -> float:
    """Returns a number out of a range, all equally likely."""
    return float(stream.uniform(*range_))


def drawn_quality(range_: tuple[int, int], stream: np.random.Generator) -> int:
    """Returns a whole number out of a range, both ends included, all equally likely."""
    return int(stream.integers(range_[0], range_[1] + 1))


def chance(share: float, stream: np.random.Generator) -> bool:
    """Returns whether something happens that happens to this share of pictures; it always takes a number."""
    return bool(stream.random() < share)
