"""DiffAugment: what each augmentation may do, that every image draws for itself, and that gradients pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import DiffAugment
from img2img.types import UNIT, ValueRange


def images(count: int = 64, channels: int = 3, height: int = 16, width: int = 24) -> Tensor:
    torch.manual_seed(0)
    return torch.rand(count, channels, height, width) * 1.6 - 0.8


def test_color_is_affine_with_factors_in_their_ranges() -> None:
    x = images()
    y = DiffAugment(["color"])(x)
    grey_x, grey_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    centred_x, centred_y = (g - g.mean((2, 3), keepdim=True) for g in (grey_x, grey_y))
    contrast = (centred_x * centred_y).sum((1, 2, 3)) / centred_x.square().sum((1, 2, 3))
    torch.testing.assert_close(centred_y, contrast.view(-1, 1, 1, 1) * centred_x, atol=1e-5, rtol=1e-4)
    chroma_x, chroma_y = x - grey_x, y - grey_y
    color = (chroma_x * chroma_y).sum((1, 2, 3)) / chroma_x.square().sum((1, 2, 3))
    torch.testing.assert_close(chroma_y, color.view(-1, 1, 1, 1) * chroma_x, atol=1e-5, rtol=1e-4)
    saturation = color / contrast
    brightness = y.mean((1, 2, 3)) - x.mean((1, 2, 3))
    for values, low, high in ((contrast, 0.5, 1.5), (saturation, 0, 2), (brightness, -0.5, 0.5)):
        assert values.min() >= low - 1e-4
        assert values.max() <= high + 1e-4
        assert values.std() > 0.2 * (high - low)  # a uniform one has 0.29
        assert abs(values.mean() - (low + high) / 2) < 0.15 * (high - low)


def test_translation_moves_each_image_by_whole_pixels() -> None:
    x = images(200)
    y = DiffAugment(["translation"])(x)
    seen = set()
    for before, after in zip(x, y, strict=True):
        padded = torch.nn.functional.pad(before, (3, 3, 2, 2))
        found = [
            (row, column)
            for row in range(5)
            for column in range(7)
            if torch.equal(padded[:, row : row + 16, column : column + 24], after)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert {row for row, _ in seen} == set(range(5))
    assert {column for _, column in seen} == set(range(7))
    assert len(seen) > 25


def test_cutout_greys_a_rectangle_of_half_the_sides() -> None:
    x = images(200, height=15)
    y = DiffAugment(["cutout"])(x)
    sizes = set()
    for before, after in zip(x, y, strict=True):
        hit = (after == 0).all(0)
        assert torch.equal(after, before * ~hit)
        rows, columns = hit.any(1).nonzero().flatten(), hit.any(0).nonzero().flatten()
        assert torch.equal(hit, hit.any(1)[:, None] & hit.any(0))
        sizes.add((len(rows), len(columns)))
        assert int(rows[-1] - rows[0]) + 1 == len(rows) <= 8
        assert int(columns[-1] - columns[0]) + 1 == len(columns) <= 12
        assert len(rows) == 8 or rows[0] == 0 or rows[-1] == 14  # less only over the edge
        assert len(columns) == 12 or columns[0] == 0 or columns[-1] == 23
    assert (8, 12) in sizes
    assert {rows for rows, _ in sizes} >= {4, 5, 6, 7, 8}


def test_the_gradient_is_that_of_the_function() -> None:
    x = images(2, height=6, width=8).requires_grad_()
    augment = DiffAugment(generator=torch.Generator())
    direction, upstream = torch.randn(2, *x.shape).unbind()

    def value(x: Tensor) -> Tensor:
        augment.generator.manual_seed(3)
        return (augment(x) * upstream).sum()

    (gradient,) = torch.autograd.grad(value(x), x)
    with torch.no_grad():  # every augmentation is affine, so a large step is exact
        expected = value(x + direction) - value(x)
    assert (gradient * direction).sum().item() == pytest.approx(expected.item(), rel=1e-3)


def test_other_ranges_are_augmented_alike() -> None:
    x = images()
    symmetric = DiffAugment(generator=torch.Generator().manual_seed(1))(x)
    unit = DiffAugment(value_range=UNIT, generator=torch.Generator().manual_seed(1))((x + 1) / 2)
    torch.testing.assert_close(unit * 2 - 1, symmetric, atol=1e-5, rtol=1e-4)
    wide = DiffAugment(value_range=ValueRange(0, 255), generator=torch.Generator().manual_seed(1))(
        (x + 1) * 127.5
    )
    torch.testing.assert_close(wide / 127.5 - 1, symmetric, atol=1e-4, rtol=1e-4)


def test_draws_are_new_each_call_and_repeatable() -> None:
    x = images(2)
    generator = torch.Generator().manual_seed(4)
    augment = DiffAugment(generator=generator)
    first, second = augment(x), augment(x)
    assert not torch.equal(first, second)
    generator.manual_seed(4)
    assert torch.equal(augment(x), first)
    torch.manual_seed(9)
    unseeded = DiffAugment()(x)
    torch.manual_seed(9)
    assert torch.equal(DiffAugment()(x), unseeded)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 6, 3, 2), (1, 3, 7, 9)])
def test_small_images_and_any_channels(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape).bfloat16()
    y = DiffAugment()(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.isfinite().all()
    assert torch.equal(DiffAugment([])(x.float()), x.float())


def test_an_unknown_augmentation_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean 'color'"):
        DiffAugment(["colour"])
