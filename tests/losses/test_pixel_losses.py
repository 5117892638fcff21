"""Pixel losses against plain arithmetic."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from img2img.errors import ConfigError
from img2img.losses.pixel import PixelKind, charbonnier, pixel_losses


@pytest.mark.parametrize(
    ("name", "expected"), [("l1", 1.0), ("l2", 1.5), ("charbonnier", (1e-3 + 1 + 1 + 2) / 4)]
)
def test_by_hand(name: str, expected: float) -> None:
    output, target = torch.tensor([0.0, 1, -1, 3]), torch.tensor([0.0, 0, 0, 1])
    assert pixel_losses[name](output, target).item() == pytest.approx(expected, rel=1e-5)


def test_charbonnier_has_a_gradient_at_zero_difference() -> None:
    output = torch.zeros(3, requires_grad=True)
    charbonnier(output, torch.zeros(3), eps=0.5).backward()
    assert torch.equal(output.grad, torch.zeros(3))
    assert charbonnier(torch.tensor([3.0]), torch.tensor([0.0]), eps=4.0).item() == 5


@pytest.mark.parametrize("name", list(pixel_losses))
def test_half_precision_is_reduced_in_fp32_and_shapes_must_agree(name: str) -> None:
    torch.manual_seed(0)
    output, target = torch.rand(2, 2, 3, 64, 64).bfloat16()
    output.requires_grad_()
    found = pixel_losses[name](output, target)
    assert (found.dtype, found.shape) == (torch.float32, ())
    assert found.item() == pixel_losses[name](output.float(), target.float()).item()
    found.backward()
    assert math.isfinite(output.grad.sum().item())
    with pytest.raises(ValueError, match="differ"):
        pixel_losses[name](output, target[:, :1])


def test_an_unknown_name_is_a_sentence() -> None:
    assert set(pixel_losses) == set(get_args(PixelKind))
    with pytest.raises(ConfigError, match="charbonnier"):
        pixel_losses["charbonier"]
