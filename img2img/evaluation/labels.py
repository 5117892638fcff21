"""Label maps against label maps: the scores of segmentation, from one confusion matrix of the whole set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2img.evaluation.protocol import EvaluationProtocol, Say, forget, listed, require_size
from img2img.image import Image
from img2img.image.palette import LabelSet

COLUMNS = ("mean_iou", "pixel_accuracy", "class_accuracy")


@dataclass(frozen=True)
class Confusion:
    """How many pixels of each class were taken for which.

    The scores are those of table 2 in arXiv:1611.07004, as Long, Shelhamer, Darrell (arXiv:1411.4038) define
    them: pixel accuracy, the share of pixels that are right; class accuracy, its mean over the classes; mean
    IoU, the mean over the classes of intersection over union. A class that occurs neither in the truth nor in
    a prediction is in no mean; one that was only predicted has an IoU of 0 and no accuracy.

    Attributes:
        labels: The classes.
        counts: (K, K + 1): rows are the truth, columns the prediction; the last column is no class at all.
        ignore: The numbers of classes that are in no mean, and whose pixels were left out.
        notes: Sentences about the two maps.
    """

    labels: LabelSet
    counts: NDArray[np.int64]
    ignore: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.labels, self.counts + other.counts, self.ignore)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """The pixels of each class in the truth."""
        counts: NDArray[np.int64] = self.counts.sum(1)
        return counts

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The share of each class that is right; NaN where it does not occur."""
        return self._known(_shares(self._right, self.pixels))

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class; NaN where it occurs in neither."""
        predicted = self.counts[:, :-1].sum(0)
        return self._known(_shares(self._right, self.pixels + predicted - self._right))

    @property
    def _right(self) -> NDArray[np.int64]:
        return self.counts.diagonal()

    def _known(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        shares[list(self.ignore)] = np.nan
        return shares

    def scores(self) -> dict[str, float]:
        """Returns the numbers in `COLUMNS`; NaN where there is no pixel of a class that counts."""
        return dict(zip(COLUMNS, scores_of(self.counts, self.ignore).tolist(), strict=True))

    def constant(self) -> tuple[int, dict[str, float]]:
        """Returns the scores of maps of one class alone, the most frequent one, and which that is."""
        number = int(self.pixels.argmax())
        counts = np.zeros_like(self.counts)
        counts[:, number] = self.pixels
        return number, Confusion(self.labels, counts, self.ignore).scores()

    def remarks(self) -> list[str]:
        """Returns what to hold the scores against, and what is in no mean."""
        if not self.counts.any():
            return ["No pixel is of a class that counts."]
        number, scores = self.constant()
        shares = ", ".join(f"{column.replace('_', ' ')} {scores[column]:.4f}" for column in COLUMNS)
        said = [f"Maps of {self.labels.name(number)} alone have {shares}."]
        absent = [n for n in range(len(self.labels)) if n not in self.ignore and not self.pixels[n]]
        unseen = [self.labels.name(n) for n in absent if math.isnan(self.iou[n])]
        made = [self.labels.name(n) for n in absent if not math.isnan(self.iou[n])]
        if unseen:
            said.append(f"In neither targets nor predictions, and in no mean: {listed(unseen)}.")
        if made:
            said.append(
                f"Predicted, but in no target: {listed(made)}; IoU 0 in the mean, and in no class accuracy."
            )
        if self.ignore:
            said.append(f"Ignored: {listed([self.labels.name(n) for n in sorted(self.ignore)])}.")
        return said

    def by_class(self) -> list[dict[str, Any]]:
        """Returns the numbers of each class, JSON-able; None where there are none."""
        return [
            {
                "class": self.labels.name(n),
                "pixels": int(self.pixels[n]),
                "accuracy": None if math.isnan(self.accuracy[n]) else float(self.accuracy[n]),
                "iou": None if math.isnan(self.iou[n]) else float(self.iou[n]),
            }
            for n in range(len(self.labels))
        ]


@dataclass(frozen=True)
class LabelsProtocol(EvaluationProtocol):
    """Pixel accuracy, class accuracy and mean IoU of label maps.

    Colours stand for classes, those that are of none for the nearest; pictures are compared as they are
    stored. Pixels whose truth is ignored do not count.

    Args:
        labels: The classes.
        ignore: The numbers of further classes that do not count.
    """

    labels: LabelSet
    ignore: frozenset[int] = frozenset()

    names = True

    @property
    def columns(self) -> tuple[str, ...]:
        """See `EvaluationProtocol`."""
        return COLUMNS

    def decimals(self, column: str) -> int:
        """See `EvaluationProtocol`."""
        return 4

    def higher_is_better(self, column: str) -> bool:
        """See `EvaluationProtocol`."""
        return True

    def measure(self, prediction: Image, truth: Image, say: Say = forget) -> dict[str, float]:
        """See `EvaluationProtocol`."""
        return self.confusion(prediction, truth).scores()

    def confusion(self, prediction: Image, truth: Image) -> Confusion:
        """Returns the counts of one picture.

        Raises:
            ProcessingError: The sizes differ, or one is no label map.
        """
        require_size(prediction, truth)
        notes = []
        numbers = []
        for image, role in ((truth, "target"), (prediction, "prediction")):
            found, strange = self.labels.numbers(image)
            numbers.append(found)
            if strange:
                notes.append(f"{role}: {strange}; they count as the nearest")
        real, made = numbers
        classes = len(self.labels)
        known = (real >= 0) & ~np.isin(real, list(self.ignore))
        made = np.where(made < 0, classes, made)
        codes = real[known].astype(np.int64) * (classes + 1) + made[known]
        counts = np.bincount(codes, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
        return Confusion(self.labels, counts.astype(np.int64), self.ignore, tuple(notes))

    def describe(self) -> str:
        """See `EvaluationProtocol`."""
        return f"labels: {len(self.labels)} classes, one confusion matrix of the whole set"


def total(confusions: Sequence[Confusion | None]) -> Confusion | None:
    """Returns the sum; None where there are none."""
    found = [one for one in confusions if one is not None]
    return sum(found[1:], found[0]) if found else None


def scores_of(counts: NDArray[Any], ignore: frozenset[int] = frozenset()) -> NDArray[np.float64]:
    """Returns the numbers in `COLUMNS` of confusion matrices (..., K, K + 1), see `Confusion`: (..., 3)."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    pixels, predicted = counts.sum(-1), counts[..., :-1].sum(-2)
    kept = np.array([number not in ignore for number in range(counts.shape[-2])])
    iou, accuracy = (
        _mean(_shares(right, whole)[..., kept]) for whole in (pixels + predicted - right, pixels)
    )
    return np.stack([iou, _shares(right.sum(-1), pixels.sum(-1)), accuracy], axis=-1)


def _shares(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Returns part / whole; NaN where there is nothing."""
    shares = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=shares, where=np.asarray(whole) > 0)
    return shares


def _mean(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the last dimension of what is known."""
    known = ~np.isnan(shares)
    return _shares(np.where(known, shares, 0).sum(-1), known.sum(-1))
