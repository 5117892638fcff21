"""SRResNet and MSRResNet; their layers are compared with the originals' in tests/interop/test_srgan.py."""

from __future__ import annotations

import pytest
import torch
from probes import live_features, parameters, radius

from img2img.errors import ConfigError
from img2img.models import Generator, MSRResNet, SRResNet
from img2img.types import SYMMETRIC, UNIT

BOTH = pytest.mark.parametrize("cls", [SRResNet, MSRResNet])
SCALES = pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])


@pytest.mark.parametrize(("cls", "count"), [(SRResNet, 1_547_350), (MSRResNet, 1_517_571)])
def test_parameters(cls: type[Generator], count: int) -> None:
    assert parameters(cls()) == count


@pytest.mark.parametrize(("cls", "field"), [(SRResNet, 40), (MSRResNet, 35)])
def test_the_paper_s_receptive_field(cls: type[Generator], field: int) -> None:
    assert cls().receptive_field == field


@BOTH
@SCALES
@pytest.mark.sampled(3)
def test_the_receptive_field(cls: type[Generator], scale: int) -> None:
    net = cls(features=2, blocks=2, scale=scale)
    assert radius(net, 36) == net.receptive_field


@BOTH
@SCALES
@pytest.mark.sampled(4)
def test_live_features(cls: type[Generator], scale: int) -> None:
    net = cls(features=16, blocks=2, scale=scale)
    assert live_features(net, 16) <= net.live_features <= 1.4 * live_features(net, 16)


@BOTH
@SCALES
def test_shapes_and_gradients(cls: type[Generator], scale: int) -> None:
    torch.manual_seed(0)
    net = cls(1, 1, scale, features=4, blocks=1)
    y = net(torch.rand(2, 1, 5, 7))
    assert y.shape == (2, 1, 5 * scale, 7 * scale)
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_ranges_are_separate_facts() -> None:
    linear, tanh = (SRResNet(features=2, blocks=1, output=output) for output in ("linear", "tanh"))
    assert (linear.input_range, linear.output_range) == (UNIT, UNIT)
    assert (tanh.input_range, tanh.output_range) == (UNIT, SYMMETRIC)
    assert tanh(torch.rand(1, 3, 8, 8) * 100).abs().max() <= 1


def test_msrresnet_starts_at_the_enlarged_input() -> None:
    net = MSRResNet(3, 1, scale=2, features=2, blocks=1)
    torch.nn.init.zeros_(net.last.weight)
    torch.nn.init.zeros_(net.last.bias)
    grey = torch.full((1, 3, 4, 4), 0.5)
    torch.testing.assert_close(net(grey), torch.full((1, 1, 8, 8), 0.5))


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (SRResNet, {"scale": 5}),
        (SRResNet, {"output": "sigmoid"}),
        (SRResNet, {"trunk_end": "none"}),
        (MSRResNet, {"scale": 16}),
        (MSRResNet, {"in_channels": 3, "out_channels": 2}),
    ],
)
def test_wrong_arguments_are_sentences(cls: type[Generator], arguments: dict) -> None:
    with pytest.raises(ConfigError):
        cls(**arguments)
