"""The conventions of papers, against a plain formula, and pictures of every kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from img2img.errors import ConfigError, ProcessingError
from img2img.evaluation import PlainProtocol, SuperResolutionProtocol
from img2img.image import Image
from img2img.image.resize import resize
from img2img.types import ValueRange


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, (height, width, channels) uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 7, channels), np.uint8)
    noise = random.integers(-9, 10, (height, width, channels))
    return np.clip(resize(coarse, height, width) + noise, 0, 255).astype(np.uint8)


def published_psnr(a: np.ndarray, b: np.ndarray, border: int, rounded: bool) -> float:
    def y(rgb: np.ndarray) -> np.ndarray:
        parts = rgb.astype(np.int64) @ np.array([65481, 128553, 24966])  # of 255000: exact
        return -((127500 - parts) // 255000) + 16 if rounded else parts / 255000 + 16

    inner = np.s_[border:-border, border:-border]
    return 10 * math.log10(255**2 / ((y(a) - y(b))[inner] ** 2).mean())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("y", ["rounded", "float"])
def test_colour_is_compared_on_y_inside_the_border(scale: int, y: Any) -> None:
    protocol = SuperResolutionProtocol(scale, y)
    truth = protocol.truth(Image(picture(49, 46)))
    assert (truth.height, truth.width) == (49 // scale * scale, 46 // scale * scale)
    low = protocol.low_resolution(truth)
    assert np.array_equal(low.pixels, resize(truth.pixels, 49 // scale, 46 // scale))
    prediction = resize(low.pixels, truth.height, truth.width)
    values = protocol.measure(Image(prediction), truth)
    expected = published_psnr(prediction, truth.pixels, scale, y == "rounded")
    assert values["psnr_y"] == pytest.approx(expected, abs=1e-9)
    assert list(values) == ["psnr_y", "ssim_y"] == list(protocol.columns)


def test_rgb_adds_columns() -> None:
    protocol = SuperResolutionProtocol(2, rgb=True)
    a, b = picture(30, 30), picture(30, 30, seed=1)
    values = protocol.measure(Image(a), protocol.truth(Image(b)))
    assert tuple(values) == protocol.columns == ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
    error = ((a.astype(float) - b)[2:-2, 2:-2] ** 2).mean()
    assert values["psnr_rgb"] == pytest.approx(10 * math.log10(255**2 / error))


def test_grey_is_compared_as_it_is_or_through_y() -> None:
    a, b = picture(30, 32, 1), picture(30, 32, 1, seed=1)
    error = ((a.astype(float) - b)[2:-2, 2:-2] ** 2).mean()
    raw = SuperResolutionProtocol(2).measure(Image(a), Image(b))["psnr_y"]
    assert raw == pytest.approx(10 * math.log10(255**2 / error))
    as_colour = SuperResolutionProtocol(2, grey="rgb").measure(Image(a), Image(b))["psnr_y"]
    three = (np.repeat(x, 3, axis=2) for x in (a, b))
    assert as_colour == pytest.approx(published_psnr(*three, 2, rounded=True))
    assert as_colour - raw == pytest.approx(1.3, abs=0.1)


def test_a_grey_target_takes_any_prediction() -> None:
    protocol, truth = SuperResolutionProtocol(2), Image(picture(30, 32, 1))
    grey = picture(30, 32, 1, seed=1)
    colour = np.repeat(grey, 3, axis=2)
    expected = protocol.measure(Image(grey), truth)
    assert protocol.measure(Image(colour), truth) == expected
    colour[..., 0] += colour[..., 0] < 255  # a network tints
    assert protocol.measure(Image(colour), truth)["psnr_y"] == pytest.approx(expected["psnr_y"], abs=0.2)
    assert "compared as grey" in (protocol.describe_grey(["a"], "grey") or "")
    assert "as if stored in colour" in (
        SuperResolutionProtocol(2, grey="rgb").describe_grey(["a"], "grey") or ""
    )


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deeper_pictures_are_scaled(dtype: str) -> None:
    a, b = picture(30, 32), picture(30, 32, seed=1)
    deep = (x.astype(np.float64) / 255 * (65535 if dtype == "uint16" else 1) for x in (a, b))
    deep_a, deep_b = (Image(x.astype(dtype)) for x in deep)
    for protocol in (SuperResolutionProtocol(2, rgb=True), PlainProtocol()):
        shallow = protocol.measure(Image(a), protocol.truth(Image(b)))
        assert protocol.measure(deep_a, protocol.truth(deep_b)) == pytest.approx(shallow, rel=1e-6)
        assert protocol.measure(Image(a), protocol.truth(deep_b)) == pytest.approx(shallow, rel=1e-6)


def test_plain_is_all_channels_and_the_whole_picture() -> None:
    a, b = picture(20, 24), picture(20, 24, seed=1)
    values = PlainProtocol().measure(Image(a, alpha=a[..., 0]), Image(b))
    difference = a.astype(float) - b
    assert values["psnr"] == pytest.approx(10 * math.log10(255**2 / (difference**2).mean()))
    assert values["l1"] == pytest.approx(np.abs(difference).mean() / 255)
    grey = picture(20, 24, 1)
    assert PlainProtocol().measure(Image(grey), Image(b)) == PlainProtocol().measure(
        Image(np.repeat(grey, 3, 2)), Image(b)
    )


def test_what_cannot_be_compared_is_said() -> None:
    truth = Image(picture(40, 40))
    with pytest.raises(ProcessingError, match="the sizes differ: 39 x 40 is compared with 40 x 40"):
        SuperResolutionProtocol(4).measure(Image(picture(40, 39)), truth)
    with pytest.raises(ProcessingError, match="SSIM needs at least 11x11 pixels"):
        SuperResolutionProtocol(4).measure(Image(picture(16, 16)), Image(picture(16, 16)))
    with pytest.raises(ProcessingError, match="2 colour channels where 3"):
        PlainProtocol().measure(Image(picture(40, 40, 2)), truth)
    with pytest.raises(ProcessingError, match="smaller than scale 4"):
        SuperResolutionProtocol(4).truth(Image(picture(3, 40)))
    with pytest.raises(ConfigError, match="whole factors"):
        SuperResolutionProtocol(0)
    with pytest.raises(ConfigError, match="grey 'pink'"):
        SuperResolutionProtocol(2, grey="pink")  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [ValueRange(0, 4095), ValueRange(-1000, 3000), ValueRange(0, 255)])
def test_pictures_in_numbers_of_their_own_are_measured_in_these(numbers: ValueRange) -> None:
    """The kind: 12 bits in 16, Hounsfield units, floats to 255: they count as the same in 8 bits do."""
    low, high = numbers
    truth, prediction = picture(40, 44, seed=1), picture(40, 44, seed=2)
    own = [Image((p / np.float32(255) * (high - low) + low).astype(np.float32)) for p in (prediction, truth)]
    for plain, counted in (
        (PlainProtocol(), PlainProtocol(numbers)),
        (SuperResolutionProtocol(2), SuperResolutionProtocol(2, numbers=numbers)),
    ):
        expected = plain.measure(Image(prediction), plain.truth(Image(truth)))
        a, b = (counted.truth(counted.levels(image)) for image in own)
        assert counted.measure(a, b) == pytest.approx(expected, rel=1e-5)
        assert f"{low:g} to {high:g}" in counted.describe()
    reduced = counted.low_resolution(b)
    assert reduced.pixels.dtype == np.float32 and reduced.pixels.min() >= low
    assert reduced.pixels.max() > (low + high) / 2, "a model gets its inputs in its numbers, too"


def test_levels_that_mean_nothing_are_no_scores() -> None:
    pixels = np.full((16, 16, 1), 9, np.float32)
    pixels[3, 3] = 1e38
    with pytest.raises(ProcessingError, match="no data"):
        PlainProtocol(ValueRange(0, 255)).levels(Image(pixels))
