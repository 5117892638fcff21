"""Grey stays grey however it is stored, and results mean the colours that they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fakes import Enlarge

from img2img.checkpoint import ModelInfo
from img2img.image import Image, read_image
from img2img.image.colour import ColourSpace
from img2img.image.conversion import UNTAGGED, converted, meaning
from img2img.image.icc import profile_of
from img2img.image.resize import resize
from img2img.inference import Translator, load_model
from img2img.models import ArchSpec, build

DTYPES = [np.uint8, np.uint16, np.float32]
P3 = (profile_of(ColourSpace(12, 13), 3), None)


def level(dtype: type, height: int = 40, width: int = 36) -> np.ndarray:
    """One channel with edges, as text and scans have."""
    coarse = np.random.default_rng(0).integers(0, 65536, (7, 6, 1), np.uint16)
    values = resize(coarse, height, width) / 65535
    values[10:14] = 0
    return (values if dtype == np.float32 else np.rint(values * np.iinfo(dtype).max)).astype(dtype)


def network(channels: int = 3, outputs: int | None = None) -> Translator:
    torch.manual_seed(0)
    arguments = {"features": 8, "convs": 2, "scale": 2}
    if channels != 3:
        arguments |= {"in_channels": channels, "out_channels": outputs or channels}
    return Translator(build(ArchSpec("compact", arguments)), device="cpu", precision="fp32")


def tints(pixels: np.ndarray) -> float:
    return float(np.ptp(pixels.astype(float), axis=2).max())


@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_in_three_channels_is_what_grey_in_one_is(dtype: type) -> None:
    translator = network()
    grey = Image(level(dtype))
    stored = Image(np.repeat(grey.pixels, 3, 2), icc=P3[0])
    one, three = translator([grey, stored])
    assert three.pixels.shape == (80, 72, 3) and three.icc == P3[0] and one.channels == 1
    assert tints(three.pixels) == 0
    np.testing.assert_allclose(three.pixels[..., :1], one.pixels, rtol=0, atol=1e-6)
    array = translator(stored.pixels)
    np.testing.assert_allclose(array, three.pixels, rtol=0, atol=1e-6)
    coloured = stored.pixels.copy()
    coloured[20, 20, 0] = 0 if coloured[20, 20, 0] else 9
    assert tints(translator(coloured)) > 0  # one pixel with a colour, and nothing is assumed


@pytest.mark.parametrize("alpha", ["model", "bicubic", "drop"])
def test_grey_with_alpha_whatever_hides_under_it(alpha: str) -> None:
    torch.manual_seed(0)
    generator = build(ArchSpec("compact", {"features": 8, "convs": 2, "scale": 2}))
    translator = Translator(generator, device="cpu", precision="fp32", alpha=alpha)
    pixels = np.repeat(level(np.uint8), 3, 2)
    mask = np.full(pixels.shape[:2], 255, np.uint8)
    mask[:12] = 0
    noise = np.random.default_rng(2).integers(0, 256, pixels.shape, np.uint8)
    hidden = Image(np.where(mask[..., None] > 0, pixels, noise), mask)
    (result,) = translator([hidden])
    assert tints(result.pixels) == 0 and result.channels == 3
    (plain,) = translator([Image(pixels, mask)])
    np.testing.assert_array_equal(result.pixels, plain.pixels)


def test_four_channels_and_one_channel_models() -> None:
    stored = np.repeat(level(np.uint8), 3, 2)
    mask = np.full(stored.shape[:2], 200, np.uint8)
    mask[5:9] = 255
    (result,) = network(4)([Image(stored, mask)])
    assert tints(result.pixels) == 0 and result.channels == 3 and result.alpha is not None
    (single,) = network(1)([Image(stored)])
    assert tints(single.pixels) == 0 and single.channels == 3


@pytest.mark.parametrize("strength, scale", [(0.4, 2.0), (1.0, 1.7), (0.0, 3.0)])
def test_grey_through_blend_and_resize(strength: float, scale: float) -> None:
    torch.manual_seed(0)
    generator = build(ArchSpec("compact", {"features": 8, "convs": 2, "scale": 2}))
    translator = Translator(generator, device="cpu", precision="fp32", scale=scale, strength=strength)
    assert tints(translator(np.repeat(level(np.uint16), 3, 2))) == 0


def test_what_lossy_formats_leave_is_grey() -> None:
    noise = np.random.default_rng(1).integers(-1, 2, (40, 36, 3))
    nearly = np.clip(level(np.uint8).astype(int) + noise, 0, 255).astype(np.uint8)
    assert tints(network()(nearly)) == 0
    dark = np.repeat(level(np.uint16) // 300, 3, 2)
    dark[5, 5, 1] += 2  # in 16 bits these are colours
    assert tints(network()(dark)) > 0


def test_a_translation_keeps_its_colours_for_grey() -> None:
    generator = Enlarge(3, 1)
    translator = Translator(generator, ModelInfo(output="own"), device="cpu", precision="fp32")
    (result,) = translator([Image(np.repeat(level(np.uint8), 3, 2))])
    assert result.channels == 3


@pytest.mark.parametrize("settings", [{}, {"strength": 0.5}, {"color_fix": "lowfreq"}])
def test_as_many_bands_as_a_model_has_go_in_together(settings: dict[str, Any]) -> None:
    translator = network(2)
    model = translator.generator
    whole = Translator(model, ModelInfo(output="like_input"), device="cpu", precision="fp32", **settings)
    pixels = np.random.default_rng(0).random((20, 18, 2), np.float32)
    (made,) = whole([Image(pixels)])
    assert made.pixels.shape == (40, 36, 2) and made.alpha is None
    if not settings:
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        np.testing.assert_allclose(made.pixels, expected, atol=1e-5)
    assert whole([Image(pixels[..., :1])])[0].channels == 1 and whole(pixels).shape == (40, 36, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_translation_sees_and_makes_srgb(dtype: type) -> None:
    """The identity as a translation model: what comes out looks as what went in, and says so."""
    translator = Translator(Enlarge(3, 1), ModelInfo(output="own"), device="cpu", precision="fp32")
    narrow = Image(np.concatenate([level(dtype), level(dtype)[::-1], level(dtype)[:, ::-1]], 2))
    wide = converted(narrow, P3)
    seen, plain = translator([wide, narrow])
    assert meaning(seen) == UNTAGGED
    off = np.abs(seen.pixels.astype(float) - plain.pixels)
    worst, mean = {np.uint8: (9, 0.6), np.uint16: (12, 1), np.float32: (1e-3, 1e-5)}[dtype]
    assert off.max() <= worst and off.mean() <= mean  # eight bits are coarse in the dark


def test_an_enlargement_stays_in_the_space_of_its_picture() -> None:
    narrow = Image(np.concatenate([level(np.uint8), level(np.uint8)[::-1], level(np.uint8)[:, ::-1]], 2))
    for told in ({"icc": P3[0]}, {"space": ColourSpace(9, 16)}):
        plain, result = network()([narrow, narrow.replace(**told)])
        assert meaning(result) == (told.get("icc"), told.get("space"))
        np.testing.assert_array_equal(result.pixels, plain.pixels)


@pytest.mark.parametrize("model", ["x2", "x4"])
@pytest.mark.sampled(1)
def test_the_published_case(test_data, model: str) -> None:  # type: ignore[no-untyped-def]
    folder = test_data / "cases" / "07_grey_stored_as_rgb_tint"
    if not folder.is_dir():
        pytest.skip("this test data has no cases")
    translator = load_model(model, device="cpu", backend="eager", precision="fp32")
    whole = [read_image(folder / f"{name}.png") for name in ("text", "textL", "photo")]
    parts = [image.replace(pixels=image.pixels[20:52, 20:52]) for image in whole]
    three, one, other = translator(parts)
    assert tints(three.pixels) == tints(other.pixels) == 0 and three.channels == other.channels == 3
    assert one.channels == 1
