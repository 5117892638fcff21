"""Discriminators: parameter counts, output sizes, receptive fields, and parity with stock layers."""

from __future__ import annotations

import pytest
import torch
from probes import parameters
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models import (
    MultiScalePatchGAN,
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
        (MultiScalePatchGAN, {}, 2 * 2_764_737),
        (MultiScalePatchGAN, {"in_channels": 6, "scales": 3, "norm": "batch"}, 3 * 2_768_705),
        (PatchGAN, {"norm": "none", "spectral": True}, 2_764_737),
    ],
)
@pytest.mark.sampled(4)
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


def test_patchgan_with_a_blur_against_stock_layers() -> None:
    """As CUT's: convolutions of stride 1, after their activation a binomial filter that halves."""
    torch.manual_seed(0)
    net = PatchGAN(3, features=4, layers=2, norm="instance", blur=True)
    line = torch.tensor([1.0, 2, 1])
    kernel = line[:, None] * line / 16

    class Blur(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            weight = kernel.expand(x.shape[1], 1, 3, 3)
            return F.conv2d(nn.ReflectionPad2d(1)(x), weight, stride=2, groups=x.shape[1])

    stock = nn.Sequential(
        *(nn.Conv2d(3, 4, 4, 1, 1), nn.LeakyReLU(0.2), Blur()),
        *(nn.Conv2d(4, 8, 4, 1, 1), nn.InstanceNorm2d(8), nn.LeakyReLU(0.2), Blur()),
        *(nn.Conv2d(8, 16, 4, 1, 1), nn.InstanceNorm2d(16), nn.LeakyReLU(0.2)),
        nn.Conv2d(16, 1, 4, 1, 1),
    )
    stock.load_state_dict(dict(zip(stock.state_dict(), net.state_dict().values(), strict=True)))
    for side in (32, 27):
        x = torch.rand(2, 3, side, side)
        torch.testing.assert_close(net(x), stock(x))
        assert net(x).shape == PatchGAN(3, features=4, layers=2)(x).shape


CASES = [  # name, arguments, side, shapes of the logits, number of stages
    ("patchgan", {}, 64, [(2, 1, 6, 6)], 5),
    ("patchgan", {"norm": "none", "spectral": True, "layers": 1}, 64, [(2, 1, 30, 30)], 3),
    ("patchgan", {"norm": "instance", "blur": True}, 64, [(2, 1, 6, 6)], 5),
    ("pixelgan", {}, 64, [(2, 1, 64, 64)], 3),
    ("srgan", {"input_size": 32}, 32, [(2, 1)], 9),
    ("vgg", {"input_size": 32}, 32, [(2, 1)], 7),
    ("unet_spectral", {}, 64, [(2, 1, 64, 64)], 10),
    ("multiscale", {}, 64, [(2, 1, 6, 6), (2, 1, 2, 2)], 5),
    ("multiscale", {"scales": 1, "norm": "none", "spectral": True}, 64, [(2, 1, 6, 6)], 5),
    ("stargan", {"layers": 2, "input_size": 16}, 16, [(2, 1, 4, 4)], 3),
]


def scales(found: Tensor | list[Tensor]) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else found


@pytest.mark.parametrize(("name", "arguments", "side", "shapes", "stages"), CASES)
def test_outputs_and_gradients(name: str, arguments: dict, side: int, shapes: list, stages: int) -> None:
    torch.manual_seed(0)
    net = discriminators[name](in_channels=2, features=4, **arguments)
    found = scales(net(torch.randn(2, 2, side, side)))
    assert [logits.shape for logits in found] == shapes
    sum(logits.square().sum() for logits in found).backward()
    # the attributes that StarGAN's tells beside are for tests/methods/test_stargan.py
    judging = (one for name, one in net.named_parameters() if not name.startswith("classes."))
    assert all(parameter.grad is not None for parameter in judging)


@pytest.mark.parametrize(("name", "arguments", "side", "shapes", "stages"), CASES)
def test_features_end_in_the_logits(name: str, arguments: dict, side: int, shapes: list, stages: int) -> None:
    torch.manual_seed(0)
    net = discriminators[name](in_channels=2, features=4, **arguments).eval()
    x = torch.randn(2, 2, side, side)
    features = net.features(x)
    rows = [features] if isinstance(features[0], Tensor) else features
    assert [len(row) for row in rows] == [stages] * len(shapes)
    for row, logits in zip(rows, scales(net(x)), strict=True):
        assert torch.equal(row[-1], logits)
        gradients = torch.autograd.grad(row[-1].sum(), row[:-1], retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)  # every one on the way to the logits


def test_every_discriminator_is_in_the_tests_above() -> None:
    assert set(discriminators) == {case[0] for case in CASES}


def test_the_scales_see_the_averaged_image() -> None:
    torch.manual_seed(0)
    net = MultiScalePatchGAN(features=4, layers=1, scales=3)
    x = torch.rand(1, 3, 33, 50)
    found = net(x)
    for logits, scale in zip(found, net.scales, strict=True):
        torch.testing.assert_close(logits, scale(x))
        inside = F.pad(torch.ones_like(x), (1, 1, 1, 1)), F.pad(x, (1, 1, 1, 1))
        count, total = (F.avg_pool2d(padded, 3, 2) for padded in inside)
        x = total / count  # the mean of the pixels that exist
    with pytest.raises(ConfigError, match="scales is 0"):
        MultiScalePatchGAN(scales=0)


def test_a_spectral_patchgan_is_the_stock_one_with_divided_kernels() -> None:
    torch.manual_seed(0)
    net = PatchGAN(3, features=4, layers=2, norm="none", spectral=True)
    for _ in range(50):
        net(torch.randn(1, 3, 16, 16))
    net.eval()
    x = torch.rand(2, 3, 32, 32)
    expected = x
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 4
    for place, conv in enumerate(convs):
        kernel = conv.parametrizations.weight.original
        kernel = kernel / torch.linalg.matrix_norm(kernel.flatten(1), 2)
        expected = F.conv2d(expected, kernel, conv.bias, 2 if place < 2 else 1, 1)
        expected = F.leaky_relu(expected, 0.2) if place < 3 else expected
    torch.testing.assert_close(net(x), expected, rtol=2e-2, atol=1e-3)


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
