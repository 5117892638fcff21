"""Networks that turn their output when their input is turned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.errors import ConfigError
from img2img.models import EDSR
from img2img.models.init import InitKind, initialize
from img2img.models.symmetric import POSITIONS, Channels, SymmetricConv2d, _fibre_places, is_symmetric
from img2img.training.ema import ExponentialAverage


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


@pytest.mark.parametrize(("scale", "unshuffle"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (1, 4)])
@pytest.mark.parametrize("position", range(POSITIONS))
@pytest.mark.sampled(8)
def test_output_turns_with_the_input(scale: int, unshuffle: int, position: int) -> None:
    network, side = symmetric(scale, unshuffle=unshuffle), 8 if unshuffle > 1 else 9
    x = torch.rand(2, 3, side, 12).double()
    with torch.no_grad():
        assert torch.allclose(network(turned(x, position)), turned(network(x), position), atol=1e-12)


def test_a_plain_network_does_not() -> None:
    torch.manual_seed(0)
    network, x = EDSR(features=16, blocks=2).double(), torch.rand(1, 3, 9, 9).double()
    assert not torch.allclose(network(x.flip(-1)), network(x).flip(-1), atol=1e-4)


@pytest.mark.parametrize(
    ("source", "result", "channels"), [("plain", "oriented", (2, 8)), ("oriented", "phases", (8, 4))]
)
def test_gradients_are_those_of_the_function(
    source: Channels, result: Channels, channels: tuple[int, int]
) -> None:
    """First and second ones, by finite differences."""
    torch.manual_seed(0)
    layer = SymmetricConv2d(*channels, 3, source, result, scale=2).double()
    x = torch.randn(1, channels[0], 4, 4).double()
    given = tuple(torch.randn_like(parameter).requires_grad_() for parameter in layer.parameters())

    def function(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, {"weight": weight, "bias": bias}, x).tanh()

    assert torch.autograd.gradcheck(function, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


def test_the_mean_is_a_projection() -> None:
    torch.manual_seed(0)
    layer = SymmetricConv2d(16, 24, 3)
    with torch.no_grad():
        layer.weight.normal_()
        assert not layer.is_symmetric()
        once = layer.symmetric_weight()
        layer.weight.copy_(once)
        assert layer.is_symmetric() and torch.allclose(layer.symmetric_weight(), once, atol=1e-6)
        layer.bias.normal_()
        assert not layer.is_symmetric()


@pytest.mark.parametrize("kind", ["default", "normal", "xavier", "kaiming", "orthogonal"])
@pytest.mark.sampled(2)
def test_weights_begin_symmetric_and_as_large_as_those_of_a_plain_network(kind: InitKind) -> None:
    sizes = []
    for symmetric in (False, True):
        torch.manual_seed(0)
        network = EDSR(features=64, blocks=1, symmetric=symmetric)
        initialize(network, kind, 0.02)
        assert is_symmetric(network)
        sizes.append(network.exported().blocks[0].conv1.weight.std().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_activations_follow_the_memory_format_of_the_weights() -> None:
    network = symmetric().float().to(memory_format=torch.channels_last)
    x = torch.rand(1, 3, 6, 8).contiguous(memory_format=torch.channels_last)
    assert network.first(x).is_contiguous(memory_format=torch.channels_last)
    network(x).sum().backward()
    with torch.no_grad():
        assert torch.allclose(network.exported()(x), network(x), atol=1e-5)
        assert torch.allclose(network(x.flip(-1)), network(x).flip(-1), atol=1e-5)


def test_on_the_meta_device_nothing_is_large() -> None:
    with torch.device("meta"):
        network = EDSR(features=4096, blocks=1, scale=16, symmetric=True)
    assert all(buffer.is_meta for buffer in network.buffers())


def test_its_average_follows_the_weights_and_leaves_the_constants() -> None:
    network = EDSR(features=8, blocks=1, symmetric=True)
    average = ExponentialAverage(network, 0.5)
    before = [buffer.clone() for buffer in average.network.buffers()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    for _ in range(60):
        average.update(torch.zeros(()))
    assert all(
        torch.allclose(mine, other, atol=1e-5)
        for mine, other in zip(average.network.parameters(), network.parameters(), strict=True)
    )
    assert all(map(torch.equal, before, average.network.buffers()))


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


@pytest.mark.slow
def test_it_can_be_planned_without_values() -> None:
    """As `img2img train --dry-run` does, and what it leaves behind is right for the next network."""
    _fibre_places.cache_clear()
    with FakeTensorMode():
        assert EDSR(features=24, blocks=1, symmetric=True)(torch.rand(1, 3, 5, 5)).shape == (1, 3, 20, 20)
    network = EDSR(features=24, blocks=1, symmetric=True)
    x = torch.rand(1, 3, 5, 5)
    assert torch.allclose(network(x.flip(-1)), network(x).flip(-1), atol=1e-5)


def test_symmetric_features_are_multiples_of_eight() -> None:
    with pytest.raises(ConfigError, match=r"groups of 8.*12 is no multiple"):
        EDSR(features=12, blocks=1, symmetric=True)


def test_a_model_file_may_hold_a_symmetric_network(tmp_path: Path) -> None:
    """One that a program saves; a training folds it first."""
    network = symmetric(2).float().eval()
    save_model(tmp_path / "m.safetensors", network, ModelInfo("like_input"))
    opened, _ = open_model(tmp_path / "m.safetensors")
    assert opened.spec == network.spec
    x = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        assert torch.equal(opened(x), network(x))
