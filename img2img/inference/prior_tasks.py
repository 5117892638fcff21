"""What the authors of Deep Image Prior fit for each task, and with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError
from img2img.models.hourglass import Enlarging
from img2img.processors.inpaint import depth
from img2img.registry import unknown

PriorTask = Literal["denoise", "dejpeg", "inpaint", "upscale"]
HoleForm = Literal["auto", "text", "pixels", "region"]
FACTORS = range(2, 9)
_THIN = 2  # pixels from anything known, on average, where single pixels are missing
_MANY = 0.25  # of a picture: so much of it is missing, and not written over
_WIDE = 1 / 16  # of the shorter side: farther from anything known is no stroke


@dataclass(frozen=True)
class PriorRecipe:
    """How one picture is fitted; the defaults are those that most tasks share.

    Attributes:
        steps: Of Adam, at most.
        jitter: Standard deviation of the normal noise that is added to the input at each step.
        learning_rate: Of Adam.
        inputs: Channels of the input: numbers between 0 and 0.1 drawn once; or None for a grid of the two
            coordinates, each from 0 to 1, which makes smoother pictures.
        widths, bridges, enlarging: See `Hourglass`.
    """

    steps: int
    jitter: float = 0.03
    learning_rate: float = 0.01
    inputs: int | None = 32
    widths: tuple[int, ...] = (128,) * 5
    bridges: tuple[int, ...] = (4,) * 5
    enlarging: Enlarging = "bilinear"

    def narrowed(self, channels: int) -> PriorRecipe:
        """Returns this with at most `channels` channels at a scale, the others in proportion."""
        widest = max(self.widths)
        widths = tuple(max(1, round(width * channels / widest)) for width in self.widths)
        return replace(self, widths=widths, bridges=tuple(min(bridge, channels) for bridge in self.bridges))


RECIPES: Mapping[str, PriorRecipe] = MappingProxyType(
    {
        "denoise": PriorRecipe(3000, 1 / 30),
        "dejpeg": PriorRecipe(2400, 1 / 30, inputs=3, widths=(8, 16, 32, 64, 128), bridges=(0, 0, 0, 4, 4)),
        "upscale": PriorRecipe(2000),
        "upscale, large": PriorRecipe(4000, 0.05),
        "text": PriorRecipe(6000, bridges=(128,) * 5, enlarging="nearest"),
        "pixels": PriorRecipe(11000, learning_rate=0.001),
        "region": PriorRecipe(5000, inputs=None, bridges=(0,) * 5, enlarging="nearest"),
    }
)
"""By task, or by what is missing: the notebooks of the authors' code for F16, snail, SR x4 and x8, kate,
barbara and vase."""


def recipe_for(task: PriorTask, factor: int = 4) -> PriorRecipe:
    """Returns the recipe of a task whose pictures do not decide about it.

    Raises:
        ConfigError: There is no such task or factor.
    """
    if task not in get_args(PriorTask):
        raise ConfigError(unknown("task", task, get_args(PriorTask)))
    if task != "upscale":
        return RECIPES[task]
    if factor not in FACTORS:
        raise ConfigError(f"the factor is {FACTORS[0]} to {FACTORS[-1]}, not {factor}.")
    return RECIPES["upscale" if factor <= 4 else "upscale, large"]


def form_of(hole: NDArray[np.bool_]) -> str:
    """Returns what is missing in a picture (H, W): single "pixels", a "region", or what "text" hides."""
    away = depth(hole)
    if away.max() > max(_THIN, _WIDE * min(hole.shape)):
        return "region"
    return "pixels" if hole.mean() > _MANY and away[hole].mean() < _THIN else "text"
