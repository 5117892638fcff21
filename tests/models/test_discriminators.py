"""Discriminators: parameter counts, output sizes, receptive fields, and parity with stock layers."""

from __future__ import annotations

import pytest
import torch
from probes import parameters
from torch import nn

from img2img.errors import ConfigError
from img2img.models import (
    PatchGAN,
    PixelGAN,
    SRGANDiscriminator,
    UNetDiscriminator,
    VGGDiscriminator,
    discriminators,
)


@pytest.mark.parametrize(
    ("cls", "arguments", "count"),
    [
        (PatchGAN, {"in_channels": 6}, 2_768_705),
        (PatchGAN, {"norm": "instance"}, 2_764_737),
        (PixelGAN, {"in_channels": 6}, 9_024),
        (SRGANDiscriminator, {}, 23_563_649),
        (VGGDiscriminator, {}, 14_499_401),
        (VGGDiscriminator, {"input_size": 256}, 21_055_049),
        (UNetDiscriminator, {}, 4_376_897),
    ],
)
def test_parameters(cls: type[nn.Module], arguments: dict, count: int) -> None:
    assert parameters(cls(**arguments)) == count


@pytest.mark.parametrize(
    ("layers", "side", "patch"), [(1, 126, 16), (2, 62, 34), (3, 30, 70), (4, 14, 142), (5, 6, 286)]
)
def test_patches(layers: int, side: int, patch: int) -> None:
    torch.manual_seed(0)
    net = PatchGAN(1, features=1, layers=layers, norm="none").double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().add_(1e-3)
        assert net(torch.rand(1, 1, 256, 256, dtype=torch.double)).shape == (1, 1, side, side)
    x = torch.rand(1, 1, 640, 640, dtype=torch.double, requires_grad=True)
    logits = net(x)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == patch


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_patchgan_against_stock_layers(norm: str) -> None:
    torch.manual_seed(0)
    net = PatchGAN(3, features=4, layers=2, norm=norm)
    make = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": lambda _: nn.Identity()}[norm]
    bias = norm == "instance"
    stock = nn.Sequential(
        *(nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(4, 8, 4, 2, 1, bias=bias), make(8), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(8, 16, 4, 1, 1, bias=bias), make(16), nn.LeakyReLU(0.2)),
        nn.Conv2d(16, 1, 4, 1, 1),
    )
    stock.load_state_dict(dict(zip(stock.state_dict(), net.state_dict().values(), strict=True)))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(net(x), stock(x))


@pytest.mark.parametrize(
    ("name", "arguments", "side", "shape"),
    [
        ("patchgan", {}, 64, (2, 1, 6, 6)),
        ("pixelgan", {}, 64, (2, 1, 64, 64)),
        ("srgan", {"input_size": 32}, 32, (2, 1)),
        ("vgg", {"input_size": 32}, 32, (2, 1)),
        ("unet_spectral", {}, 64, (2, 1, 64, 64)),
    ],
)
def test_outputs_and_gradients(name: str, arguments: dict, side: int, shape: tuple) -> None:
    torch.manual_seed(0)
    net = discriminators[name](in_channels=2, features=4, **arguments)
    logits = net(torch.randn(2, 2, side, side))
    assert logits.shape == shape
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_every_discriminator_is_in_the_tests_above() -> None:
    assert set(discriminators) == {"patchgan", "pixelgan", "srgan", "vgg", "unet_spectral"}


def test_spectral_norm_holds_the_largest_singular_value_at_one() -> None:
    torch.manual_seed(0)
    net = UNetDiscriminator(features=4)
    for _ in range(50):
        net(torch.randn(1, 3, 16, 16))
    for module in [*net.down, *net.up, *net.refine]:
        assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    assert not hasattr(net.first, "parametrizations")
    assert not hasattr(net.last, "parametrizations")


@pytest.mark.parametrize("cls", [SRGANDiscriminator, VGGDiscriminator])
def test_sizes_are_checked(cls: type[nn.Module]) -> None:
    with pytest.raises(ConfigError, match="input_size"):
        cls(features=2, input_size=33)
    with pytest.raises(ConfigError, match="64x32"):
        cls(features=2, input_size=32)(torch.rand(1, 3, 32, 64))


def test_a_patchgan_needs_a_layer() -> None:
    with pytest.raises(ConfigError):
        PatchGAN(layers=0)
