"""What comes out of an evaluation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from img2img.evaluation.extras import origins
from img2img.evaluation.labels import Confusion, total
from img2img.evaluation.protocol import ColourKind, EvaluationProtocol, listed
from img2img.image import Image


@dataclass(frozen=True)
class Score:
    """The numbers of one picture.

    Attributes:
        name: The target's path below its folder.
        target: The target's file.
        source: The file of the prediction or of the input it was made from; None where that was made here.
        values: A number for each column of the protocol; PSNR is infinite where the pictures are equal.
        kind: Whether the target is a grey picture.
        warnings: What reading or predicting had to say, in sentences.
        pictures: The prediction and what it was compared with; none in an `Evaluation`.
        transparent: Whether one of the pictures is, somewhere; both were compared as they look on white.
        confusion: Of label maps, how many pixels of each class were taken for which.
        recoloured: Whether the prediction had another colour space and was brought into that of the target.
    """

    name: str
    target: Path
    source: Path | None
    values: Mapping[str, float]
    kind: ColourKind
    warnings: tuple[str, ...] = ()
    pictures: tuple[Image, ...] = field(default=(), repr=False)
    transparent: bool = False
    recoloured: bool = False
    confusion: Confusion | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Problem:
    """A file that could not be measured, with the reason."""

    path: Path
    reason: str


@dataclass
class Evaluation:
    """The numbers of a set.

    Attributes:
        protocol: How they were made.
        scores: One for each picture that could be measured, without its pictures.
        problems: What could not be measured or matched.
        notes: What a reader of the numbers should know.
    """

    protocol: EvaluationProtocol
    scores: list[Score] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, result: Score | Problem) -> None:
        """Files a result, without its pictures."""
        if isinstance(result, Problem):
            self.problems.append(result)
            return
        self.scores.append(replace(result, pictures=()))

    def mean(self) -> dict[str, float]:
        """Returns the mean of each column over the pictures, as papers print it; empty if there are none.

        Of label maps it is not that mean, but the scores of all pixels of the set together.
        """
        if not self.scores:
            return {}
        if (confusion := self.confusion()) is not None:
            return confusion.scores()
        return {column: self._mean(column) for column in self.protocol.columns}

    def _mean(self, column: str) -> float:
        """Returns the mean over the pictures that have a finite number.

        Where all of them are equal to their targets, and their PSNR infinite, it is infinite, too; NaN where
        none has the number.
        """
        values = [value for score in self.scores if not math.isnan(value := score.values[column])]
        finite = [value for value in values if math.isfinite(value)] or values
        return math.fsum(finite) / len(finite) if finite else math.nan

    def equal(self) -> dict[str, list[str]]:
        """Returns the pictures whose number is infinite, since they are equal to their targets, by columns.

        They are no part of the mean, unless all pictures are equal. Columns without any are left out.
        """
        found = {
            column: [score.name for score in self.scores if math.isinf(score.values[column])]
            for column in self.protocol.columns
        }
        return {column: names for column, names in found.items() if names}

    def confusion(self) -> Confusion | None:
        """Returns how many pixels of each class were taken for which, in all label maps together."""
        return total([score.confusion for score in self.scores])

    def _formats(self) -> dict[str, dict[str, int]]:
        """Returns how many files of each kind there are among targets, and among predictions or inputs."""
        sides = {
            "targets": [score.target for score in self.scores],
            "sources": [score.source for score in self.scores if score.source is not None],
        }
        return {side: dict(Counter(path.suffix.lower() for path in paths)) for side, paths in sides.items()}

    def remarks(self) -> list[str]:
        """Returns the notes, how pictures were compared, and what is to say of single ones."""
        if (confusion := self.confusion()) is not None:
            return [*self.notes, *confusion.remarks(), *self._warnings()]
        kinds: tuple[ColourKind, ...] = ("grey", "grey in colour")
        grey = {kind: [score.name for score in self.scores if score.kind == kind] for kind in kinds}
        said = [self.protocol.describe_grey(names, kind) for kind, names in grey.items() if names]
        clear = [score.name for score in self.scores if score.transparent]
        if clear:
            said.append(f"Transparent: {listed(clear)}; compared as it looks on white.")
        other = [score.name for score in self.scores if score.recoloured]
        if other:
            said.append(
                f"Predictions in other colour spaces than their targets: {listed(other)}; compared in those "
                "of the targets."
            )
        for column in self.protocol.columns:
            missing = [score.name for score in self.scores if math.isnan(score.values[column])]
            if len(missing) == len(self.scores):
                said.append(f"No picture has {column}.")
            elif missing:
                said.append(f"Without {column}: {listed(missing)}; its mean is over the others.")
        for column, names in self.equal().items():
            others = sum(math.isfinite(score.values[column]) for score in self.scores)
            if others:
                said.append(
                    f"Equal to their targets, with infinite {column}: {listed(names)}; its mean is over the "
                    f"other {others}."
                )
        return [*self.notes, *(sentence for sentence in said if sentence is not None), *self._warnings()]

    def _warnings(self) -> list[str]:
        """Returns what there is to say of single pictures, each sentence once with their names."""
        found: dict[str, list[str]] = {}
        for score in self.scores:
            for warning in dict.fromkeys(score.warnings):
                found.setdefault(warning, []).append(score.name)
        return [f"{listed(names)}: {warning}" for warning, names in found.items()]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as JSON takes it; a number that is infinite is None."""
        return {
            "protocol": self.protocol.describe(),
            "images": len(self.scores),
            "metrics": origins(self.protocol.columns),
            "formats": self._formats(),
            "mean": finite(self.mean()),
            "equal": {column: len(names) for column, names in self.equal().items()},
            **({} if (confusion := self.confusion()) is None else _of_classes(confusion)),
            "scores": [
                {
                    "name": score.name,
                    "target": str(score.target),
                    "source": None if score.source is None else str(score.source),
                    **finite(score.values),
                    **({"warnings": list(score.warnings)} if score.warnings else {}),
                }
                for score in self.scores
            ],
            "problems": [{"path": str(problem.path), "reason": problem.reason} for problem in self.problems],
            "notes": self.remarks(),
        }


def _of_classes(confusion: Confusion) -> dict[str, Any]:
    """Returns the numbers of each class, the matrix, and the scores of maps of one class."""
    number, scores = confusion.constant()
    return {
        "classes": confusion.by_class(),
        "confusion": confusion.matrix(),
        "constant": {"class": confusion.labels.name(number), **finite(scores)},
    }


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Returns numbers as JSON takes them: None instead of one that is infinite or unknown."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
