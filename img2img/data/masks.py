"""Irregular holes drawn at random: strokes of a brush and blobs.

Stands in for the masks of Liu et al. (arXiv:1804.07723), which come from occlusions in videos, and keeps two
of their facts: hole ratios are spread over a chosen range, and holes may be kept away from the border.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from img2img.data.sampler import MASK, random_stream

HoleKind = Literal["strokes", "blobs"]
HOLE = 255
_MARGIN = 0.1  # of a side, where holes keep away from the border; 50 of 512 pixels in the paper
_WIDTHS = (0.015, 0.12)  # of a stroke, in sides of a square of the same area
_RADII = (0.03, 0.22)  # of a blob
_CORNERS = 64  # of the polygon that a blob is drawn as


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the smaller share comes first: [0.05, 0.5]")
    return value


Share = Annotated[float, Field(gt=0, le=0.9)]


class MaskConfig(BaseModel):
    """What holes that are drawn at random look like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    holes: Annotated[tuple[Share, Share], AfterValidator(_ascending)] = Field(
        (0.05, 0.5), description="The least and the largest share of a picture that is hole."
    )
    kinds: tuple[HoleKind, ...] = Field(
        ("strokes", "blobs"), min_length=1, description="What is drawn: strokes, blobs, or both mixed."
    )
    border: bool = Field(
        True, description="Whether holes may touch the border; if not, a tenth of each side stays known."
    )

    @model_validator(mode="after")
    def _room(self) -> Self:
        most = 1.0 if self.border else (1 - 2 * _MARGIN) ** 2
        if self.holes[1] > 0.94 * most:
            raise ValueError(
                f"holes of up to {self.holes[1]:g} leave no room for a known border; with border: false up "
                f"to {0.94 * most:.1f} fit"
            )
        return self


class IrregularMasks:
    """Draws masks whose hole ratio is spread evenly over a range, exact to a pixel.

    Args:
        config: What they look like.
        seed: Of everything random.
        number: Of the field, where several are drawn; the first has 0.
    """

    def __init__(self, config: MaskConfig | None = None, seed: int = 0, number: int = 0) -> None:
        self.config, self.seed, self.number = config or MaskConfig(), seed, number

    def __call__(self, height: int, width: int, epoch: int, index: int) -> NDArray[np.uint8]:
        """Returns the mask (height, width) of sample `index` in `epoch`: 255 is hole, 0 is known.

        It depends on the seed and these numbers alone. Of a picture of a few pixels the ratio is as near to
        the range as whole pixels allow.
        """
        stream = random_stream(MASK, self.seed, epoch, index, *filter(None, [self.number]))
        least, most = self.config.holes
        area = height * width
        wanted = round(stream.uniform(least, most) * area)
        wanted = min(max(wanted, math.ceil(least * area)), math.floor(most * area))
        free = np.zeros((height, width), bool)
        top, left = (0 if self.config.border else math.ceil(_MARGIN * side) for side in (height, width))
        free[top : height - top, left : width - left] = True
        wanted = min(wanted, int(free.sum()))

        mask = np.zeros((height, width), np.uint8)
        while wanted > 0:
            start = (stream.uniform(left, width - left), stream.uniform(top, height - top))
            kind = self.config.kinds[int(stream.integers(len(self.config.kinds)))]
            shape = Image.new("L", (width, height))
            _DRAW[kind](ImageDraw.Draw(shape), start, math.sqrt(area), stream)
            drawn = (np.asarray(shape) > 0) & free
            if (count := int(drawn.sum())) > wanted:
                # the part around its start that makes the ratio exact
                rows, columns = np.nonzero(drawn)
                distance = (columns - start[0]) ** 2 + (rows - start[1]) ** 2
                farther = np.argsort(distance, kind="stable")[wanted:]
                drawn[rows[farther], columns[farther]] = False
                count = wanted
            free ^= drawn
            mask[drawn] = HOLE
            wanted -= count
        return mask


Point = tuple[float, float]  # x, y


def _stroke(draw: ImageDraw.ImageDraw, start: Point, side: float, stream: np.random.Generator) -> None:
    """Draws a line that wanders, with round corners and ends."""
    width = max(1, round(side * _between(_WIDTHS, stream)))
    direction = stream.uniform(0, 2 * math.pi)
    points = [start]
    for _ in range(int(stream.integers(3, 12))):
        direction += stream.normal(0, 0.7)
        length = side * stream.uniform(0.05, 0.25)
        x, y = points[-1]
        points.append((x + length * math.cos(direction), y + length * math.sin(direction)))
    draw.line(points, fill=HOLE, width=width)
    radius = width / 2
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=HOLE)


def _blob(draw: ImageDraw.ImageDraw, start: Point, side: float, stream: np.random.Generator) -> None:
    """Draws a disc whose radius wavers, stretched in some direction."""
    angles = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
    radius = np.ones(_CORNERS)
    for wave in range(2, 7):
        radius += stream.normal(0, 0.5 / wave) * np.cos(wave * angles + stream.uniform(0, 2 * math.pi))
    radius = side * _between(_RADII, stream) * np.maximum(radius, 0.2)
    stretch, turn = stream.uniform(1, 2), stream.uniform(0, 2 * math.pi)
    x, y = radius * np.cos(angles) * stretch, radius * np.sin(angles) / stretch
    xs = start[0] + x * math.cos(turn) - y * math.sin(turn)
    ys = start[1] + x * math.sin(turn) + y * math.cos(turn)
    draw.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=HOLE)


_DRAW = {"strokes": _stroke, "blobs": _blob}


def _between(limits: tuple[float, float], stream: np.random.Generator) -> float:
    """Returns a number whose logarithm is spread evenly."""
    low, high = limits
    return math.exp(stream.uniform(math.log(low), math.log(high)))
