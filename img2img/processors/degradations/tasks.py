"""One damage at a time, and the usual ones together: what restoration at the same size learns to undo."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from img2img.processors.degradations import kernels
from img2img.processors.degradations.base import (
    LEVEL,
    Bounds,
    Degradation,
    Levels,
    Portion,
    Quality,
    Samplings,
    Sigmas,
    chance,
    drawn,
    drawn_quality,
    listed,
    reduced,
    within,
)
from img2img.processors.degradations.codec import BLOCK, jpeg_values
from img2img.processors.degradations.film import faded, grained, scratched
from img2img.processors.degradations.noise import gaussian_noise, sensor_noise
from img2img.processors.pixels import Values

Blurs = Literal["defocus", "motion"]


class NoiseTask(Degradation):
    """Noise of unknown strength, equal everywhere or growing with brightness, in colour or grey."""

    kind: Literal["denoise"] = "denoise"
    sigma: Levels = Field(
        (0.0, 50.0),
        description="Standard deviation of the noise in levels of 8 bits; of sensors at middle grey.",
    )
    grey: Portion = Field(0.2, description="Portion of pictures whose noise is equal in all channels.")
    signal: Portion = Field(
        0.3, description="Portion of pictures whose noise grows with brightness, as a sensor's."
    )

    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Makes it smaller, then noisy."""
        return _noisy(reduced(values, scale), self.sigma, self.grey, self.signal, stream)


class JpegTask(Degradation):
    """Compression as JPEG, once or twice, with the grid of blocks at the corner or elsewhere."""

    kind: Literal["dejpeg"] = "dejpeg"
    quality: Quality = Field((10, 95), description="Quality of the compression, 1 to 100.")
    sampling: Samplings = Field(("4:2:0", "4:4:4"), description="Resolutions of the colours, one is drawn.")
    shifted: Portion = Field(
        0.5, description="Portion of pictures whose grid of blocks begins outside of them."
    )
    twice: Portion = Field(
        0.25, description="Portion of pictures that were compressed before, on another grid."
    )

    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Makes it smaller, then compresses it."""
        values = reduced(values, scale)
        if chance(self.twice, stream):
            values = _compressed(values, self.quality, self.sampling, 1.0, stream)
        return _compressed(values, self.quality, self.sampling, self.shifted, stream)


class BlurTask(Degradation):
    """A lens out of focus, or a camera that moved."""

    kind: Literal["deblur"] = "deblur"
    blurs: Annotated[tuple[Blurs, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        ("defocus", "motion"), description="What blurs: one of these is drawn."
    )
    radius: Annotated[Bounds, within(0, 50)] = Field(
        (0.5, 4.0), description="Radius of the disc of a defocus, in target pixels; 0 blurs nothing."
    )
    length: Annotated[Bounds, within(0, 200)] = Field(
        (3.0, 15.0), description="Length of a motion, in target pixels; 0 moves nothing."
    )
    bend: float = Field(
        1.0, ge=0, le=6.3, description="How far a motion may turn from its beginning to its end, in radians."
    )
    noise: Levels = Field((0.0, 2.0), description="Noise on top, in levels of 8 bits.")

    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Blurs, makes it smaller, and adds a little noise."""
        if self.blurs[int(stream.integers(len(self.blurs)))] == "defocus":
            kernel = kernels.disc(drawn(self.radius, stream))
        else:
            length, angle = drawn(self.length, stream), stream.uniform(0, 2 * math.pi)
            kernel = kernels.motion(length, angle, stream.uniform(-self.bend, self.bend))
        values = reduced(kernels.blurred(values, kernel), scale)
        return gaussian_noise(values, LEVEL * drawn(self.noise, stream), False, stream)


