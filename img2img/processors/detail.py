"""Fine structure: denoise, sharpen, blur, edges."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from img2img.image.alpha import bleed, visible
from img2img.image.image import Image, Pixels
from img2img.processors.base import Operation, processors
from img2img.processors.pixels import (
    Values,
    by_channels,
    luma,
    restore,
    sample,
    spread,
    through_opacity,
    unit,
)
from img2img.processors.tone import quantiles
from img2img.processors.values import Fraction, parameter


@processors.register("denoise")
class Denoise(Operation):
    """Smooths noise and keeps edges (bilateral filter over all three colours at once).

    Works on every depth alike.

    References:
        C. Tomasi, R. Manduchi, Bilateral Filtering for Gray and Color Images, ICCV 1998.
    """

    bare: ClassVar = ("strength",)
    examples: ClassVar = ("denoise", "denoise=0.4")

    strength: Annotated[
        Fraction,
        parameter(
            "0 changes nothing; 1 removes noise with a standard deviation of a tenth of white.", ge=0, le=1
        ),
    ] = 0.2
    radius: Annotated[int, parameter("How far it looks.", unit="pixels", ge=1, le=10)] = 3

    def apply(self, image: Image) -> Image:
        """Returns the picture with less noise; alpha is not touched."""
        if self.strength == 0:
            return image
        # The filter compares colours by the sum of the differences over the channels.
        group = 3 if image.channels == 3 else 1
        tolerance = 0.1 * self.strength * (4.0 if group == 3 else 2.0)
        values = by_channels(
            lambda part: cv2.bilateralFilter(part, 2 * self.radius + 1, tolerance, self.radius * 2 / 3),
            unit(bleed(image).pixels),
            most=group,
        )
        return _seen_only(image, restore(values, image.pixels.dtype))


@processors.register("sharpen")
class Sharpen(Operation):
    """Sharpens by unsharp masking, with a limit on halos.

    Works on the luma of colours, so that no coloured fringes appear. No pixel becomes more than `halo`
    brighter or darker than all of its neighbourhood was.
    """

    bare: ClassVar = ("amount",)
    examples: ClassVar = ("sharpen", "sharpen=1", "sharpen=amount:0.8,radius:2,threshold:1%")

    amount: Annotated[
        float, parameter("How much of the fine detail is added again; 0 changes nothing.", ge=0, le=10)
    ] = 0.5
    radius: Annotated[
        float,
        parameter("Size of the detail: standard deviation of the Gaussian.", unit="pixels", gt=0, le=50),
    ] = 1.2
    threshold: Annotated[
        Fraction, parameter("Differences below this part of white, noise mostly, are left alone.", ge=0, le=1)
    ] = 0.0
    halo: Annotated[
        Fraction, parameter("How far edges may overshoot their surroundings, as a part of white.", ge=0, le=1)
    ] = 0.04

    def apply(self, image: Image) -> Image:
        """Returns the sharper picture; alpha is not touched."""
        if self.amount == 0:
            return image
        values = unit(bleed(image).pixels)
        if image.channels == 3:
            light = luma(values)
            result = values + spread(self._sharper(light) - light, 3)
        else:
            result = by_channels(self._sharper, values)
        return _seen_only(image, restore(result, image.pixels.dtype))

    def _sharper(self, values: Values) -> Values:
        detail = values - _gaussian(values, self.radius)
        if self.threshold:
            detail = np.copysign(np.maximum(np.abs(detail) - np.float32(self.threshold), 0), detail)
        size = 2 * math.ceil(self.radius) + 1
        around = np.ones((size, size), np.uint8)
        lowest, highest = cv2.erode(values, around), cv2.dilate(values, around)
        result = values + np.float32(self.amount) * detail
        np.maximum(result, np.maximum(lowest - np.float32(self.halo), np.minimum(lowest, 0)), out=result)
        np.minimum(result, np.minimum(highest + np.float32(self.halo), np.maximum(highest, 1)), out=result)
        return result


@processors.register("blur")
class Blur(Operation):
    """Blurs: Gaussian, box, median, or motion along a line."""

    bare: ClassVar = ("radius", "kind")
    examples: ClassVar = ("blur=2", "blur=median,radius:1", "blur=kind:motion,radius:8,angle:30")

    radius: Annotated[
        float,
        parameter(
            "Standard deviation of the Gaussian; half the width of the others. A median reaches 1 or 2.",
            unit="pixels",
            ge=0,
            le=100,
        ),
    ] = 2.0
    kind: Annotated[Literal["gaussian", "box", "median", "motion"], parameter("The shape of the blur.")] = (
        "gaussian"
    )
    angle: Annotated[
        float,
        parameter("Direction of motion, clockwise from the horizontal.", unit="degrees", ge=-360, le=360),
    ] = 0.0

    @model_validator(mode="after")
    def _median_is_small(self) -> Self:
        if self.kind == "median" and round(self.radius) > 2:
            raise ValueError(
                f"has radius {self.radius:g}; a median can have radius 1 or 2 (3 or 5 pixels wide)"
            )
        return self

    def apply(self, image: Image) -> Image:
        """Returns the blurred picture; alpha is blurred too, except by the median."""
        reach = round(self.radius)
        if self.radius == 0 or (self.kind != "gaussian" and reach == 0):
            return image
        if self.kind == "gaussian":
            return through_opacity(image, lambda pixels: gaussian(pixels, self.radius))
        if self.kind == "box":
            width = 2 * reach + 1
            return through_opacity(
                image, lambda pixels: by_channels(lambda p: cv2.blur(p, (width, width)), pixels)
            )
        if self.kind == "motion":
            line = _line(reach, self.angle)
            return through_opacity(
                image, lambda pixels: by_channels(lambda p: cv2.filter2D(p, -1, line), pixels)
            )
        most = 1 if image.channels == 2 else 3
        pixels = by_channels(lambda part: cv2.medianBlur(part, 2 * reach + 1), bleed(image).pixels, most)
        return _seen_only(image, pixels)


@processors.register("edges")
class Edges(Operation):
    """Draws the edges, white on black, in one channel.

    The thresholds of Canny fit themselves to the picture: `density` is the part of the pixels whose
    gradient is strong enough to begin an edge, and edges go on along gradients down to 0.4 of that.

    References:
        J. Canny, A Computational Approach to Edge Detection, 1986.
    """

    bare: ClassVar = ("method", "density")
    examples: ClassVar = ("edges", "edges=sobel", "edges=density:5%", "edges=low:0.05,high:0.15")

    method: Annotated[
        Literal["canny", "sobel"], parameter("Thin lines, or the strength of the gradient.")
    ] = "canny"
    smooth: Annotated[
        float, parameter("Gaussian before, against noise: standard deviation.", unit="pixels", ge=0, le=50)
    ] = 1.4
    density: Annotated[
        Fraction, parameter("Canny: part of the pixels that can begin an edge.", gt=0, lt=1)
    ] = 0.1
    low: Annotated[
        Fraction | None,
        parameter("Canny: weakest gradient, as a part of a step from black to white.", ge=0, le=1),
    ] = None
    high: Annotated[
        Fraction | None, parameter("Canny: gradient that begins an edge, likewise.", ge=0, le=1)
    ] = None

    def apply(self, image: Image) -> Image:
        """Returns the edges (H, W, 1) in the depth of the picture; alpha is not touched."""
        light = np.clip(luma(unit(bleed(image).pixels)), 0, 1)
        if self.smooth:
            light = _gaussian(light, self.smooth)
        across, down = (cv2.Sobel(light, cv2.CV_32F, dx, dy, scale=1 / 4) for dx, dy in ((1, 0), (0, 1)))
        strength = np.asarray(cv2.magnitude(across, down), np.float32)
        if self.method == "sobel":
            edges: Values = strength
        else:
            seen = visible(image)
            gradients = sample(strength, seen)
            high = self.high or max(quantiles(gradients, 1 - self.density)[0], 1 / 128)
            low = min(self.low if self.low is not None else 0.4 * high, high)
            dx, dy = (np.rint(gradient * 8192).astype(np.int16) for gradient in (across, down))
            found = cv2.Canny(dx, dy, low * 8192, high * 8192, L2gradient=True)
            edges = unit(np.asarray(found))
        return image.replace(pixels=restore(edges[:, :, None], image.pixels.dtype))


def gaussian(pixels: Pixels, sigma: float) -> Pixels:
    """Returns (H, W, C) of any dtype and C blurred with a standard deviation of `sigma` pixels."""
    return by_channels(lambda part: _gaussian(part, sigma), pixels)


def _gaussian(part: Pixels, sigma: float) -> Pixels:
    width = 2 * math.ceil(4 * sigma) + 1  # OpenCV would choose less for 8 bits than for the other depths
    return np.asarray(cv2.GaussianBlur(part, (width, width), sigma))


def _line(reach: int, angle: float) -> Values:
    """Returns the kernel of a straight motion over 2 * reach + 1 pixels."""
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    kernel[reach] = 1
    turn = cv2.getRotationMatrix2D((reach, reach), -angle, 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, kernel.shape[::-1]))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _seen_only(image: Image, pixels: Pixels) -> Image:
    """Returns `image` with new `pixels`, where they can be seen; what is hidden stays as it was."""
    seen = visible(image)
    return image.replace(pixels=pixels if seen is None else np.where(seen[:, :, None], pixels, image.pixels))
