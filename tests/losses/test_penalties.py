"""Gradient penalties against formulas, and through the layers that discriminators are made of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from img2img.losses import gradient_penalty, r1_penalty
from img2img.models import PatchGAN


class Linear(nn.Module):
    """Logit <weight, x>: its gradient is the weight everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum((1, 2, 3))[:, None]


def test_a_linear_discriminator() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4, 5)
    net, norm = Linear(weight), weight.norm()
    real, fake = torch.randn(2, 6, 3, 4, 5)
    penalty = gradient_penalty(net, real, fake)
    assert penalty.item() == pytest.approx((norm - 1).square().item(), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(net.weight.grad, 2 * (norm - 1) * weight / norm)
    net.zero_grad()
    penalty = r1_penalty(net, real, 3.0)
    assert penalty.item() == pytest.approx((1.5 * norm**2).item(), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(net.weight.grad, 3 * weight)


def test_the_points_lie_between_real_and_fake_one_place_an_image() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))  # gradient 2 x

    torch.manual_seed(0)
    real, fake = torch.randn(2, 8, 1, 3, 3)
    generator = torch.Generator().manual_seed(5)
    penalty = gradient_penalty(critic, real, fake, generator)
    place = (seen[0] - real) / (fake - real)
    assert (place.flatten(1).amax(1) - place.flatten(1).amin(1)).max() < 1e-4
    assert place.min() >= -1e-4
    assert place.max() <= 1 + 1e-4
    assert place[:, 0, 0, 0].std() > 0.1
    expected = ((2 * seen[0]).flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(penalty, expected)
    assert gradient_penalty(critic, real, fake, generator.manual_seed(5)) == penalty
    r1 = r1_penalty(critic, real, 1.0)
    assert torch.equal(seen[-1], real)
    torch.testing.assert_close(r1, 2 * real.square().flatten(1).sum(1).mean())


def test_patches_and_scales_are_averaged() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4, 5)
    net, norm = Linear(weight), weight.norm()
    real, fake = torch.randn(2, 2, 3, 4, 5)

    def patches(x: Tensor) -> list[Tensor]:
        logits = net(x)[:, :, None, None]
        return [logits.expand(-1, 1, 7, 7), 3 * logits.expand(-1, 1, 3, 3)]

    assert gradient_penalty(patches, real, fake).item() == pytest.approx(
        (2 * norm - 1).square().item(), rel=1e-5
    )
    assert r1_penalty(patches, real, 2.0).item() == pytest.approx((2 * norm).square().item(), rel=1e-5)


@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.sampled(4)
def test_second_derivatives_through_a_patchgan(norm: str, layout: torch.memory_format, batch: int) -> None:
    torch.manual_seed(0)
    net = PatchGAN(features=4, layers=2, norm=norm)
    for stage in net.stages:
        stage.activation = nn.Softplus()  # a LeakyReLU's slope jumps, which finite differences would see
    images = torch.randn(batch, 3, 24, 24)
    exact = copy.deepcopy(net).double()
    direction = [torch.randn_like(p) for p in exact.parameters()]

    def along(step: float) -> float:
        """R1 in float64, written out, with the weights moved along the direction."""
        moved = copy.deepcopy(exact)
        with torch.no_grad():
            for p, d in zip(moved.parameters(), direction, strict=True):
                p += step * d
        x = images.double().requires_grad_()
        (gradient,) = torch.autograd.grad(moved(x).mean((1, 2, 3)).sum(), x)
        return 5 * gradient.square().sum((1, 2, 3)).mean().item()

    net.to(memory_format=layout)
    penalty = r1_penalty(net, images.to(memory_format=layout), 10.0)
    assert penalty.item() == pytest.approx(along(0), rel=1e-4)
    gradients = torch.autograd.grad(penalty, list(net.parameters()), allow_unused=True)
    found = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True) if g is not None)
    assert found == pytest.approx((along(1e-5) - along(-1e-5)) / 2e-5, rel=1e-3)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_under_autocast_all_is_fp32(norm: str) -> None:
    torch.manual_seed(0)
    net = PatchGAN(features=4, layers=2, norm=norm)
    real, fake = torch.randn(2, 2, 3, 24, 24)
    plain = [r1_penalty(net, real), gradient_penalty(net, real, fake, torch.Generator().manual_seed(0))]
    with torch.autocast("cpu", torch.bfloat16):
        net(real)  # fills autocast's cache of half-precision weights
        found = [r1_penalty(net, real), gradient_penalty(net, real, fake, torch.Generator().manual_seed(0))]
        sum(found).backward()
    assert [value.item() for value in found] == pytest.approx([value.item() for value in plain], rel=1e-6)
    assert all(value.dtype == torch.float32 for value in found)
    weights = [p for p in net.parameters() if p.dim() == 4]
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in weights)


def test_no_gradient_reaches_the_images() -> None:
    net = Linear(torch.randn(1, 4, 4))
    real, fake = (torch.randn(2, 1, 4, 4, requires_grad=True) for _ in range(2))
    (gradient_penalty(net, real, fake) + r1_penalty(net, real)).backward()
    assert real.grad is None
    assert fake.grad is None
    with torch.no_grad():
        assert r1_penalty(net, real) > 0  # also where gradients are off
