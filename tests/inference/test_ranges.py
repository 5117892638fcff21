"""Models that were trained on numbers of their own: 12 bits, Hounsfield units, floats of 0 to 255."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from torch import Tensor

from img2img.checkpoint import KEY, ModelInfo, open_model, read_header, save_model
from img2img.errors import ModelError, ProcessingError
from img2img.image import Image
from img2img.inference import Translator
from img2img.models import Compact, Generator
from img2img.types import ValueRange

HU, TWELVE, BYTE = ValueRange(-1000, 3000), ValueRange(0, 4095), ValueRange(0, 255)
UNIT = ValueRange(0, 1)


class Inverse(Generator):
    """White minus the picture; remembers what it saw."""

    in_channels = out_channels = 1
    receptive_field, live_features = 0, 1

    def __init__(self, channels: int = 1, scale: int = 1) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.clone()
        return (1 - x).repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


Range = ValueRange | None


def translator(source: Range, target: Range, output: str = "own", **network: int) -> Translator:
    info = ModelInfo(output, range=source, target_range=target)  # type: ignore[arg-type]
    return Translator(Inverse(**network), info, device="cpu", precision="fp32")


def picture(low: float, high: float, dtype: str, channels: int = 1) -> np.ndarray:
    return np.linspace(low, high, 6 * 7 * channels).reshape(6, 7, channels).astype(dtype)


@pytest.mark.parametrize("output", ["own", "like_input"])
@pytest.mark.parametrize(
    ("numbers", "dtype", "atol"),
    [(TWELVE, "uint16", 0), (BYTE, "float32", 1e-4), (HU, "float32", 1e-2), (UNIT, "float32", 1e-6)],
)
def test_results_come_in_the_numbers_and_the_depth_of_the_pictures(
    numbers: ValueRange, dtype: str, atol: float, output: str
) -> None:
    pixels = picture(*numbers, dtype)
    translate = translator(numbers, numbers, output)
    (result,) = translate([Image(pixels)])
    assert result.pixels.dtype == pixels.dtype and result.warnings == ()
    expected = numbers.high - (pixels.astype(np.float64) - numbers.low)
    np.testing.assert_allclose(result.pixels.astype(np.float64), expected, atol=atol)
    assert float(translate.generator.seen.min()) == 0 and float(translate.generator.seen.max()) == 1
    np.testing.assert_array_equal(translate(pixels), result.pixels)


@pytest.mark.parametrize(
    ("source", "target", "dtype", "made"),
    [
        (HU, BYTE, "float32", "uint8"),
        (HU, HU, "uint16", "float32"),  # no room for what is below 0
        (TWELVE, HU, "uint16", "float32"),
        (TWELVE, BYTE, "uint16", "uint8"),
        (TWELVE, ValueRange(0, 65535), "uint16", "uint16"),
        (TWELVE, UNIT, "uint16", "float32"),
        (BYTE, HU, "uint8", "float32"),
        (None, HU, "uint8", "float32"),
        (HU, None, "float32", "float32"),
        (BYTE, BYTE, "uint8", "uint8"),
    ],
)
def test_two_kinds_of_numbers(source: Range, target: Range, dtype: str, made: str) -> None:
    black, white = source or ValueRange(0, np.iinfo(dtype).max)
    low, high = target or ValueRange(0, 1)
    pixels = picture(max(black, 0) if dtype[0] == "u" else black, white, dtype)
    (result,) = translator(source, target)([Image(pixels)])
    assert result.pixels.dtype == made
    unit = 1 - (pixels.astype(np.float64) - black) / (white - black)
    step = 0.5 if made[0] == "u" else 1e-3 * (high - low)
    np.testing.assert_allclose(result.pixels.astype(np.float64), unit * (high - low) + low, atol=step + 1e-6)


def test_alpha_and_colours_and_enlarging_go_along() -> None:
    pixels = picture(0, 4095, "uint16", 3)
    alpha = np.full((6, 7), 65535, np.uint16)
    alpha[0, 0] = 30000
    image = Image(pixels, alpha)
    (result,) = translator(TWELVE, TWELVE, "like_input", channels=3, scale=2)([image])
    assert result.alpha is not None and result.alpha.dtype == np.uint16
    np.testing.assert_array_equal(result.pixels[1::2, 1::2][1:, 1:], (4095 - pixels)[1:, 1:])
    # the inverse, as for everything, but never clearer than the mask was around: see image/alpha.py
    assert (result.alpha[-1, -1], result.alpha[0, 0]) == (65535, 35535)


def test_values_outside_are_limited_and_that_is_said() -> None:
    pixels = picture(-3000, 5000, "float32")
    translate = translator(HU, HU)
    (result,) = translate([Image(pixels)])
    np.testing.assert_allclose(result.pixels, 2000 - np.clip(pixels, -1000, 3000), atol=1e-2)
    assert any("-3000 to 5000" in note and "-1000 to 3000" in note for note in result.warnings)


def test_a_picture_of_another_kind_is_named() -> None:
    with pytest.raises(ProcessingError, match=r"8 bits \(0 to 255\).*0 to 4095"):
        translator(TWELVE, TWELVE)([Image(picture(0, 255, "uint8"))])
    (full,) = translator(TWELVE, TWELVE)([Image(picture(0, 65535, "uint16"))])
    assert "lie outside" in full.warnings[0]
    (unit,) = translator(TWELVE, TWELVE)([Image(picture(0, 1, "float32"))])
    assert "0 to 1 only" in unit.warnings[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_values_that_mean_nothing_are_refused(value: float) -> None:
    pixels = picture(-1000, 3000, "float32")
    pixels[2, 2] = value
    with pytest.raises(ProcessingError, match=r"not finite|no data"):
        translator(HU, HU)([Image(pixels)])


def test_the_model_file_remembers_and_older_versions_refuse_it(tmp_path: Path) -> None:
    plain, ranged = tmp_path / "plain.safetensors", tmp_path / "ranged.safetensors"
    generator = Compact(**Compact.tiny)
    save_model(plain, generator, ModelInfo())
    save_model(ranged, generator, ModelInfo(range=HU, target_range=BYTE))
    formats = [json.loads(read_header(p)["__metadata__"][KEY])["format"] for p in (plain, ranged)]
    assert formats == [1, 2]
    _, info = open_model(ranged)
    assert (info.range, info.target_range) == (HU, BYTE)
    assert open_model(plain)[1].range is None


@pytest.mark.parametrize("value", [[1], [2, 1], ["0", "1"], {"low": 0}, [0, 1e39], [True, 5], 7])
def test_a_range_that_is_none_is_a_damaged_header(tmp_path: Path, value: object) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, Compact(**Compact.tiny), ModelInfo(range=HU, target_range=HU))
    facts = json.loads(read_header(path)["__metadata__"][KEY]) | {"range": value}
    state = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save(state, {KEY: json.dumps(facts)}))
    with pytest.raises(ModelError, match="range"):
        open_model(path)
