"""Self-attention against its formula in numpy, and the networks that may have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probes import live_features
from torch.nn.utils.parametrize import is_parametrized

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.errors import ConfigError
from img2img.inference import Translator
from img2img.inference.schemes import choose_scheme, no_tiles
from img2img.losses import gradient_penalty
from img2img.models import CutResnet, MultiScalePatchGAN, PatchGAN, Resnet
from img2img.models.attention import SelfAttention


def layer(channels: int, gamma: float = 0.7) -> SelfAttention:
    torch.manual_seed(0)
    made = SelfAttention(channels)
    torch.nn.init.constant_(made.gamma, gamma)
    return made


def by_hand(made: SelfAttention, x: np.ndarray) -> np.ndarray:
    """The formula, place by place, for one picture (C, H, W) of even sides."""
    weight = {
        name: getattr(made, name).weight[:, :, 0, 0].detach().numpy().astype(np.float64)
        for name in ("query", "key", "value", "output")
    }
    _, height, width = x.shape

    def pooled(name: str) -> np.ndarray:
        y = np.einsum("oc,chw->ohw", weight[name], x)
        return y.reshape(len(y), height // 2, 2, width // 2, 2).max((2, 4)).reshape(len(y), -1)

    key, value, result = pooled("key"), pooled("value"), x.copy()
    for row in range(height):
        for column in range(width):
            products = key.T @ (weight["query"] @ x[:, row, column])
            weights = np.exp(products - products.max())
            mean = value @ (weights / weights.sum())
            result[:, row, column] += made.gamma.item() * (weight["output"] @ mean)
    return result


@pytest.mark.parametrize("gradient", [True, False])
def test_it_is_the_formula_with_and_without_a_gradient(gradient: bool) -> None:
    made = layer(16).double()
    x = 3 * torch.randn(2, 16, 6, 4, dtype=torch.double)
    with torch.set_grad_enabled(gradient):
        found = made(x).detach().numpy()
    for picture, expected in zip(found, x.numpy(), strict=True):
        np.testing.assert_allclose(picture, by_hand(made, expected), rtol=0, atol=1e-10)
    assert np.abs(found - x.numpy()).max() > 0.1


def test_channels_are_those_of_the_authors() -> None:
    shapes = {name: tuple(p.shape[:2]) for name, p in SelfAttention(64).named_parameters() if p.ndim > 1}
    assert shapes == {
        "query.weight": (8, 64),
        "key.weight": (8, 64),
        "value.weight": (32, 64),
        "output.weight": (64, 32),
    }


def test_a_fresh_layer_is_the_identity_and_learns_first_how_much_it_counts() -> None:
    made, x = SelfAttention(8), torch.rand(1, 8, 5, 3)
    assert torch.equal(made(x), x)
    made(x).square().sum().backward()
    assert made.gamma.grad is not None and float(made.gamma.grad.abs()) > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (7, 7)])
@pytest.mark.parametrize("channels", [1, 4, 12])
@pytest.mark.sampled(6)
def test_odd_sizes_and_few_channels(size: tuple[int, int], channels: int) -> None:
    made, x = layer(channels), torch.rand(2, channels, *size)
    with_gradient = made(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(made(x), with_gradient)
    assert with_gradient.shape == x.shape


@pytest.mark.parametrize("cls", [Resnet, CutResnet])
def test_a_residual_generator_has_it_where_it_is_told(cls: type[Resnet]) -> None:
    def places(**arguments: object) -> list[int]:
        net = cls(features=2, **arguments)
        return [number for number, part in enumerate(net.blocks) if isinstance(part, SelfAttention)]

    assert places() == [] and places(attention=False) == []
    assert places(attention=True) == [5] and places(blocks=6, attention=True) == [3]  # behind the fifth block
    assert places(blocks=2, attention=2) == [2]


@pytest.mark.parametrize("attention", [0, 3, -1, "yes", 1.5])
def test_a_place_that_there_is_not_is_a_sentence(attention: object) -> None:
    with pytest.raises(ConfigError, match="one of the 2 residual blocks"):
        Resnet(features=2, blocks=2, attention=attention)
    with pytest.raises(ConfigError, match="there are none"):
        Resnet(features=2, blocks=0, attention=True)
    with pytest.raises(ConfigError, match="one of the 2 convolutions"):
        PatchGAN(features=2, layers=1, attention=attention)


def test_weights_without_it_are_those_of_a_network_that_has_it_afresh() -> None:
    """Wherever it begins, a network with attention begins as the one without."""
    torch.manual_seed(0)
    plain, other = Resnet(features=2, blocks=2).eval(), Resnet(features=2, blocks=2, attention=2).eval()
    added = other.load_state_dict(plain.state_dict(), strict=False)
    assert {name.partition(".2.")[0] for name in added.missing_keys} == {"blocks"}
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain(x), other(x))


def test_what_sees_everything_takes_no_tiles_and_says_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Resnet(features=4, blocks=1, norm="none", attention=True)
    torch.nn.init.constant_(net.blocks[1].gamma, 3.0)
    assert net.tiling == "none" and Resnet(features=4, blocks=1, norm="none").tiling == "local"
    assert "sees the whole picture" in (no_tiles(net) or "")
    assert choose_scheme(net, 512, 512, 2**20) is None
    path = tmp_path / "model.safetensors"
    save_model(path, net, ModelInfo("own"))
    again, _ = open_model(path)
    assert again.tiling == "none" and again.spec == net.spec
    pixels = np.random.default_rng(0).random((70, 90, 3), np.float32)
    whole = Translator(net, ModelInfo("own"), device="cpu")(pixels)
    tiled = Translator(again, ModelInfo("own"), device="cpu", tile=16, memory=2**16)(pixels)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)


def test_in_use_its_memory_does_not_grow_with_the_square_of_the_area() -> None:
    """4096 places times 1024 keys would be 256 values for each pixel."""
    for features in (2, 8):
        net = Resnet(features=features, blocks=1, downs=1, attention=True)
        assert live_features(net, 128) <= net.live_features < 40


@pytest.mark.parametrize("cls", [PatchGAN, MultiScalePatchGAN])
def test_a_discriminator_with_it_has_as_many_features_and_second_derivatives(cls: type[PatchGAN]) -> None:
    torch.manual_seed(0)
    net = cls(features=4, norm="none", spectral=True, attention=True)
    found = [part for part in net.modules() if isinstance(part, SelfAttention)]
    assert [part.query.weight.shape[1] for part in found] == [8] * len(found) != []  # behind the second one
    assert all(is_parametrized(part.query) and is_parametrized(part.output) for part in found)
    for part in found:
        torch.nn.init.constant_(part.gamma, 1.0)
    x = torch.rand(2, 3, 64, 64)
    plain = cls(features=4, norm="none", spectral=True)
    shapes = [[y.shape for y in (f if isinstance(f, list) else [f])] for f in plain.features(x)]
    assert [[y.shape for y in (f if isinstance(f, list) else [f])] for f in net.features(x)] == shapes
    gradient_penalty(net, x, x.flip(0)).backward()
    assert all(part.query.parametrizations.weight.original.grad.abs().sum() > 0 for part in found)
