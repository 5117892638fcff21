"""Filling holes with a network: what stays, what a seam looks like, and pictures larger than the network."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn

from img2img.checkpoint import ModelInfo
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Mask
from img2img.image import Image
from img2img.image.image import white_of
from img2img.inference.inpainting import NetworkFill
from img2img.models import Compact, Generator, PartialUNet
from img2img.processors.inpaint import Inpainter
from img2img.types import ValueRange


class Fake(Generator):
    """A network whose result is said by a function; it notes the sizes that it was given."""

    conditions = MappingProxyType({"mask": Mask()})
    in_channels = out_channels = 3
    multiple_of = 8
    receptive_field = 0
    live_features = 6

    def __init__(self, kind: str = "constant") -> None:
        super().__init__()
        self.kind, self.sizes = kind, []
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        assert x.shape[-2:] == mask.shape[-2:] and set(mask.unique().tolist()) <= {0, 1}
        assert x.shape[-2] % 8 == x.shape[-1] % 8 == 0
        self.sizes.append(tuple(x.shape[-2:]))
        if self.kind == "nan":
            return x * torch.nan
        if self.kind == "rows":
            return torch.linspace(0, 1, x.shape[-2])[:, None].expand_as(x)
        return torch.full_like(x, 0.6)


def fill(
    network: Generator, pixels: np.ndarray, hole: np.ndarray, side: int | None = None, **options
) -> Image:
    filler = NetworkFill(network, ModelInfo(size=side), device="cpu", **options)
    mask = Image(hole[..., None].astype(np.uint8) * 255)
    (result,) = Inpainter(filler)([Image(pixels)], mask=[mask])
    return result


def hole_in(height: int, width: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    hole = np.zeros((height, width), bool)
    hole[top:bottom, left:right] = True
    return hole


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 2), (7, 3), (17, 30), (40, 33)])
@pytest.mark.sampled(8)
def test_any_size_and_depth_keeps_what_is_known(dtype, channels, size):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    values = random.random((*size, channels))
    pixels = (values * white_of(np.dtype(dtype))).astype(dtype)
    hole = random.random(size) > 0.6
    hole.flat[0], hole.flat[-1] = True, False
    result = fill(PartialUNet(**PartialUNet.tiny), pixels, hole)
    np.testing.assert_array_equal(result.pixels[~hole], pixels[~hole])
    assert result.pixels.dtype == dtype and result.pixels.shape == pixels.shape
    assert np.isfinite(result.pixels).all()


def test_a_grey_picture_stays_grey_in_one_channel_or_in_three():
    torch.manual_seed(0)
    grey = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    hole = hole_in(32, 32, 8, 8, 20, 25)
    network = PartialUNet(**PartialUNet.tiny)
    one, three = (fill(network, pixels, hole).pixels for pixels in (grey, np.repeat(grey, 3, 2)))
    np.testing.assert_array_equal(three, np.repeat(one, 3, 2))


def test_the_seam_is_feathered_within_the_hole():
    """The network says 0.6 where the picture is 0.5: at the edge 0.5, in the middle 0.6, no step between."""
    pixels = np.full((120, 160, 3), 0.5, np.float32)
    hole = hole_in(120, 160, 30, 40, 90, 120)
    soft = fill(Fake(), pixels, hole, side=400, feather=10).pixels[60, :, 0]
    hard = fill(Fake(), pixels, hole, side=400, feather=0).pixels[60, :, 0]
    assert np.abs(np.diff(soft)).max() < 0.015 and soft[80] == pytest.approx(0.6)
    np.testing.assert_allclose(hard[40:120], 0.6, rtol=1e-6)
    assert (soft[:40] == 0.5).all() and (hard[:40] == 0.5).all()


def filled(
    pixels: np.ndarray, numbers: ValueRange | None = None, **options
) -> tuple[Image, tuple[float, float]]:
    """Returns the result for a hole in the middle, and black and white of what the network saw around it."""
    network = Fake()
    network.register_forward_pre_hook(lambda _, given: reach.extend(map(float, given[0].aminmax())))
    reach: list[float] = []
    filler = NetworkFill(network, ModelInfo(size=64, range=numbers), device="cpu", **options)
    hole = hole_in(*pixels.shape[:2], 20, 20, 30, 30)
    mask = Image(hole[..., None].astype(np.uint8) * 255)
    (result,) = Inpainter(filler)([Image(pixels)], mask=[mask])
    np.testing.assert_array_equal(result.pixels[~hole], pixels[~hole])
    assert result.pixels.dtype == pixels.dtype
    return result, (min(reach), max(reach))


def ramp(low: float, high: float, dtype: str) -> np.ndarray:
    return np.linspace(low, high, 50)[None, :, None].repeat(50, 0).repeat(3, 2).astype(dtype)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 4095, "uint16"), (0, 255, "uint16"), (0, 255, "float32"), (-1000, 3000, "float32")],
)
def test_black_and_white_are_those_of_the_training(low, high, dtype):
    """12 bits in 16, 8 bits in 16 or in floats, Hounsfield units."""
    result, seen = filled(ramp(low, high, dtype), ValueRange(low, high), feather=0)
    assert seen == pytest.approx((0, 1), abs=1e-6) and not result.warnings
    np.testing.assert_allclose(result.pixels[20:30, 20:30], low + 0.6 * (high - low), atol=0.5)


def test_what_the_model_was_not_trained_on_is_said_or_refused():
    result, seen = filled(ramp(0, 60_000, "uint16"), ValueRange(0, 4095))
    assert seen == pytest.approx((0, 1), abs=1e-6)
    assert any("the model was trained on 0 to 4095" in sentence for sentence in result.warnings)
    with pytest.raises(ProcessingError, match="8 bits"):
        filled(ramp(0, 255, "uint8"), ValueRange(0, 4095))
    for info in (ModelInfo(nearest=True), ModelInfo(palette=((0, 0, 0), (255, 0, 0)))):
        with pytest.raises(ConfigError, match="label maps"):
            NetworkFill(Fake(), info, device="cpu")


@pytest.mark.parametrize(("low", "high"), [(0, 1000), (-1000, 3000), (0, 1.5)])
def test_floats_beyond_black_and_white_are_filled_in_their_own_numbers(low, high):
    """Where the model says none; values that say "no data" do not count."""
    pixels = ramp(low, high, "float32")
    result, seen = filled(pixels, feather=0)
    assert seen == pytest.approx((0, 1), abs=1e-6)
    np.testing.assert_allclose(result.pixels[20:30, 20:30], low + 0.6 * (high - low), rtol=1e-5)
    assert any(f"near its holes are {low:g} to {high:g}" in sentence for sentence in result.warnings)
    pixels[0, 0], pixels[0, 1] = np.nan, -3e38
    again, _ = filled(pixels, feather=0)
    np.testing.assert_array_equal(again.pixels[20:30, 20:30], result.pixels[20:30, 20:30])
    assert not filled(ramp(0.2, 0.8, "float32"))[0].warnings


def test_what_a_hole_holds_does_not_matter():
    torch.manual_seed(0)
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (40, 40, 3), np.uint8)
    hole = hole_in(40, 40, 10, 10, 30, 25)
    other = pixels.copy()
    other[hole] = 255
    network = PartialUNet(**PartialUNet.tiny)
    np.testing.assert_array_equal(fill(network, pixels, hole).pixels, fill(network, other, hole).pixels)


def test_thick_holes_are_filled_in_a_reduced_picture_and_thin_ones_at_full_size():
    network = Fake("rows")
    pixels = np.zeros((400, 300, 3), np.float32)
    hole = hole_in(400, 300, 100, 50, 300, 250) | hole_in(400, 300, 10, 0, 13, 300)
    fill(network, pixels, hole, side=128, feather=0)
    full, reduced = network.sizes
    assert full == (400, 304)
    assert reduced[0] <= 400 / 4 + 8  # 100 pixels thick, of 128 / 6 that can be crossed


def test_a_large_picture_goes_through_in_tiles_without_steps():
    torch.manual_seed(0)
    network = Fake()
    pixels = np.full((300, 210, 3), 0.5, np.float32)
    hole = hole_in(300, 210, 0, 100, 300, 110)
    whole = fill(network, pixels, hole, side=64)
    assert network.sizes == [(304, 144)]  # and only the part around the hole
    network.sizes.clear()
    tiled = fill(network, pixels, hole, side=64, memory=72 * 64 * 64)
    assert len(network.sizes) > 4 and max(map(max, network.sizes)) <= 72
    np.testing.assert_allclose(tiled.pixels, whole.pixels, atol=1e-6)


def test_what_is_far_from_a_hole_is_not_computed():
    network = Fake()
    hole = hole_in(1000, 900, 500, 450, 510, 460)
    fill(network, np.zeros((1000, 900, 3), np.uint8), hole, side=64, precision="fp32")  # in bf16 a copy runs
    assert network.sizes == [(144, 144)]


def test_half_precision_fills_nearly_alike():
    torch.manual_seed(0)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    hole = hole_in(40, 40, 10, 10, 30, 25)
    network = PartialUNet(**PartialUNet.tiny)
    full, half = (fill(network, pixels, hole, precision=name).pixels.astype(int) for name in ("fp32", "bf16"))
    assert 0 < np.abs(full - half).max() < 12
    np.testing.assert_array_equal(half[~hole], pixels[~hole])


def test_alpha_is_continued():
    pixels = np.full((40, 40, 3), 128, np.uint8)
    alpha = np.full((40, 40), 200, np.uint8)
    hole = hole_in(40, 40, 10, 10, 20, 20)
    mask = Image(hole[..., None].astype(np.uint8) * 255)
    inpainter = Inpainter(NetworkFill(Fake(), device="cpu"))
    (result,) = inpainter([Image(pixels, alpha)], mask=[mask])
    assert (result.alpha == 200).all()
    (result,) = Inpainter(NetworkFill(Fake(), device="cpu"), "alpha")(
        [Image(pixels, np.where(hole, 0, 255).astype(np.uint8))]
    )
    assert (result.alpha == 255).all() and (result.pixels[hole] > 128).all()


def test_what_cannot_be_is_a_sentence():
    with pytest.raises(ConfigError, match=r"\(compact\) does not fill holes"):
        NetworkFill(Compact(**Compact.tiny), device="cpu")
    with pytest.raises(ConfigError, match="feather is -1"):
        NetworkFill(Fake(), device="cpu", feather=-1)
    hole = hole_in(9, 9, 2, 2, 5, 5)
    with pytest.raises(ProcessingError, match="has 2 channels"):
        fill(Fake(), np.zeros((9, 9, 2), np.uint8), hole)
    with pytest.raises(ProcessingError, match="not finite"):
        fill(Fake("nan"), np.zeros((9, 9, 3), np.uint8), hole)
