"""Normalisation: the right gradient in every layout, per-image statistics, and reproducible dropout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import img2img
from img2img.errors import ConfigError
from img2img.models import Resnet, SRResNet, UNet
from img2img.models.base import get_norm_stats, set_norm_stats
from img2img.models.dropout import Dropout, set_dropout
from img2img.models.norm import BatchNorm, InstanceNorm, Statistics, make_norm

FORMATS = [torch.contiguous_format, torch.channels_last]


def by_formula(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight[:, None, None] + bias[:, None, None]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("layout", FORMATS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("affine", [False, True])
def test_gradient_against_float64(layout: torch.memory_format, batch: int, affine: bool) -> None:
    torch.manual_seed(0)
    norm: nn.Module = BatchNorm(6, "image").eval() if affine else InstanceNorm(6)
    x, upstream = torch.randn(2, batch, 6, 13, 10)
    weight, bias = (torch.rand(6) + 0.5, torch.randn(6)) if affine else (torch.ones(6), torch.zeros(6))
    if affine:
        norm.load_state_dict({"weight": weight, "bias": bias}, strict=False)

    exact = [tensor.double().requires_grad_() for tensor in (x, weight, bias)]
    expected = by_formula(*exact)
    expected.backward(upstream.double())

    x = x.to(memory_format=layout).requires_grad_()
    found = norm(x)
    found.backward(upstream.to(memory_format=layout))
    assert relative(found.detach(), expected.detach()) < 1e-5
    assert relative(x.grad, exact[0].grad) < 1e-5
    if affine:
        assert relative(norm.weight.grad, exact[1].grad) < 1e-5
        assert relative(norm.bias.grad, exact[2].grad) < 1e-5


@pytest.mark.parametrize("layout", FORMATS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("batch", [1, 2])
def test_gradient_of_batch_norm_in_training(layout: torch.memory_format, batch: int) -> None:
    torch.manual_seed(0)
    norm = BatchNorm(6).train()
    nn.init.normal_(norm.weight)
    x, upstream = torch.randn(2, batch, 6, 13, 10)
    exact = x.double().requires_grad_()
    mean = exact.mean((0, 2, 3), keepdim=True)
    variance = (exact - mean).square().mean((0, 2, 3), keepdim=True)
    expected = (exact - mean) / (variance + 1e-5).sqrt() * norm.weight.detach().double()[:, None, None]
    expected.backward(upstream.double())
    x = x.to(memory_format=layout).requires_grad_()
    found = norm(x)
    found.backward(upstream.to(memory_format=layout))
    assert relative(found.detach(), expected.detach()) < 1e-5
    assert relative(x.grad, exact.grad) < 1e-5


@pytest.mark.parametrize("batch", [1, 2])
def test_gradient_of_a_whole_network_in_channels_last(batch: int) -> None:
    torch.manual_seed(0)
    net = Resnet(features=4, blocks=2)
    x = torch.randn(batch, 3, 32, 32)
    gradients = []
    for layout in FORMATS:
        net.zero_grad()
        net.to(memory_format=layout)
        net(x.to(memory_format=layout)).square().mean().backward()
        gradients.append([p.grad.clone() for name, p in net.named_parameters() if name.endswith("weight")])
    net.double().zero_grad()
    net(x.double()).square().mean().backward()
    exact = [p.grad for name, p in net.named_parameters() if name.endswith("weight")]
    for found in gradients:
        assert max(relative(a, b) for a, b in zip(found, exact, strict=True)) < 1e-3


def test_torch_s_own_instance_norm_is_never_used() -> None:
    for path in Path(img2img.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "InstanceNorm2d(" not in text, path
        assert "F.instance_norm(" not in text, path


def test_per_image_batch_norm_is_training_mode_one_by_one() -> None:
    torch.manual_seed(0)
    norm, plain = BatchNorm(5), nn.BatchNorm2d(5)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    norm.load_state_dict(plain.state_dict())
    norm.eval()
    x = torch.randn(3, 5, 8, 9)
    torch.testing.assert_close(norm(x), plain.eval()(x))
    norm.stats = "image"
    plain.train()
    torch.testing.assert_close(norm(x), torch.cat([plain(image[None]) for image in x]))
    norm.train()
    torch.testing.assert_close(norm(x), plain(x))


@pytest.mark.parametrize("affine", [False, True])
def test_given_statistics_replace_those_of_the_input(affine: bool) -> None:
    torch.manual_seed(0)
    norm = BatchNorm(4, "image").eval() if affine else InstanceNorm(4)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 4, 16, 16)
    whole = norm(x)
    norm.statistics = Statistics(x.mean((2, 3)), x.var((2, 3), correction=0))
    torch.testing.assert_close(norm(x[:, :, 3:7]), whole[:, :, 3:7])


@pytest.mark.parametrize("layout", FORMATS, ids=["contiguous", "channels_last"])
def test_large_maps_are_normalised_as_exactly_as_small_ones(layout: torch.memory_format) -> None:
    """One pass over millions of values in fp32 loses digits, and most where the mean is large."""
    x = torch.randn(1, 2, 1500, 1000, generator=torch.Generator().manual_seed(0)) * 0.5 + 40
    found = InstanceNorm(2)(x.to(memory_format=layout))
    expected = by_formula(x.double(), torch.ones(2), torch.zeros(2))
    assert float((found - expected).abs().max()) < 1e-4


def test_a_whole_network_switches_and_its_tiling_follows() -> None:
    torch.manual_seed(0)
    net = Resnet(features=4, blocks=1, norm="batch").eval()
    x = torch.rand(2, 3, 16, 16)
    state = net.state_dict()
    assert (get_norm_stats(net), net.tiling) == ("image", "global_statistics")
    image = net(x)
    set_norm_stats(net, "running")
    assert (get_norm_stats(net), net.tiling) == ("running", "local")
    assert (net(x) - image).abs().max() > 1e-3
    assert net.state_dict().keys() == state.keys()
    set_norm_stats(net, "image")
    torch.testing.assert_close(net(x), image)
    torch.testing.assert_close(net(x[1:]), image[1:])  # whatever else is in the batch
    with pytest.raises(ConfigError, match="running"):
        set_norm_stats(net, "runing")


def test_defaults_of_the_families() -> None:
    assert get_norm_stats(UNet(features=2, downs=2)) == "image"
    assert get_norm_stats(SRResNet(features=2, blocks=1)) == "running"
    assert get_norm_stats(Resnet(features=2, blocks=1)) is None
    net = Resnet(features=2, blocks=1)
    set_norm_stats(net, "running")
    assert net.tiling == "global_statistics"
    net = UNet(features=2, downs=2)
    set_norm_stats(net, "running")
    assert net.tiling == "none"


def test_an_unknown_norm_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean 'batch'"):
        make_norm("bach", 3)


def test_dropout_is_off_in_evaluation_and_reproducible_on_request() -> None:
    torch.manual_seed(0)
    net = UNet(features=2, downs=6).eval()
    x = torch.rand(3, 3, 64, 64)
    off = net(x)
    assert torch.equal(net(x), off)
    assert set_dropout(net, 7) == 1
    on = net(x)
    assert (on - off).abs().max() > 1e-4
    assert torch.equal(net(x), on)
    torch.testing.assert_close(net(x[2:]), on[2:])  # alone as in a batch
    set_dropout(net, 8)
    assert (net(x) - on).abs().max() > 1e-4
    set_dropout(net, None)
    assert torch.equal(net(x), off)


def test_dropout_keeps_the_mean_and_differs_between_layers() -> None:
    layers = nn.Sequential(Dropout(), Dropout()).eval()
    set_dropout(layers, 3)
    ones = torch.ones(1, 64, 32, 32)
    first, second = layers[0](ones), layers[1](ones)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert abs(float(first.mean()) - 1) < 0.02
    assert abs(float((first * second).mean()) - 1) < 0.02  # independent
    layers.train()
    assert (layers[0](ones) != layers[0](ones)).any()
