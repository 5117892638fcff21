"""The SSIM loss against the formula, window by window in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from img2img.losses import ssim_loss
from img2img.types import SYMMETRIC, UNIT, ValueRange


def ssim(x: np.ndarray, y: np.ndarray, length: float) -> float:
    """Mean over all inner windows of two (H, W) images."""
    place = np.arange(11) - 5.0
    line = np.exp(-(place**2) / (2 * 1.5**2))
    weights = np.outer(line, line)
    weights /= weights.sum()
    c1, c2 = (0.01 * length) ** 2, (0.03 * length) ** 2
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (image[row : row + 11, column : column + 11] for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            variance_a = (weights * (a - mean_a) ** 2).sum()
            variance_b = (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * covariance + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
            )
    return float(np.mean(values))


@pytest.mark.parametrize("noise", [0.02, 0.5])
@pytest.mark.parametrize("value_range", [UNIT, SYMMETRIC, ValueRange(0, 255)])
def test_against_the_formula(noise: float, value_range: ValueRange) -> None:
    torch.manual_seed(0)
    target = torch.rand(2, 3, 14, 19)
    output = target + noise * torch.randn_like(target)
    expected = np.mean(
        [
            ssim(a, b, 1.0)
            for a, b in zip(
                output.double().numpy().reshape(6, 14, 19),
                target.double().numpy().reshape(6, 14, 19),
                strict=True,
            )
        ]
    )
    low, high = value_range
    found = ssim_loss(output * (high - low) + low, target * (high - low) + low, value_range)
    assert found.shape == ()
    assert found.item() == pytest.approx(1 - expected, abs=2e-5)


def test_equal_images_have_no_loss_and_negatives_much() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 16, 16)
    assert ssim_loss(x, x, UNIT).item() == pytest.approx(0, abs=1e-6)
    assert ssim_loss(1 - x, x, UNIT).item() > 1
    flat = torch.full((1, 1, 16, 16), 0.99)
    assert ssim_loss(flat, flat, UNIT).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_descending_it_restores_the_image() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 1, 16, 16)
    output = torch.rand(1, 1, 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([output], 0.02)
    before = (output - target).abs().mean().item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = ssim_loss(output, target, UNIT)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert (output - target).abs().mean().item() < before / 3


def test_autocast_and_half_precision_do_not_change_it() -> None:
    torch.manual_seed(0)
    output, target = torch.rand(2, 1, 3, 16, 16).bfloat16()
    plain = ssim_loss(output.float(), target.float(), UNIT)
    with torch.autocast("cpu", torch.bfloat16):
        found = ssim_loss(output, target, UNIT)
    assert found.dtype == torch.float32
    assert torch.equal(found, plain)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="differ"):
        ssim_loss(torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16), UNIT)
    with pytest.raises(ValueError, match="10x16"):
        ssim_loss(torch.rand(1, 3, 16, 10), torch.rand(1, 3, 16, 10), UNIT)
