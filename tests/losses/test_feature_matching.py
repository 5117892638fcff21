"""Feature matching by hand and on real discriminators."""

from __future__ import annotations

import pytest
import torch

from img2img.losses import GanLoss, feature_matching
from img2img.models import discriminators
from img2img.models.discriminators import logits


def test_by_hand() -> None:
    real = [torch.zeros(1, 2), torch.zeros(3), torch.zeros(1)]
    fake = [torch.tensor([[1.0, 3]]), torch.ones(3), torch.full((1,), 100.0)]
    assert feature_matching(fake, real).item() == 4 * (2 + 1) / 2  # the logits do not take part
    assert feature_matching([fake, real], [real, real]).item() == 3
    assert feature_matching([fake[:2], fake], [real[:2], real]).item() == (8 + 6) / 2


def test_half_precision_is_reduced_in_fp32() -> None:
    torch.manual_seed(0)
    fake, real = ([torch.rand(64, 64).bfloat16(), torch.rand(1)] for _ in range(2))
    found = feature_matching(fake, real)
    assert found.dtype == torch.float32
    assert found == feature_matching([f.float() for f in fake], [r.float() for r in real])


@pytest.mark.parametrize("name", list(discriminators))
def test_the_gradient_reaches_the_made_image_only(name: str) -> None:
    torch.manual_seed(0)
    side = 64 if name == "multiscale" else 32
    arguments = {"input_size": 32} if name in ("srgan", "vgg", "stargan") else {}
    if name == "stargan":
        arguments["layers"] = 3
    net = discriminators[name](features=4, **arguments)
    real, fake = (torch.rand(2, 3, side, side, requires_grad=True) for _ in range(2))
    of_fake, of_real = net.features(fake), net.features(real)
    loss = feature_matching(of_fake, of_real)
    assert loss.item() > 0
    loss.backward(retain_graph=True)
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    GanLoss("lsgan").generator(logits(of_fake)).backward()  # one pass serves both losses


def test_wrong_structures() -> None:
    row = [torch.zeros(2), torch.zeros(1)]
    with pytest.raises(ValueError, match="zip"):
        feature_matching([row, row], [row])
    with pytest.raises(ValueError, match="no features"):
        feature_matching([torch.zeros(1)], [torch.zeros(1)])
