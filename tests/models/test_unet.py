"""The U-Net; its layers are compared with the original's in tests/interop/test_translation.py."""

from __future__ import annotations

import pytest
import torch
from probes import live_features, parameters, radius

from img2img.errors import ConfigError
from img2img.models import UNet
from img2img.types import SYMMETRIC


@pytest.mark.parametrize(
    ("arguments", "count"),
    [({}, 54_413_955), ({"downs": 7}, 41_828_995), ({"norm": "instance"}, 54_409_603)],
)
def test_parameters(arguments: dict, count: int) -> None:
    with torch.device("meta"):
        assert parameters(UNet(**arguments)) == count


@pytest.mark.parametrize("upsample", ["deconv", "resize"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.sampled(4)
def test_shapes_ranges_and_gradients(upsample: str, norm: str) -> None:
    torch.manual_seed(0)
    net = UNet(2, 5, features=3, downs=4, norm=norm, upsample=upsample)
    assert (net.input_range, net.output_range, net.multiple_of) == (SYMMETRIC, SYMMETRIC, 16)
    y = net(torch.rand(1, 2, 32, 48))
    assert y.shape == (1, 5, 32, 48)
    assert y.abs().max() <= 1
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_places_of_dropout() -> None:
    net = UNet(features=2, downs=8)
    places = [type(up.dropout).__name__ for up in net.up]
    # from the innermost level outwards: not there, then on the three next ones
    assert places == ["Identity", "Dropout", "Dropout", "Dropout", "Identity", "Identity", "Identity"]
    assert all(type(up.dropout).__name__ == "Identity" for up in UNet(features=2, dropout=False).up)


def test_it_sees_far_and_says_so() -> None:
    net = UNet(features=2, downs=3, norm="none", dropout=False)
    assert radius(net, 96) == net.receptive_field
    assert net.tiling == "none"


@pytest.mark.parametrize("upsample", ["deconv", "resize"])
def test_live_features(upsample: str) -> None:
    net = UNet(features=16, downs=5, upsample=upsample)
    assert live_features(net, 64) <= net.live_features <= 1.4 * live_features(net, 64)


@pytest.mark.parametrize("arguments", [{"downs": 1}, {"norm": "layer"}, {"upsample": "shuffle"}])
def test_wrong_arguments_are_sentences(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        UNet(**arguments)
