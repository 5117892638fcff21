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
from img2img.image.palette import MOST_COLOURS, LabelSet
from img2img.metrics.confusion import COLUMNS, shares, tally_scores


@dataclass(frozen=True)
class Confusion:
    """How many pixels of each class were taken for which.

    The scores are those of table 2 in arXiv:1611.07004, as Long, Shelhamer, Darrell (arXiv:1411.4038) define
    them: pixel accuracy, the share of pixels that are right; class accuracy, its mean over the classes; mean
    IoU, the mean over the classes of intersection over union. A class that occurs neither in the truth nor in
    a prediction is in no mean; one that was only predicted has an IoU of 0 and no accuracy.

    Attributes:
        labels: The classes.
        counts: Of the pairs that occur: how many pixels have them.
        truth: The numbers of the classes that these have.
        predicted: Those that they were taken for; K is no class at all.
        ignore: The numbers of classes that are in no mean, and whose pixels were left out.
        notes: Sentences about the two maps.
    """

    labels: LabelSet
    counts: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    ignore: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Confusion) -> Confusion:
        truth = np.concatenate((self.truth, other.truth))
        predicted = np.concatenate((self.predicted, other.predicted))
        counts = np.concatenate((self.counts, other.counts))
        return Confusion.of(self.labels, truth, predicted, self.ignore, counts)

    @classmethod
    def of(
        cls,
        labels: LabelSet,
        truth: NDArray[np.integer],
        predicted: NDArray[np.integer],
        ignore: frozenset[int] = frozenset(),
        counts: NDArray[np.int64] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Confusion:
        """Returns the matrix of some pixels (P,), or of pairs that so many `counts` of pixels (P,) have."""
        base = len(labels) + 1
        codes, back = np.unique(truth.astype(np.int64) * base + predicted, return_inverse=True)
        summed = np.bincount(back.reshape(-1), counts, len(codes)).astype(np.int64)  # exact up to 2**53
        return cls(labels, summed, codes // base, codes % base, ignore, notes)

    def _of_each(self, numbers: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the sum of `counts` of each class."""
        return np.bincount(numbers, counts, len(self.labels) + 1)[:-1].astype(np.int64)

    def matrix(self) -> list[list[int]]:
        """Returns rows of the truth, each with a column for every class and one for none.

        Of more than 256 classes these are rows of truth, prediction and pixels, of the pairs that occur.
        """
        rows = np.stack((self.truth, self.predicted, self.counts), 1)
        if len(self.labels) <= MOST_COLOURS:
            rows = np.zeros((len(self.labels), len(self.labels) + 1), np.int64)
            rows[self.truth, self.predicted] = self.counts
        matrix: list[list[int]] = rows.tolist()
        return matrix

    @property
    def pixels(self) -> NDArray[np.int64]:
        """The pixels of each class in the truth."""
        return self._of_each(self.truth, self.counts)

    @property
    def tally(self) -> NDArray[np.int64]:
        """What the scores are of, (3, K): the pixels of each class that are right, all, and predicted."""
        right = self._of_each(self.truth, np.where(self.truth == self.predicted, self.counts, 0))
        return np.stack((right, self.pixels, self._of_each(self.predicted, self.counts)))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """The share of each class that is right; NaN where it does not occur."""
        right, pixels, _ = self.tally
        return self._known(shares(right, pixels))

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class; NaN where it occurs in neither."""
        right, pixels, predicted = self.tally
        return self._known(shares(right, pixels + predicted - right))

    def _known(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        values[list(self.ignore)] = np.nan
        return values

    def scores(self) -> dict[str, float]:
        """Returns the numbers in `COLUMNS`; NaN where there is no pixel of a class that counts."""
        return dict(zip(COLUMNS, tally_scores(self.tally, self.ignore).tolist(), strict=True))

    def constant(self) -> tuple[int, dict[str, float]]:
        """Returns the scores of maps of one class alone, the most frequent one, and which that is."""
        number = int(self.pixels.argmax())
        one = Confusion(self.labels, self.counts, self.truth, np.full_like(self.truth, number), self.ignore)
        return number, one.scores()

    def remarks(self) -> list[str]:
        """Returns what to hold the scores against, and what is in no mean."""
        if not self.counts.size:
            return ["No pixel is of a class that counts."]
        number, scores = self.constant()
        words = ", ".join(f"{column.replace('_', ' ')} {scores[column]:.4f}" for column in COLUMNS)
        said = [f"Maps of {self.labels.name(number)} alone have {words}."]
        pixels, iou = self.pixels, self.iou
        absent = [n for n in range(len(self.labels)) if n not in self.ignore and not pixels[n]]
        unseen = [self.labels.name(n) for n in absent if math.isnan(iou[n])]
        made = [self.labels.name(n) for n in absent if not math.isnan(iou[n])]
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
        pixels, accuracy, iou = self.pixels, self.accuracy, self.iou
        return [
            {
                "class": self.labels.name(n),
                "pixels": int(pixels[n]),
                "accuracy": None if math.isnan(accuracy[n]) else float(accuracy[n]),
                "iou": None if math.isnan(iou[n]) else float(iou[n]),
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
        known = (real >= 0) & ~np.isin(real, list(self.ignore))
        made = np.where(made < 0, len(self.labels), made)
        return Confusion.of(self.labels, real[known], made[known], self.ignore, notes=tuple(notes))

    def describe(self) -> str:
        """See `EvaluationProtocol`."""
        return f"labels: {len(self.labels)} classes, one confusion matrix of the whole set"


def total(confusions: Sequence[Confusion | None]) -> Confusion | None:
    """Returns the sum; None where there are none."""
    found = [one for one in confusions if one is not None]
    return sum(found[1:], found[0]) if found else None
