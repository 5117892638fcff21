"""Networks that turn their output when their input is turned."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models import EDSR
from img2img.models.symmetric import POSITIONS, SymmetricConv2d, _weight_places


def turned(x: torch.Tensor, position: int) -> torch.Tensor:
    """Turns the last two axes by quarters; from position 4 on after exchanging them."""
    return torch.rot90(x.transpose(-1, -2) if position & 4 else x, position & 3, (-2, -1))


def symmetric(scale: int = 4, **arguments: int) -> EDSR:
    torch.manual_seed(0)
    network = EDSR(**({"features": 16, "blocks": 2, "scale": scale, "symmetric": True} | arguments)).double()
    with torch.no_grad():
        for parameter in network.parameters():  # far from the start, and with constants
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("position", range(POSITIONS))
def test_output_turns_with_the_input(scale: int, position: int) -> None:
    network, x = symmetric(scale), torch.rand(2, 3, 9, 12).double()
    with torch.no_grad():
        assert torch.allclose(network(turned(x, position)), turned(network(x), position), atol=1e-12)


def test_a_plain_network_does_not() -> None:
    torch.manual_seed(0)
    network, x = EDSR(features=16, blocks=2).double(), torch.rand(1, 3, 9, 9).double()
    assert not torch.allclose(network(x.flip(-1)), network(x).flip(-1), atol=1e-4)


@pytest.mark.parametrize(
    ("source", "result", "channels"), [("plain", "oriented", (3, 8)), ("oriented", "phases", (8, 9))]
)
def test_gradient_is_that_of_the_mean(source: str, result: str, channels: tuple[int, int]) -> None:
    """By autograd through the mean written out, and again for the second derivative."""
    torch.manual_seed(0)
    layer = SymmetricConv2d(*channels, 3, source, result, scale=3).double()  # type: ignore[arg-type]
    x = torch.randn(1, channels[0], 5, 5).double()
    weight = torch.stack([layer.weight.flatten()[places] for places in layer.places]).mean(0)
    bias = torch.stack([layer.bias[places] for places in layer.bias_places]).mean(0)
    expected = F.conv2d(x, weight, bias)
    assert torch.allclose(layer(x), expected)
    parameters = list(layer.parameters())
    theirs = torch.autograd.grad(expected.pow(3).sum(), parameters)
    ours = torch.autograd.grad(layer(x).pow(3).sum(), parameters, create_graph=True)
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))
    second = torch.autograd.grad(sum(g.pow(2).sum() for g in ours), parameters)
    assert all(torch.isfinite(value).all() and value.abs().sum() > 0 for value in second)


def test_fresh_weights_are_symmetric_and_as_large_as_those_of_a_plain_layer() -> None:
    torch.manual_seed(0)
    ours, plain = SymmetricConv2d(64, 64, 3), torch.nn.Conv2d(64, 64, 3)
    assert torch.allclose(ours.weight, ours.symmetric_weight(), atol=1e-7)
    assert ours.weight.std().item() == pytest.approx(plain.weight.std().item(), rel=0.05)


def test_weights_stay_symmetric_while_they_learn() -> None:
    torch.manual_seed(0)
    network = EDSR(features=8, blocks=1, scale=2, symmetric=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    before = network.blocks[0].conv1.weight.detach().clone()
    for _ in range(5):
        x = torch.rand(2, 3, 6, 6)
        optimizer.zero_grad()
        (network(x) - torch.rand(2, 3, 12, 12)).abs().mean().backward()
        optimizer.step()
    for layer in network.modules():
        if isinstance(layer, SymmetricConv2d):
            assert torch.allclose(layer.weight, layer.symmetric_weight(), atol=1e-5)
    assert not torch.allclose(network.blocks[0].conv1.weight, before, atol=1e-3)


def test_exported_is_the_plain_network_that_equals_it() -> None:
    network, x = symmetric(2), torch.rand(1, 3, 7, 10).double()
    before = torch.get_rng_state()
    plain = network.exported()
    assert torch.equal(before, torch.get_rng_state())
    assert plain.spec.arguments["symmetric"] is False
    assert not any(isinstance(layer, SymmetricConv2d) for layer in plain.modules())
    assert all(not parameter.is_meta for parameter in plain.parameters())
    with torch.no_grad():
        assert torch.allclose(plain(x), network(x), atol=1e-12)
    assert plain.exported() is plain


def test_it_can_be_planned_without_values() -> None:
    """As `img2img train --dry-run` does, and what it leaves behind is right for the next network."""
    _weight_places.cache_clear()
    with FakeTensorMode():
        assert EDSR(features=24, blocks=1, symmetric=True)(torch.rand(1, 3, 5, 5)).shape == (1, 3, 20, 20)
    network = EDSR(features=24, blocks=1, symmetric=True)
    x = torch.rand(1, 3, 5, 5)
    assert torch.allclose(network(x.flip(-1)), network(x).flip(-1), atol=1e-5)


def test_symmetric_features_are_multiples_of_eight() -> None:
    with pytest.raises(ConfigError, match=r"groups of 8.*12 is no multiple"):
        EDSR(features=12, blocks=1, symmetric=True)
