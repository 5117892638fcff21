"""What time does to prints and film: fading, grain, scratches and dust."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from img2img.processors.degradations.kernels import blurred, gaussian
from img2img.processors.pixels import Values, luma, spread

Cover = NDArray[np.uint8]
_FINE = 4  # bits of a pixel's fraction in what OpenCV draws
_TONES = (0.08, 0.95)  # of what lies on a print


def faded(values: Values, strength: float, stream: np.random.Generator) -> Values:
    """Returns (H, W, C) with less contrast and colour, and with a cast where there are three channels.

    Args:
        values: From 0 to 1.
        strength: 0 changes nothing; at 1 black may rise and white fall by a quarter each, and up to four
            fifths of the colours go.
        stream: Where the random numbers come from.
    """
    channels = values.shape[2]
    black, white = stream.uniform(0, 0.25 * strength, 2)
    cast = np.zeros(channels)
    if channels == 3:  # blue layers go first, red last
        cast = stream.uniform(0, 0.12 * strength) * np.array([1.0, 0.4, -1.0])
        grey = np.float32(stream.uniform(0, 0.8 * strength))
        values = values + grey * (spread(luma(values), 3) - values)
    low = np.clip(black + cast / 2, 0, 1).astype(np.float32)
    high = np.clip(1 - white + np.minimum(cast, 0), 0, 1).astype(np.float32)
    return np.asarray(low + values * (high - low), np.float32)


def grained(values: Values, sigma: float, size: float, stream: np.random.Generator) -> Values:
    """Returns (H, W, C) with the grain of film: smooth grey noise, strongest in the middle tones.

    Args:
        values: From 0 to 1.
        sigma: Standard deviation at middle grey, as a part of white.
        size: Of a grain: standard deviation of its Gaussian in pixels, more than 0.
        stream: Where the random numbers come from.
    """
    kernel = gaussian(2 * math.ceil(3 * size) + 1, size)
    grain = blurred(stream.standard_normal((*values.shape[:2], 1), np.float32), kernel)
    grain *= np.float32(sigma / float(np.square(kernel).sum()))  # what is left of white noise
    light = np.clip(luma(values), 0, 1)[:, :, None]
    return np.asarray(values + grain * (np.float32(0.3) + np.float32(2.8) * light * (1 - light)), np.float32)


def scratched(values: Values, scratches: int, specks: int, hairs: int, stream: np.random.Generator) -> Values:
    """Returns (H, W, C) with things drawn on it, light or dark, through which the picture still shows.

    Args:
        values: From 0 to 1.
        scratches: Number of thin lines of 30 to 400 pixels, most of them along the film: nearly upright.
        specks: Number of spots of some pixels.
        hairs: Number of curled lines of up to a hundred pixels.
        stream: Where the random numbers come from.
    """
    height, width = values.shape[:2]
    masks = [np.zeros((height, width), np.uint8) for _ in _TONES]
    for _ in range(scratches):
        angle = math.pi / 2 + (stream.normal(0, 0.05) if stream.random() < 0.8 else stream.uniform(-1.5, 1.5))
        _arc(masks, _between(30, 400, stream), angle, stream.normal(0, 0.1), stream)
    for _ in range(hairs):
        _arc(masks, stream.uniform(15, 100), stream.uniform(0, 2 * math.pi), stream.normal(0, 2), stream)
    for _ in range(specks):
        middle = stream.uniform(0, 1, 2) * (width, height)
        axes = np.array([_between(0.5, 3.5, stream), _between(0.5, 3.5, stream)])
        mask, cover = _choice(masks, stream)
        turn = stream.uniform(0, 180)
        cv2.ellipse(mask, _fixed(middle), _fixed(axes), turn, 0, 360, cover, -1, cv2.LINE_AA, _FINE)
    for mask, tone in zip(masks, _TONES, strict=True):
        share = np.asarray(mask, np.float32)[:, :, None] * np.float32(1 / 255)
        values = np.asarray(values + share * (np.float32(tone) - values), np.float32)
    return values


def _arc(masks: list[Cover], length: float, angle: float, bend: float, stream: np.random.Generator) -> None:
    """Draws an arc through a random place into one of the masks."""
    mask, cover = _choice(masks, stream)
    height, width = mask.shape
    time = np.linspace(-0.5, 0.5, 24)
    steps = length / len(time) * np.array([np.cos(angle + bend * time), np.sin(angle + bend * time)])
    points = np.cumsum(steps, axis=1)
    points += (stream.uniform(0, 1, 2) * (width, height) - points.mean(axis=1))[:, None]
    line = np.rint(points.T * 2**_FINE).astype(np.int32)[:, None]
    cv2.polylines(mask, [line], False, cover, int(stream.choice([1, 1, 2])), cv2.LINE_AA, _FINE)


def _choice(masks: list[Cover], stream: np.random.Generator) -> tuple[Cover, int]:
    """Returns the mask of light or of dark things, and how much they cover, up to 255."""
    return masks[int(stream.random() < 0.6)], int(stream.uniform(0.3, 0.95) * 255)


def _between(low: float, high: float, stream: np.random.Generator) -> float:
    """Returns a number whose logarithm is spread evenly."""
    return math.exp(stream.uniform(math.log(low), math.log(high)))


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.rint(point * 2**_FINE).astype(int).tolist()
    return x, y
