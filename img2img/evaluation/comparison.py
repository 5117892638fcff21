"""What there is to compare: targets, each with its prediction or input, before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from img2img.errors import UsageError
from img2img.evaluation.protocol import EvaluationProtocol, SuperResolutionProtocol
from img2img.evaluation.result import Problem
from img2img.image.matching import HIGH, LOW, File, find, match

PathName = str | PathLike[str]
_NO_WORDS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Comparison:
    """What there is to compare, before anything is opened.

    Attributes:
        pairs: Targets, each with the file of its prediction or input, or None where the input is made here.
        notes: How files were chosen and matched, in sentences.
        problems: What could not be matched.
    """

    pairs: tuple[tuple[File, File | None], ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def plan(
    protocol: EvaluationProtocol,
    target: PathName,
    pred: PathName | None = None,
    inputs: PathName | None = None,
    *,
    follow_symlinks: bool = False,
    hidden: bool = False,
) -> Comparison:
    """Finds out which files belong together; opens none.

    Args:
        protocol: The protocol.
        target: A folder or file with the truth.
        pred: A folder or file with predictions.
        inputs: Instead, a folder or file with what a model shall predict from. Without both the inputs are
            made from the targets, which only the sr protocol can.
        follow_symlinks, hidden: See `img2img.image.discover`.

    Raises:
        PlanError: A folder does not exist or is empty.
        UsageError: Both are given, or neither and the protocol makes no inputs.
    """
    if pred is not None and inputs is not None:
        raise UsageError("predictions and inputs exclude each other: give one of them.")
    # both resolutions in one folder are usual in benchmarks of super-resolution alone
    low, high = (LOW, HIGH) if isinstance(protocol, SuperResolutionProtocol) else (_NO_WORDS, _NO_WORDS)
    targets = find(Path(target), "target", high, low, follow_symlinks, hidden)
    notes = list(targets.notes)
    problems = list(targets.problems)
    if pred is None and inputs is None:
        if not isinstance(protocol, SuperResolutionProtocol):
            raise UsageError("name the folder with the model's inputs; only the sr protocol makes its own.")
        return Comparison(tuple((file, None) for file in targets.found), tuple(notes), _problems(problems))
    role = "prediction" if inputs is None else "input"
    place = pred if inputs is None else inputs
    assert place is not None
    wanted, unwanted = (_NO_WORDS, _NO_WORDS) if inputs is None else (low, high)
    others = find(Path(place), role, wanted, unwanted, follow_symlinks, hidden)
    if Path(target).is_file() and Path(place).is_file():
        return Comparison(((targets.found[0], others.found[0]),), tuple(notes), _problems(problems))
    matching = match(targets.found, others.found, role)
    return Comparison(
        tuple(matching.pairs),
        (*notes, *others.notes, *matching.notes),
        _problems([*problems, *others.problems, *matching.problems]),
    )


def _problems(found: list[tuple[Path, str]]) -> tuple[Problem, ...]:
    return tuple(Problem(path, reason) for path, reason in found)
