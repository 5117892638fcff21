"""The parts of TP-GAN's losses against what their formulas say, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from img2img.losses import crop_loss, multiscale_loss, pixel_losses, symmetry_loss, total_variation_loss

L1 = pixel_losses["l1"]


def noise(seed: int, height: int = 8, width: int = 9) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [8, 9, 2])
def test_symmetry_compares_each_column_with_its_mirror_image(width: int) -> None:
    x = noise(0, width=width)
    differences = [(x[..., c] - x[..., width - 1 - c]).abs().mean() for c in range(width // 2)]
    torch.testing.assert_close(symmetry_loss(x), torch.stack(differences).mean())
    both = torch.cat((x, x.flip(3)), 3)
    assert symmetry_loss(both) == 0


@pytest.mark.parametrize(("side", "moved"), [("left", [True, False]), ("right", [False, True])])
def test_one_half_learns_from_the_other(side: str, moved: list[bool]) -> None:
    x = noise(1, width=8).requires_grad_()
    symmetry_loss(x, side).backward()
    assert [bool(half.any()) for half in (x.grad[..., :4], x.grad[..., 4:])] == moved
    assert symmetry_loss(x, side) == symmetry_loss(x)


def test_several_scales_are_means_of_squares_of_pixels() -> None:
    a, b = noise(2, 8, 12), noise(3, 8, 12)
    expected = 0.0
    for size, weight in ((1, 1.0), (2, 0.5), (4, 1.5)):
        small = [x.numpy().reshape(2, 3, 8 // size, size, 12 // size, size).mean((3, 5)) for x in (a, b)]
        expected += weight * float(np.abs(small[0] - small[1]).mean())
    assert float(multiscale_loss(a, b, (1.0, 0.5, 1.5), L1)) == pytest.approx(expected, rel=1e-5)


def test_every_crop_counts_alike() -> None:
    a, b = noise(4, 10, 20), noise(5, 10, 20)
    boxes = {"small": (0.0, 0.0, 0.2, 0.1), "large": (0.5, 0.25, 1.0, 1.0), "thin": (0.3, 0.5, 0.301, 0.501)}
    parts = [(slice(0, 2), slice(0, 2)), (slice(5, 10), slice(5, 20)), (slice(3, 4), slice(10, 11))]
    expected = sum((a[..., r, c] - b[..., r, c]).abs().mean() for r, c in parts) / 3
    torch.testing.assert_close(crop_loss(a, b, boxes, L1), expected)


def test_a_crop_at_the_edge_has_a_pixel() -> None:
    a, b = noise(4, 10, 20), noise(5, 10, 20)
    expected = (a[..., 9, 19] - b[..., 9, 19]).abs().mean()
    torch.testing.assert_close(crop_loss(a, b, {"corner": (0.99, 0.99, 1.0, 1.0)}, L1), expected)


def test_total_variation_is_the_difference_of_neighbours() -> None:
    x = noise(6).numpy()
    expected = np.abs(np.diff(x, axis=2)).mean() + np.abs(np.diff(x, axis=3)).mean()
    assert float(total_variation_loss(torch.from_numpy(x))) == pytest.approx(float(expected), rel=1e-5)
