"""GAN losses against numbers worked out by hand, and the properties that methods rely on."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses.gan import GanKind, GanLoss

KINDS = get_args(GanKind)


def softplus(x: float) -> float:  # -log(sigmoid(-x))
    return math.log1p(math.exp(x))


def both(kind: GanKind, real: Tensor, fake: Tensor, **labels: float) -> tuple[float, float, float]:
    loss = GanLoss(kind, **labels)
    found = loss.discriminator(real, fake)
    assert set(found) == {"d_real", "d_fake"}
    return found["d_real"].item(), found["d_fake"].item(), loss.generator(fake, real).item()


REAL, FAKE = [2.0, -0.5], [1.0, -3.0]  # means 0.75 and -1


@pytest.mark.parametrize(
    ("kind", "d_real", "d_fake", "generator"),
    [
        (
            "vanilla",
            (softplus(-2) + softplus(0.5)) / 2,
            (softplus(1) + softplus(-3)) / 2,
            (softplus(-1) + softplus(3)) / 2,
        ),
        ("lsgan", (1 + 2.25) / 2, (1 + 9) / 2, (0 + 16) / 2),
        ("hinge", (0 + 1.5) / 2, (2 + 0) / 2, 1.0),
        ("wgan", -0.75, -1.0, 1.0),
        (  # real - mean(fake) = 3, 0.5; fake - mean(real) = 0.25, -3.75
            "ragan",
            (softplus(-3) + softplus(-0.5)) / 2,
            (softplus(0.25) + softplus(-3.75)) / 2,
            ((softplus(3) + softplus(0.5)) / 2 + (softplus(-0.25) + softplus(3.75)) / 2) / 2,
        ),
    ],
)
def test_by_hand(kind: GanKind, d_real: float, d_fake: float, generator: float) -> None:
    found = both(kind, torch.tensor(REAL)[:, None], torch.tensor(FAKE)[:, None])
    assert found == pytest.approx((d_real, d_fake, generator), rel=1e-6)


def test_label_smoothing_by_hand() -> None:
    def entropy(logit: float, label: float) -> float:
        return label * softplus(-logit) + (1 - label) * softplus(logit)

    labels = {"real_label": 0.9, "fake_label": 0.1}
    real, fake = torch.tensor([[2.0]]), torch.tensor([[-1.0]])
    assert both("vanilla", real, fake, **labels) == pytest.approx(
        (entropy(2, 0.9), entropy(-1, 0.1), softplus(1))
    )
    assert both("lsgan", real, fake, **labels) == pytest.approx((1.1**2, 1.1**2, 4))
    assert both("ragan", real, fake, **labels) == pytest.approx(
        (entropy(3, 0.9), entropy(-3, 0.1), (softplus(3) + softplus(3)) / 2)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scales_are_averaged_and_shapes_do_not_matter(kind: GanKind) -> None:
    torch.manual_seed(0)
    real, fake = (
        [torch.randn(2, 1, 6, 6), torch.randn(2, 1, 3, 3)],
        [torch.randn(2, 1, 6, 6), torch.randn(2, 1, 3, 3)],
    )
    each = [both(kind, r, f) for r, f in zip(real, fake, strict=True)]
    loss = GanLoss(kind)
    found = (
        *(value.item() for value in loss.discriminator(real, fake).values()),
        loss.generator(fake, real).item(),
    )
    assert found == pytest.approx([(a + b) / 2 for a, b in zip(*each, strict=True)], rel=1e-5)
    assert both(kind, real[0].flatten(), fake[0].flatten()) == pytest.approx(each[0], rel=1e-5)
    with pytest.raises(ValueError, match="zip"):
        loss.discriminator(real, fake[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_side_improves_by_its_own_gradient(kind: GanKind) -> None:
    real, fake = (torch.full((4, 1), 0.5, requires_grad=True) for _ in range(2))
    loss = GanLoss(kind)
    sum(loss.discriminator(real, fake).values()).backward()
    assert (real.grad < 0).all()  # up, more real
    assert (fake.grad > 0).all()
    real.grad = fake.grad = None
    loss.generator(fake, real).backward()
    assert (fake.grad < 0).all()
    assert real.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_logits_are_reduced_in_fp32(kind: GanKind) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 64, 1, 8, 8).bfloat16()
    loss = GanLoss(kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = [*loss.discriminator(real, fake).values(), loss.generator(fake, real)]
    assert all(value.dtype == torch.float32 and value.shape == () for value in found)
    assert [value.item() for value in found] == pytest.approx(both(kind, real.float(), fake.float()))


def test_large_logits_stay_finite() -> None:
    for kind in ("vanilla", "ragan"):
        assert all(map(math.isfinite, both(kind, torch.tensor([1e4]), torch.tensor([-1e4]))))


def test_only_relativistic_kinds_need_the_real_logits() -> None:
    fake = torch.randn(2, 1)
    for kind in KINDS:
        loss = GanLoss(kind)
        if loss.needs_real:
            with pytest.raises(ValueError, match="real"):
                loss.generator(fake)
        else:
            assert loss.generator(fake) == loss.generator(fake, torch.randn(2, 1))
    assert [kind for kind in KINDS if GanLoss(kind).needs_real] == ["ragan"]


def test_wrong_values_are_sentences() -> None:
    with pytest.raises(ConfigError, match="did you mean 'lsgan'"):
        GanLoss("lsgna")
    with pytest.raises(ConfigError, match="hinge"):
        GanLoss("hinge", real_label=0.9)
