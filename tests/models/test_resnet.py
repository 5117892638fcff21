"""The residual generators; tests/interop/test_translation.py compares their layers with the originals'."""

from __future__ import annotations

import pytest
import torch
from probes import live_features, parameters, radius
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models import CutResnet, Resnet
from img2img.models.base import set_norm_stats
from img2img.models.cut_resnet import BlurDown, BlurUp
from img2img.types import SYMMETRIC


@pytest.mark.parametrize("cls", [Resnet, CutResnet])
@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 11_378_179),
        ({"blocks": 6}, 7_837_699),
        ({"norm": "batch"}, 11_383_427),
        ({"blocks": 6, "norm": "batch"}, 7_841_411),
    ],
)
@pytest.mark.sampled(4)
def test_parameters(cls: type[Resnet], arguments: dict, count: int) -> None:
    with torch.device("meta"):
        assert parameters(cls(**arguments)) == count


VARIANTS = [
    (Resnet, {}),
    (Resnet, {"upsample": "resize"}),
    (Resnet, {"downs": 1}),
    (Resnet, {"downs": 3, "upsample": "resize"}),
    (CutResnet, {}),
    (CutResnet, {"blur_up": False}),
    (CutResnet, {"blur_down": False}),
]


@pytest.mark.parametrize(("cls", "arguments"), VARIANTS)
@pytest.mark.sampled(3)
def test_the_receptive_field(cls: type[Resnet], arguments: dict) -> None:
    net = cls(features=2, blocks=1, norm="none", **arguments)
    assert net.receptive_field - 1 <= radius(net, 16 * net.multiple_of) <= net.receptive_field


def test_the_receptive_field_grows_with_the_blocks() -> None:
    fields = [Resnet(features=2, blocks=blocks).receptive_field for blocks in (1, 2, 9)]
    assert fields == [20, 28, 84]


@torch.no_grad()
@pytest.mark.parametrize(("cls", "arguments"), VARIANTS)
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.sampled(6)
def test_a_strip_with_its_halo_equals_the_whole(cls: type[Resnet], arguments: dict, norm: str) -> None:
    torch.manual_seed(0)
    net = cls(features=2, blocks=1, norm=norm, **arguments).eval().double()
    set_norm_stats(net, "running")
    assert net.tiling == "local"
    cell = net.multiple_of
    halo = -(-net.receptive_field // cell) * cell
    side = 2 * halo + 4 * cell
    x = torch.rand(1, 3, side, 2 * cell + 8, dtype=torch.double)
    whole = net(x)
    top, bottom = halo, halo + 2 * cell
    strip = net(x[:, :, top - halo : bottom + halo])[:, :, halo : halo + bottom - top]
    torch.testing.assert_close(strip, whole[:, :, top:bottom], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cls", "arguments"), VARIANTS)
@pytest.mark.sampled(3)
def test_live_features(cls: type[Resnet], arguments: dict) -> None:
    net = cls(features=16, blocks=2, **arguments)
    assert live_features(net, 64) <= net.live_features <= 1.4 * live_features(net, 64)


@pytest.mark.parametrize(("cls", "arguments"), VARIANTS)
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.sampled(8)
def test_shapes_ranges_and_gradients_at_the_smallest_size(
    cls: type[Resnet], arguments: dict, norm: str
) -> None:
    torch.manual_seed(0)
    net = cls(1, 4, features=3, blocks=1, norm=norm, dropout=True, **arguments)
    assert (net.input_range, net.output_range) == (SYMMETRIC, SYMMETRIC)
    size = net.minimum_size
    y = net(torch.rand(1, 1, size, size + net.multiple_of))
    assert y.shape == (1, 4, size, size + net.multiple_of)
    assert y.abs().max() <= 1
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_parts_make_the_whole() -> None:
    torch.manual_seed(0)
    net = Resnet(features=3, blocks=2).eval()
    x = torch.rand(1, 3, 24, 16)
    lowest = net.head(x)
    assert lowest.shape == (1, 12, 6, 4)
    assert torch.equal(net.last(net.tail(net.blocks(lowest))), net(x))


def test_blurs_against_explicit_filters() -> None:
    x = torch.rand(2, 3, 7, 10, dtype=torch.double)
    taps = torch.tensor([1.0, 2, 1], dtype=torch.double) / 4
    down = (taps[:, None] * taps).repeat(3, 1, 1, 1)
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), down, stride=2, groups=3)
    torch.testing.assert_close(BlurDown(3).double()(x), expected)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.double) / 4
    up = (taps[:, None] * taps).repeat(3, 1, 1, 1)
    wide = F.conv_transpose2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), up, stride=2, padding=3, groups=3)
    torch.testing.assert_close(BlurUp()(x), wide)


@pytest.mark.parametrize("arguments", [{"downs": 0}, {"blocks": -1}, {"norm": "x"}, {"upsample": "x"}])
def test_wrong_arguments_are_sentences(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        Resnet(**arguments)