class MixedTask(Degradation):
    """Mild blur, then noise, then JPEG, each of them often missing: some pictures stay as they are."""

    kind: Literal["mixed"] = "mixed"
    blurred: Portion = Field(0.3, description="Portion of pictures that are blurred.")
    blur: Sigmas = Field((0.3, 1.2), description="Standard deviation of the Gaussian, in target pixels.")
    noisy: Portion = Field(0.6, description="Portion of pictures with noise.")
    sigma: Levels = Field((0.0, 40.0), description="Standard deviation of the noise, as of denoise.")
    grey: Portion = Field(0.2, description="Portion of noisy pictures whose noise is equal in all channels.")
    signal: Portion = Field(0.3, description="Portion of noisy pictures whose noise grows with brightness.")
    compressed: Portion = Field(0.7, description="Portion of pictures that are compressed.")
    quality: Quality = Field((10, 95), description="Quality of the compression, 1 to 100.")
    sampling: Samplings = Field(("4:2:0", "4:4:4"), description="Resolutions of the colours, one is drawn.")
    shifted: Portion = Field(
        0.5, description="Portion of compressed pictures whose grid begins outside of them."
    )
    twice: Portion = Field(0.1, description="Portion of compressed pictures that were compressed before.")

    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Blurs, makes it smaller, adds noise and compresses it."""
        if chance(self.blurred, stream):
            sigma = drawn(self.blur, stream)
            values = kernels.blurred(values, kernels.gaussian(2 * math.ceil(3 * sigma) + 1, sigma))
        values = reduced(values, scale)
        if chance(self.noisy, stream):
            values = _noisy(values, self.sigma, self.grey, self.signal, stream)
        if chance(self.compressed, stream):
            if chance(self.twice, stream):
                values = _compressed(values, self.quality, self.sampling, 1.0, stream)
            values = _compressed(values, self.quality, self.sampling, self.shifted, stream)
        return values


class OldTask(Degradation):
    """Prints and film as time leaves them: soft, faded, grainy, scratched and dusty."""

    kind: Literal["old"] = "old"
    blur: Sigmas = Field((0.2, 1.2), description="Standard deviation of the Gaussian, in target pixels.")
    fading: Annotated[Bounds, within(0, 1)] = Field(
        (0.0, 1.0), description="How much contrast and colour have gone, from 0 to 1."
    )
    grain: Levels = Field((1.0, 14.0), description="Standard deviation of the grain, in levels of 8 bits.")
    size: Annotated[Bounds, within(0.1, 10)] = Field((0.4, 1.1), description="Size of a grain in pixels.")
    scratches: Annotated[Bounds, within(0, 1000)] = Field(
        (0.0, 2.0), description="Scratches in 256 x 256 pixels."
    )
    dust: Annotated[Bounds, within(0, 10000)] = Field(
        (0.0, 12.0), description="Specks in 256 x 256 pixels; a tenth as many hairs."
    )

    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Softens, makes it smaller, fades, and lays grain, scratches and dust on it."""
        sigma = drawn(self.blur, stream)
        values = kernels.blurred(values, kernels.gaussian(2 * math.ceil(3 * sigma) + 1, sigma))
        values = faded(reduced(values, scale), drawn(self.fading, stream), stream)
        values = np.clip(
            grained(values, LEVEL * drawn(self.grain, stream), drawn(self.size, stream), stream), 0, 1
        )
        squares = values.shape[0] * values.shape[1] / 256**2
        dust = drawn(self.dust, stream) * squares
        scratches = int(stream.poisson(drawn(self.scratches, stream) * squares))
        specks, hairs = (int(stream.poisson(number)) for number in (dust, dust / 10))
        return scratched(values, scratches, specks, hairs, stream)


def _noisy(
    values: Values, sigma: tuple[float, float], grey: float, signal: float, stream: np.random.Generator
) -> Values:
    """Returns `values` with noise of one of the blurs, limited to black and white."""
    strength, equal = LEVEL * drawn(sigma, stream), chance(grey, stream)
    if chance(signal, stream):
        noisy = sensor_noise(values, strength, stream.uniform(0.05, 0.4), equal, stream)
    else:
        noisy = gaussian_noise(values, strength, equal, stream)
    return np.clip(noisy, 0, 1)


def _compressed(
    values: Values,
    quality: tuple[int, int],
    sampling: Samplings,
    shifted: float,
    stream: np.random.Generator,
) -> Values:
    """Returns `values` after JPEG with drawn quality, sampling and place of the grid."""
    level, colours = drawn_quality(quality, stream), sampling[int(stream.integers(len(sampling)))]
    moved, (top, left) = chance(shifted, stream), stream.integers(0, BLOCK, 2).tolist()
    return jpeg_values(values, level, colours, (top, left) if moved else (0, 0))
