"""The distribution of initial weights, layer by layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from img2img.errors import ConfigError
from img2img.models import PatchGAN, UNet, UNetDiscriminator
from img2img.models.init import initialize


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(32, 64, 5),
        nn.ConvTranspose2d(64, 48, 3, bias=False),
        nn.BatchNorm2d(4096),
        nn.BatchNorm2d(8, affine=False),
        nn.Linear(300, 200),
    )


@pytest.mark.parametrize(
    ("kind", "deviations"),
    [  # of the convolution (fan in 800, fan out 1600), the transposed (432, 576 as torch counts), the linear
        ("normal", (0.02, 0.02, 0.02)),
        ("xavier", tuple(0.02 * math.sqrt(2 / fans) for fans in (2400, 1008, 500))),
        ("kaiming", tuple(math.sqrt(2 / fan) for fan in (800, 432, 300))),
    ],
)
def test_deviations(kind: str, deviations: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    net = layers()
    initialize(net, kind)
    for layer, deviation in zip((net[0], net[1], net[4]), deviations, strict=True):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert abs(layer.weight.mean().item()) < 0.02 * deviation
    assert not net[0].bias.any()
    assert not net[4].bias.any()
    assert net[2].weight.mean().item() == pytest.approx(1, abs=2e-3)
    assert net[2].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net[2].bias.any()
    assert net[2].running_var.eq(1).all()


def test_orthogonal() -> None:
    net = layers()
    initialize(net, "orthogonal", 0.5)
    rows = net[0].weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(64), atol=1e-5, rtol=0)


def test_default_changes_nothing() -> None:
    torch.manual_seed(0)
    net = layers()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    initialize(net, "default")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_gain_and_a_whole_network() -> None:
    torch.manual_seed(0)
    net = UNet(features=16, downs=5)
    initialize(net, "normal", 0.1)
    weights = torch.cat([p.flatten() for p in net.parameters() if p.dim() == 4])
    assert weights.std().item() == pytest.approx(0.1, rel=0.02)
    assert all(not p.any() for name, p in net.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.sampled(1)
def test_spectral_layers_draw_the_kernel_and_know_its_largest_singular_value(kind: str, train: bool) -> None:
    torch.manual_seed(0)
    for net in (UNetDiscriminator(features=8), PatchGAN(features=8, norm="none", spectral=True)):
        net.train(train)
        initialize(net, kind)
        assert all(layer.training == train for layer in net.modules())
        net.eval()
        for layer in net.modules():
            if hasattr(layer, "parametrizations"):
                kernel = layer.parametrizations.weight.original
                if kind == "normal":
                    assert kernel.std().item() == pytest.approx(0.02, rel=0.2)
                norm = torch.linalg.matrix_norm(kernel.flatten(1), 2)
                torch.testing.assert_close(layer.weight, kernel / norm, atol=1e-4, rtol=0.1)
        assert all(p.requires_grad for p in net.parameters())


def test_an_unknown_kind_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean 'kaiming'"):
        initialize(layers(), "kaimin")
