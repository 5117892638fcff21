"""The final size of a result, and its blend with the bicubic enlargement."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from fakes import Enlarge

from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ConfigError
from img2img.image import Image
from img2img.image.alpha import bleed
from img2img.image.colour_fix import with_colours_of
from img2img.image.geo import PIXEL_SCALE
from img2img.image.ifd import DOUBLE, IfdEntry
from img2img.image.image import Metadata
from img2img.image.resize import resize
from img2img.inference import Translator, load_model
from img2img.inference.enlarge import toward_bicubic
from img2img.models import Compact

DTYPES = [np.uint8, np.uint16, np.float32]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def picture(rng, shape, dtype):
    values = rng.random(shape, np.float32)
    return values if dtype == np.float32 else (values * np.iinfo(dtype).max).round().astype(dtype)


def enlarging(scale=None, strength=1.0, **more):
    return Translator(Enlarge(), device="cpu", precision="fp32", scale=scale, strength=strength, **more)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7), (5, 7, 4), (1, 1, 3)])
@pytest.mark.parametrize("scale", [2, 1.5, 3, 0.4])
@pytest.mark.sampled(8)
def test_the_final_size_is_an_exact_resize_of_what_the_model_makes(rng, dtype, shape, scale):
    pixels = picture(rng, shape, dtype)
    result = enlarging(scale)(pixels)
    own = enlarging()(pixels)
    size = [max(1, round(side * scale)) for side in shape[:2]]
    expected = resize(own if own.ndim == 3 else own[..., None], *size)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected if own.ndim == 3 else expected[..., 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [2, 2.5])
def test_strength_0_is_bicubic_and_1_the_model(rng, dtype, scale):
    pixels = picture(rng, (6, 9, 3), dtype)
    size = (round(6 * scale), round(9 * scale))
    np.testing.assert_array_equal(enlarging(scale, 0)(pixels), resize(pixels, *size))
    np.testing.assert_array_equal(enlarging(scale, 1)(pixels), enlarging(scale)(pixels))


def test_a_map_is_scaled_with_its_picture(rng):
    where = IfdEntry(DOUBLE, 3, np.array([0.5, 0.25, 0]).tobytes())
    image = Image(picture(rng, (6, 9, 3), np.uint8), metadata=Metadata(geo={PIXEL_SCALE: where}))
    for scale, factor in ((None, 2), (3, 3)):
        (result,) = enlarging(scale)([image])
        pixel = np.frombuffer(result.metadata.geo[PIXEL_SCALE].raw)
        np.testing.assert_allclose(pixel, np.array([0.5, 0.25, 0]) / factor)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("strength", [0.5, 0.3, 0.9, 1 / 3])
@pytest.mark.sampled(1)
def test_every_level_is_the_rounded_mean(rng, dtype, strength):
    source = Image(picture(rng, (40, 41, 3), dtype))
    made = Image(picture(rng, (80, 82, 3), dtype))
    blended = toward_bicubic(made, source, strength).pixels
    plain = resize(source.pixels, 80, 82)
    share, rest = Fraction(strength), Fraction(1 - strength)
    assert blended.dtype == dtype
    values = (array.ravel().tolist() for array in (blended, made.pixels, plain))
    for level, a, b in zip(*values, strict=True):
        assert abs(level - (share * a + rest * b)) <= Fraction(1, 2) + Fraction(1, 10**9)


def test_alpha_is_blended_and_hidden_colours_stay_hidden(rng):
    pixels, alpha = picture(rng, (6, 6, 3), np.uint8), picture(rng, (6, 6), np.uint8)
    alpha[2:4, 2:5] = 0
    source = Image(pixels, alpha, icc=b"rgb", exif=b"II*\0")
    (whole,) = enlarging()([source])
    (none,) = enlarging(strength=0)([source])
    (half,) = enlarging(strength=0.5)([source])
    np.testing.assert_array_equal(none.alpha, resize(alpha[..., None], 12, 12)[..., 0])
    np.testing.assert_array_equal(none.pixels, resize(bleed(source).pixels, 12, 12))
    for kind in ("pixels", "alpha"):
        mean = (getattr(whole, kind).astype(float) + getattr(none, kind)) / 2
        np.testing.assert_array_equal(getattr(half, kind), np.rint(mean))
    assert (half.icc, half.exif) == (b"rgb", b"II*\0")
    (dropped,) = enlarging(strength=0.5, alpha="drop")([source])
    assert dropped.alpha is None


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_number_of_channels(rng, channels):
    network = Enlarge(channels if channels == 5 else 3)
    pixels = picture(rng, (4, 5, channels), np.uint16)
    result = Translator(network, device="cpu", strength=0.25)(pixels)
    mean = 0.25 * pixels.repeat(2, 0).repeat(2, 1) + 0.75 * resize(pixels, 8, 10)
    np.testing.assert_array_equal(result, np.rint(mean))


def test_load_model_takes_both(rng, tmp_path):
    save_model(tmp_path / "m.safetensors", Compact(**Compact.tiny), ModelInfo())
    pixels = picture(rng, (8, 6, 3), np.uint8)
    model = load_model(tmp_path / "m.safetensors", device="cpu", scale=1.5, strength=0.0)
    assert (model.scale, model.strength) == (1.5, 0.0)
    np.testing.assert_array_equal(model(pixels), resize(pixels, 12, 9))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strength": 1.01}, "not from 0"),
        ({"strength": -0.1}, "not from 0"),
        ({"strength": float("nan")}, "not from 0"),
        ({"scale": 0}, "greater than 0"),
        ({"scale": float("inf")}, "greater than 0"),
        ({"scale": float("nan")}, "greater than 0"),
    ],
)
def test_numbers_that_make_no_sense(arguments, words):
    with pytest.raises(ConfigError, match=words):
        enlarging(**arguments)


@pytest.mark.parametrize("way", ["lowfreq", "wavelet"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_colours_of_the_input_come_before_the_blend(rng, way, strength):
    pixels = picture(rng, (40, 56, 3), np.uint8)
    made = with_colours_of(Image(pixels), Image(enlarging(2.5)(pixels)), way)
    expected = toward_bicubic(made, Image(pixels), strength).pixels
    np.testing.assert_array_equal(enlarging(2.5, strength, color_fix=way)(pixels), expected)
    np.testing.assert_array_equal(enlarging(2.5, strength, color_fix=way, tile=16)(pixels), expected)


def test_colours_are_those_of_the_input_by_themselves_where_a_gan_made_the_detail(rng):
    class Shifted(Enlarge):
        def forward(self, x):
            return super().forward(x) * 0.9

    pixels = picture(rng, (40, 56, 3), np.uint8)
    made = {
        (gan, fix): Translator(Shifted(), ModelInfo(adversarial=gan), device="cpu", color_fix=fix)(pixels)
        for gan in (True, False, None)
        for fix in (None, "lowfreq", "off")
    }
    assert np.array_equal(made[True, None], made[True, "lowfreq"])
    assert not np.array_equal(made[True, None], made[True, "off"])
    for gan in (False, None):
        assert np.array_equal(made[gan, None], made[gan, "off"])
    tiled = Translator(Shifted(), ModelInfo(adversarial=True), device="cpu", color_fix=None, tile=16)
    assert np.array_equal(tiled(pixels), made[True, None])
    assert Translator(Enlarge(), ModelInfo("own", adversarial=True), "cpu", color_fix=None).color_fix == "off"


def test_models_whose_result_is_no_enlargement_have_no_colours_to_fix():
    with pytest.raises(ConfigError, match="no better version"):
        Translator(Enlarge(), ModelInfo("own"), device="cpu", color_fix="lowfreq")
    with pytest.raises(ConfigError, match="off, lowfreq, wavelet"):
        enlarging(color_fix="hue")


def test_models_whose_result_is_no_enlargement_have_no_strength():
    with pytest.raises(ConfigError, match="no enlargement"):
        Translator(Enlarge(), ModelInfo("own"), device="cpu", strength=0.5)
    with pytest.raises(ConfigError, match="no enlargement"):
        Translator(Enlarge(3, outputs=1), device="cpu", strength=0.5)
