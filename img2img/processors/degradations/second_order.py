"""The second-order chain of Real-ESRGAN: what happens to photographs on their way through the world.

References:
    Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data
    (arXiv:2107.10833), sections 3.1 to 3.4. Where the paper gives no number, those are the ones of the
    configuration that was published with it.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import Field

from img2img.processors.degradations import kernels
from img2img.processors.degradations.base import (
    LEVEL,
    Bounds,
    Degradation,
    Levels,
    Portion,
    Quality,
    Samplings,
    Shares,
    Sigmas,
    chance,
    drawn,
    drawn_quality,
    within,
)
from img2img.processors.degradations.codec import jpeg_values
from img2img.processors.degradations.kernels import BlurKernel
from img2img.processors.degradations.noise import gaussian_noise, poisson_noise
from img2img.processors.pixels import Values, by_channels

_SIZES = range(7, 22, 2)  # of kernels
_RESIZE = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_BENDS = {"generalised": (0.5, 4.0), "plateau": (1.0, 2.0)}  # the shapes of these kernels
_KINDS = (  # shape, isotropic, share
    ("gaussian", True, 0.45),
    ("gaussian", False, 0.25),
    ("generalised", True, 0.12),
    ("generalised", False, 0.03),
    ("plateau", True, 0.12),
    ("plateau", False, 0.03),
)
_SHARES = np.array([share for _, _, share in _KINDS])


class _Pass(NamedTuple):
    """The parameters of one order."""

    blur: float
    sigmas: tuple[float, float]
    directions: tuple[float, float]
    factors: tuple[float, float]
    sigma: tuple[float, float]
    poisson: tuple[float, float]


class SecondOrder(Degradation):
    """Blur, resize, noise and JPEG, twice, and a filter that rings: the chain of Real-ESRGAN.

    Every picture draws its own kernels, sizes, noise and qualities from its own stream. The code that was
    published draws once for a whole batch on the GPU and therefore keeps a pool of earlier pairs to mix
    batches from; here nothing needs mixing, and there is no pool: a sample is a function of seed, epoch and
    index alone, whatever came before it.
    """

    natural_scale: ClassVar[int] = 4
    reach: ClassVar[int] = 24

    kind: Literal["second_order"] = "second_order"
    sharpen: float = Field(
        0.5,
        ge=0,
        le=2,
        description="How much targets are sharpened in training, by unsharp masking; 0 is not.",
    )
    blur: Portion = Field(1.0, description="Portion of pictures that are blurred first.")
    sigma: Sigmas = Field((0.2, 3.0), description="Standard deviation of the first blur, in target pixels.")
    ringing: Portion = Field(0.1, description="Portion of blurs that are the sinc filter.")
    directions: Shares = Field(
        (0.2, 0.7),
        description="Shares of first resizes that enlarge and that reduce; the others keep the size.",
    )
    factor: Annotated[Bounds, within(0.05, 4)] = Field(
        (0.15, 1.5), description="Factors of the first resize."
    )
    gaussian: Portion = Field(
        0.5, description="Portion of noises that are Gaussian; the others are Poisson's."
    )
    grey: Portion = Field(0.4, description="Portion of noises that are equal in all channels.")
    noise: Levels = Field((1.0, 30.0), description="First Gaussian noise, in levels of 8 bits.")
    poisson: Levels = Field((0.05, 3.0), description="Strength of the first Poisson noise.")
    quality: Quality = Field((30, 95), description="Quality of both compressions.")
    sampling: Samplings = Field(("4:2:0",), description="Resolutions of the colours in JPEG, one is drawn.")
    blur2: Portion = Field(0.8, description="Portion of pictures that are blurred again.")
    sigma2: Sigmas = Field((0.2, 1.5), description="Standard deviation of the second blur.")
    directions2: Shares = Field((0.3, 0.4), description="Like directions, for the second resize.")
    factor2: Annotated[Bounds, within(0.05, 4)] = Field(
        (0.3, 1.2), description="Factors of the second resize, relative to the size of the result."
    )
    noise2: Levels = Field((1.0, 25.0), description="Second Gaussian noise, in levels of 8 bits.")
    poisson2: Levels = Field((0.05, 2.5), description="Strength of the second Poisson noise.")
    final_ringing: Portion = Field(0.8, description="Portion of pictures that pass a sinc filter at the end.")
    untouched: Portion = Field(0.0, description="Portion of pictures that are only made smaller.")

    def spoil(self, values: Values, stream: np.random.Generator, scale: int) -> Values:
        """Does all steps; the last resize and the last JPEG come in either order."""
        height, width = (side // scale for side in values.shape[:2])
        if chance(self.untouched, stream):
            return resized(values, height, width, cv2.INTER_AREA)
        first = _Pass(self.blur, self.sigma, self.directions, self.factor, self.noise, self.poisson)
        values = self._once(values, first, values.shape[0], values.shape[1], stream)
        values = self._compressed(values, stream)
        second = _Pass(self.blur2, self.sigma2, self.directions2, self.factor2, self.noise2, self.poisson2)
        values = self._once(values, second, height, width, stream)
        if chance(0.5, stream):
            return self._compressed(self._finished(values, height, width, stream), stream)
        return self._finished(self._compressed(values, stream), height, width, stream)

    def _once(
        self, values: Values, order: _Pass, height: int, width: int, stream: np.random.Generator
    ) -> Values:
        """Blurs, resizes relative to (height, width), and adds noise."""
        if chance(order.blur, stream):
            values = kernels.blurred(values, drawn_kernel(order.sigmas, self.ringing, stream))
        factor = _factor(order.directions, order.factors, stream)
        rows, columns = (max(1, round(side * factor)) for side in (height, width))
        values = np.clip(resized(values, rows, columns, _RESIZE[int(stream.integers(3))]), 0, 1)
        grey = chance(self.grey, stream)
        if chance(self.gaussian, stream):
            noisy = gaussian_noise(values, LEVEL * drawn(order.sigma, stream), grey, stream)
        else:
            noisy = poisson_noise(values, drawn(order.poisson, stream), grey, stream)
        return np.clip(noisy, 0, 1)

    def _compressed(self, values: Values, stream: np.random.Generator) -> Values:
        quality = drawn_quality(self.quality, stream)
        return jpeg_values(values, quality, self.sampling[int(stream.integers(len(self.sampling)))])

    def _finished(self, values: Values, height: int, width: int, stream: np.random.Generator) -> Values:
        """Brings it to its size and lets it ring."""
        values = resized(values, height, width, _RESIZE[int(stream.integers(3))])
        if chance(self.final_ringing, stream):
            size = int(stream.choice(_SIZES))
            values = kernels.blurred(values, kernels.sinc(size, stream.uniform(math.pi / 3, math.pi)))
        return np.clip(values, 0, 1)


class Real(SecondOrder):
    """The same chain, milder: photographs as telephones and websites leave them, and some clean ones."""

    kind: Literal["real"] = "real"  # type: ignore[assignment]
    sharpen: float = Field(
        0.0,
        ge=0,
        le=2,
        description="How much targets are sharpened in training, by unsharp masking; 0 is not.",
    )
    blur: Portion = Field(0.7, description="Portion of pictures that are blurred first.")
    sigma: Sigmas = Field((0.2, 2.0), description="Standard deviation of the first blur, in target pixels.")
    factor: Annotated[Bounds, within(0.05, 4)] = Field((0.4, 1.2), description="Factors of the first resize.")
    noise: Levels = Field((0.0, 12.0), description="First Gaussian noise, in levels of 8 bits.")
    poisson: Levels = Field((0.0, 1.5), description="Strength of the first Poisson noise.")
    quality: Quality = Field((40, 95), description="Quality of both compressions.")
    blur2: Portion = Field(0.3, description="Portion of pictures that are blurred again.")
    sigma2: Sigmas = Field((0.2, 1.0), description="Standard deviation of the second blur.")
    factor2: Annotated[Bounds, within(0.05, 4)] = Field(
        (0.6, 1.2), description="Factors of the second resize, relative to the size of the result."
    )
    noise2: Levels = Field((0.0, 8.0), description="Second Gaussian noise, in levels of 8 bits.")
    poisson2: Levels = Field((0.0, 1.0), description="Strength of the second Poisson noise.")
    final_ringing: Portion = Field(0.4, description="Portion of pictures that pass a sinc filter at the end.")
    untouched: Portion = Field(0.1, description="Portion of pictures that are only made smaller.")


def drawn_kernel(sigmas: tuple[float, float], ringing: float, stream: np.random.Generator) -> BlurKernel:
    """Returns one of the seven kinds of kernels of Real-ESRGAN, 7 to 21 pixels wide.

    Args:
        sigmas: Range of the standard deviations along both axes.
        ringing: Portion of sinc filters.
        stream: Where the random numbers come from.
    """
    size = int(stream.choice(_SIZES))
    if chance(ringing, stream):
        lowest = math.pi / 3 if size < 13 else math.pi / 5
        return kernels.sinc(size, stream.uniform(lowest, math.pi))
    shape, isotropic, _ = _KINDS[int(stream.choice(len(_KINDS), p=_SHARES / _SHARES.sum()))]
    across, along = drawn(sigmas, stream), drawn(sigmas, stream)
    angle = 0.0 if isotropic else stream.uniform(-math.pi, math.pi)
    both = (across, across) if isotropic else (across, along)
    if shape == "gaussian":
        return kernels.gaussian(size, across) if isotropic else kernels.generalised(size, both, angle)
    low, high = _BENDS[shape]
    bend = stream.uniform(low, 1) if stream.random() < 0.5 else stream.uniform(1, high)
    return (kernels.plateau if shape == "plateau" else kernels.generalised)(size, both, angle, bend)


def resized(values: Values, height: int, width: int, interpolation: int) -> Values:
    """Returns (H, W, C) at another size by OpenCV; area averages where it shrinks, the others alias."""
    if values.shape[:2] == (height, width):
        return values
    return by_channels(lambda part: cv2.resize(part, (width, height), interpolation=interpolation), values)


def sharpened(values: Values, amount: float) -> Values:
    """Returns (H, W, C) after the unsharp masking of Real-ESRGAN's targets.

    Detail against a Gaussian of 51 pixels is added again where it exceeds ten levels of 8 bits, with a soft
    transition.

    Args:
        values: From 0 to 1.
        amount: How much of the detail is added; 0.5 there.
    """
    wide = kernels.gaussian(51, 8.0)
    detail = values - kernels.blurred(values, wide)
    strong = kernels.blurred((np.abs(detail) > 10 * LEVEL).astype(np.float32), wide)
    crisp = np.clip(values + np.float32(amount) * detail, 0, 1)
    return np.asarray(values + strong * (crisp - values), np.float32)


def _factor(
    directions: tuple[float, float], factors: tuple[float, float], stream: np.random.Generator
) -> float:
    """Returns a factor of size: above 1, below 1, or 1."""
    place, up, down = (
        stream.random(),
        stream.uniform(1, max(1, factors[1])),
        stream.uniform(min(1, factors[0]), 1),
    )
    return up if place < directions[0] else down if place < sum(directions) else 1.0
