"""Holes drawn at random: their ratio, their reach, and what they depend on."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from torch.utils.data import DataLoader, Dataset

from img2img.data.masks import IrregularMasks, MaskConfig


def test_ratios_are_spread_over_the_range_and_stay_in_it():
    masks = IrregularMasks(MaskConfig(holes=(0.1, 0.5)), seed=3)
    ratios = [(masks(24, 32, 0, index) == 255).mean() for index in range(160)]
    assert 0.1 <= min(ratios) < 0.12 and 0.48 < max(ratios) <= 0.5
    counts, _ = np.histogram(ratios, 4, (0.1, 0.5))
    assert counts.min() > 25  # of 40


@pytest.mark.parametrize(("kind", "border"), [("strokes", True), ("blobs", False)])
def test_every_kind_keeps_to_the_range(kind, border):
    masks = IrregularMasks(MaskConfig(holes=(0.2, 0.5), kinds=(kind,), border=border))
    ratios = [(masks(41, 30, 1, index) == 255).mean() for index in range(50)]
    assert min(ratios) >= 0.2 and max(ratios) <= 0.5


def test_a_range_of_one_number_is_exact():
    masks = IrregularMasks(MaskConfig(holes=(0.25, 0.25)))
    assert {(masks(32, 40, 0, index) > 0).sum() for index in range(20)} == {320}


def test_without_border_a_tenth_of_each_side_stays_known():
    masks = IrregularMasks(MaskConfig(holes=(0.3, 0.6), border=False))
    every = np.max([masks(20, 30, 0, index) for index in range(80)], 0)
    assert not every[:2].any() and not every[-2:].any()
    assert not every[:, :3].any() and not every[:, -3:].any()
    assert every[2:-2, 3:-3].all()


def test_with_border_every_pixel_is_a_hole_sometimes():
    masks = IrregularMasks(MaskConfig())
    assert np.max([masks(16, 16, 0, index) for index in range(150)], 0).min() == 255


def test_holes_are_connected_areas_and_not_dust():
    """Neighbours of hole pixels are mostly hole: 0.9, where scattered dots of this ratio would have 0.3."""
    masks = IrregularMasks(MaskConfig(holes=(0.3, 0.3)))
    for index in range(8):
        hole = masks(128, 128, 0, index) > 0
        assert hole[:, 1:][hole[:, :-1]].mean() > 0.85


def test_it_depends_on_seed_epoch_and_index_alone():
    masks = IrregularMasks(MaskConfig(), seed=5)
    first = masks(40, 56, 2, 9)
    masks(40, 56, 0, 0)
    np.testing.assert_array_equal(masks(40, 56, 2, 9), first)
    np.testing.assert_array_equal(IrregularMasks(MaskConfig(), 5)(40, 56, 2, 9), first)
    for other in (masks(40, 56, 2, 8), masks(40, 56, 3, 9), IrregularMasks(MaskConfig(), 6)(40, 56, 2, 9)):
        assert (other != first).any()
    assert first.dtype == np.uint8 and set(np.unique(first)) == {0, 255}


class _Drawn(Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> np.ndarray:
        return IrregularMasks(MaskConfig(), 1)(24, 24, 0, index)


def test_workers_draw_the_same():
    alone, together = (
        [batch.numpy() for batch in DataLoader(_Drawn(), batch_size=2, num_workers=workers)]
        for workers in (0, 2)
    )
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 2), (5, 3)])
@pytest.mark.parametrize("border", [True, False])
def test_the_smallest_pictures_get_what_whole_pixels_allow(size, border):
    for index in range(5):
        mask = IrregularMasks(MaskConfig(border=border))(*size, 0, index)
        assert mask.shape == size and (mask > 0).mean() <= 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"holes": (0.5, 0.1)},
        {"holes": (0, 0.5)},
        {"holes": (0.1, 0.95)},
        {"holes": (0.1, 0.7), "border": False},
        {"kinds": ()},
        {"kinds": ("squares",)},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        MaskConfig(**wrong)
