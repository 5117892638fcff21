"""Scores of label maps: pixel accuracy, class accuracy, mean IoU."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COLUMNS = ("mean_iou", "pixel_accuracy", "class_accuracy")
"""The names of the scores; of all, more is better, from 0 to 1."""


def label_scores(made: Tensor, truth: Tensor, classes: int, ignore: Collection[int] = ()) -> dict[str, float]:
    """Returns pixel accuracy, class accuracy and mean IoU of all pixels together.

    Pixel accuracy is the share of pixels that are right; class accuracy its mean over the classes; mean IoU
    the mean over the classes of intersection over union. A class that occurs neither in the truth nor in a
    prediction is in no mean; one that was only predicted has an IoU of 0 and no accuracy. It is a count:
    exact, as torchmetrics has it for the classes that occur.

    Args:
        made, truth: Numbers of classes, whole numbers of one shape. What is negative in the truth does not
            count.
        classes: How many there are; other numbers of predictions are none.
        ignore: Classes whose pixels in the truth do not count, and which are in no mean.

    Returns:
        The scores by the names in `COLUMNS`, from 0 to 1, 1 where the maps are equal; NaN where nothing
        counts.

    Raises:
        ValueError: The shapes differ, or the truth holds a number that is no class.

    References:
        Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation (arXiv:1411.4038), as
        in table 2 of arXiv:1611.07004.
    """
    if made.shape != truth.shape or made.is_floating_point() or truth.is_floating_point():
        raise ValueError(
            "label maps are two tensors of one shape with whole numbers, not "
            f"{tuple(made.shape)} {made.dtype} and {tuple(truth.shape)} {truth.dtype}"
        )
    if truth.numel() and int(truth.max()) >= classes:
        raise ValueError(f"the truth holds the class {int(truth.max())}, and there are {classes}, from 0")
    counts = tally(made, truth, classes, ignore).numpy()
    return dict(zip(COLUMNS, tally_scores(counts, frozenset(ignore)).tolist(), strict=True))


def tally(made: Tensor, truth: Tensor, classes: int, ignore: Collection[int] = ()) -> Tensor:
    """Returns of each class how many pixels are right, there in all, and predicted: (3, K) int64 on the CPU.

    Arguments as in `label_scores`.
    """
    known = truth >= 0
    for number in ignore:
        known &= truth != number
    real, taken = truth[known].long(), made[known].long()
    taken = torch.where((taken < 0) | (taken >= classes), classes, taken)
    parts = (real[real == taken], real, taken)
    return torch.stack([torch.bincount(part, minlength=classes + 1)[:classes] for part in parts]).cpu()


def tally_scores(tallies: NDArray[Any], ignore: frozenset[int] = frozenset()) -> NDArray[np.float64]:
    """Returns the scores in `COLUMNS` of tallies (..., 3, K), see `tally`: (..., 3)."""
    right, pixels, predicted = (tallies[..., row, :] for row in range(3))
    kept = np.array([number not in ignore for number in range(tallies.shape[-1])])
    iou, accuracy = (_mean(shares(right, whole)[..., kept]) for whole in (pixels + predicted - right, pixels))
    return np.stack([iou, shares(right.sum(-1), pixels.sum(-1)), accuracy], axis=-1)


def shares(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Returns part / whole; NaN where there is nothing."""
    found = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=found, where=np.asarray(whole) > 0)
    return found


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the last dimension of what is known."""
    known = ~np.isnan(values)
    return shares(np.where(known, values, 0).sum(-1), known.sum(-1))
