"""Scores on held-out samples, and which of them was the best."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from img2img.errors import ConfigError, display_path
from img2img.fields import Fields
from img2img.methods import Column, Method
from img2img.metrics import metrics
from img2img.metrics.confusion import COLUMNS, tally, tally_scores
from img2img.metrics.sets import KNOWN, higher_is_better
from img2img.metrics.ssim import WINDOW
from img2img.models import Generator
from img2img.registry import unknown
from img2img.training.runtime import Runtime
from img2img.training.sets import SetScores
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

_NAMED = 3  # samples in a sentence
USUAL = ("l1", "psnr", "ssim")
"""What is measured in any case."""


@dataclass
class Scores:
    """The scores of the last validation, of the best one and of the weights that a run began with.

    Each has its step; those of the beginning are there where a run started from weights of others.

    Attributes:
        by: The score that decides which is the best.
    """

    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    by: str = "psnr"

    def update(self, step: int, found: Mapping[str, float]) -> bool:
        """Files the scores of `step`; returns whether they are the best so far."""
        self.last = {**found, "step": step}
        if step == 0:
            self.start = dict(self.last)
        value = found.get(self.by, math.nan)
        if math.isnan(value) or (self.best and not is_better(self.by, value, self.best[self.by])):
            return False
        self.best = dict(self.last)
        return True

    def state(self) -> dict[str, Any]:
        """Returns what `Scores(**state)` takes."""
        return {"best": self.best, "last": self.last, "start": self.start, "by": self.by}


def listed(scores: Mapping[str, float]) -> str:
    """Returns scores in a line for people; small ones, as KID is, with their first digits."""
    return ", ".join(
        f"{name} {value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{name} {value:.3g}"
        for name, value in scores.items()
        if name != "step"
    )


def is_better(name: str, value: float, other: float) -> bool:
    """Returns whether a score called `name` is better than another one."""
    higher = metrics[name].higher_is_better if name in metrics else name in COLUMNS or higher_is_better(name)
    return value > other if higher else value < other


class Validation:
    """What is measured on held-out samples.

    Args:
        method: Whose outputs; numbers of sets are of the first network that it exports.
        settings: Which metrics beside the usual ones, and which one decides.
        fields: What a sample holds. Of two kinds of pictures without partners, numbers of sets and metrics
            that look at a picture alone can be had.

    Attributes:
        by: The score that decides: PSNR, for label maps mean IoU, or what the settings say.
        missing: Why a score could not be had the last time, in sentences; that of a network whose outputs are
            not finite numbers is the only one.
        equal: How many outputs were equal to their true pictures the last time, by the scores that are
            infinite then, and whose means are over the others.

    Raises:
        ConfigError: There is no such metric for what the method makes, or what it needs is not at hand.
    """

    def __init__(self, method: Method, settings: TrainingSettings, fields: Fields) -> None:
        self._name, self._export = next(iter(method.exports().items()))
        self.method, self.labels = method, self._export.output == "labels"
        made = fields.get(self._export.makes)
        self._unpaired = self._export.makes != self._export.reads and made is not None and made.like is None
        asked = tuple(dict.fromkeys((*settings.metrics, *filter(None, [settings.validate_by]))))
        for name in asked:
            self._require(name)
        of_sets = [name for name in asked if name in KNOWN]
        self.sets: SetScores | None = None
        if of_sets:
            self.sets = SetScores(of_sets, settings.feature_weights, settings.allow_download)
        elif settings.feature_weights is not None:
            raise ConfigError("training.feature_weights belongs to fid and its kin, which are not measured.")
        usual = () if self._unpaired else USUAL
        by = settings.validate_by or (asked[0] if self._unpaired and asked else "psnr")
        if self.labels and settings.validate_by is None:
            by = COLUMNS[0]
        self.by = by if self.sets is None else self.sets.columns.get(by, by)
        self.names = tuple(dict.fromkeys([*usual, *(name for name in asked if name in metrics)]))
        self._allow_download = settings.allow_download
        if not self._allow_download:
            for name in self.names:
                metrics[name].prepare()
        self.missing: list[str] = []
        self.equal: dict[str, int] = {}

    def _require(self, name: str) -> None:
        """Raises ConfigError where there is no such number of what the method makes."""
        known = [*metrics, *KNOWN, *(COLUMNS if self.labels else ())]
        if name not in known:
            if name in COLUMNS:
                raise ConfigError(f"{name} is a score of label maps, and the method makes pictures.")
            raise ConfigError(f"validation: {unknown('metric', name, known)}")
        if self.labels and name in KNOWN:
            raise ConfigError(f"{name} compares sets of pictures, and the method makes label maps.")
        if self._unpaired and name in metrics and metrics[name].needs == "pair":
            raise ConfigError(
                f"{name} compares an output with its own true picture, and here pictures have no partners. "
                "Without pairs fid, kid, is, precision and recall can be measured, and niqe."
            )

    def prepare(
        self,
        generators: Mapping[str, Generator],
        samples: Iterable[Batch],
        runtime: Runtime,
    ) -> list[str]:
        """Opens what was asked for, and returns sentences on what it will be worth.

        Arguments are those of a call. Without numbers of sets no sample is looked at.

        Raises:
            ConfigError: There are too few samples for a number, or none of the kind that the method makes.
            ModelError: A file does not hold the weights that it should.
            DownloadError: A download failed.
        """
        for name in self.names:
            metrics[name].prepare(self._allow_download)
        if self.sets is None:
            return []
        self.sets.open()
        example: Column | None = None
        counts = [0, 0]
        new = _Distinct(self._export.reads, self._export.makes)
        for batch in samples:
            if example is None:
                pair = self._pair(batch, generators, runtime)
                if pair is None:
                    raise ConfigError(
                        f"{', '.join(self.sets.columns)} compare with true pictures of the kind that the "
                        "method makes, and it learns from none."
                    )
                example = pair[1]
            found = new(batch) if self._unpaired else (True, True)
            counts = [count + each for count, each in zip(counts, found, strict=True)]
        if example is None:
            raise ConfigError(f"{', '.join(self.sets.columns)}: no held-out picture can be read.")
        sentence = self.sets.require(example.values.float(), example.value_range, *counts)
        return [] if sentence is None else [sentence]

    def __call__(
        self, generators: Mapping[str, Generator], samples: Iterable[Batch], runtime: Runtime
    ) -> dict[str, float]:
        """Returns means over `samples`: L1 (in parts of the range), PSNR (dB), SSIM, and what was asked for.

        Of label maps the scores are those of all pixels together, and numbers of sets are of all outputs and
        true pictures; `prepare` has to come before these. Pictures smaller than the window of SSIM are left
        out, and of each further metric those that it cannot look at. Empty where the method has no truth to
        compare with, no picture is large enough, or an output holds values that are not finite numbers: means
        over the others would speak for a network that fails.

        Args:
            generators: Those of the method, or their averages.
            samples: One by one.
            runtime: Whose precision they compute in.
        """
        self.missing, self.equal = [], {}
        if self._unpaired and self.sets is None and not self.names:
            return {}
        broken: list[str] = []
        pictures = 0
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        equal: dict[str, int] = {}
        tallied: Tensor | None = None
        reasons: dict[str, str] = {}
        new = _Distinct(self._export.reads, self._export.makes)
        if self.sets is not None:
            self.sets.begin()
        for batch in samples:
            fresh = new(batch) if self._unpaired else (True, True)
            pair = self._pair(batch, generators, runtime)
            if pair is None:
                return {}
            output, truth = pair
            pictures += 1
            if not bool(output.values.isfinite().all()):
                broken.append(", ".join(batch.keys) or "unnamed")
                continue
            low, high = truth.value_range
            made = output.values.float().clamp(low, high)
            real = truth.values.float().clamp(low, high)
            if self.sets is not None:
                if fresh[0]:
                    self.sets.add_made(made, truth.value_range)
                if fresh[1]:
                    self.sets.add_true(real, truth.value_range)
            if not fresh[0] or (not self._unpaired and min(real.shape[-2:]) < WINDOW):
                continue  # SSIM has no window in it
            if self.labels:
                found = _tally(made, real)
                tallied = found if tallied is None else tallied + found
            for name in self.names:
                try:
                    # what looks at a picture alone takes no notice of the second
                    values = metrics[name].measure(made, made if self._unpaired else real, truth.value_range)
                except ValueError as error:
                    if name in USUAL:
                        raise
                    reasons[name] = str(error)
                    continue
                finite = values[~values.isinf()]  # PSNR is infinite where both are equal
                equal[name] = equal.get(name, 0) + len(values) - len(finite)
                sums[name] = sums.get(name, 0.0) + float(finite.sum())
                counts[name] = counts.get(name, 0) + len(finite)
        if broken:
            self.missing = [_not_finite(broken, pictures)]
            return {}
        self.missing = [
            f"no held-out picture has {name}: {why}" for name, why in reasons.items() if name not in counts
        ]
        means = {
            name: sums[name] / counts[name] if counts[name] else math.inf
            for name in self.names
            if name in counts
        }
        self.equal = {name: count for name, count in equal.items() if count and counts[name]}
        if self.sets is not None:
            numbers, why_not = self.sets.scores()
            means |= numbers
            self.missing += [f"{name} cannot be had: {why}" for name, why in why_not.items()]
        if tallied is None:
            return means
        labels = dict(zip(COLUMNS, tally_scores(tallied.numpy()).tolist(), strict=True))
        return means | {name: value for name, value in labels.items() if not math.isnan(value)}

    def origins(self) -> dict[str, dict[str, Any]]:
        """Returns what is stored with the scores: who computes them, with which weights, at which size."""
        found = {name: metrics[name].origin() for name in self.names}
        return found if self.sets is None else found | self.sets.origins()

    def _pair(
        self, batch: Batch, generators: Mapping[str, Generator], runtime: Runtime
    ) -> tuple[Column, Column] | None:
        """Returns an output and the truth; without partners, a true picture of the kind."""
        with runtime.autocast():
            if not self._unpaired:
                return self.method.compare(batch, generators)
            made = generators[self._name](batch[self._export.reads])
        field = self._export.makes
        return (
            Column(made, self._export.generator.output_range, "output"),
            Column(batch[field], self.method.value_range(field), "target"),
        )


class _Distinct:
    """Tells which pictures of samples without partners are new: the smaller set comes around again."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._seen: dict[str, set[bytes]] = {name: set() for name in names}

    def __call__(self, batch: Batch) -> tuple[bool, ...]:
        """Returns whether the picture of each field is new."""
        found = []
        for name in self._names:
            digest = hashlib.sha256(batch[name].cpu().numpy().tobytes()).digest()
            found.append(digest not in self._seen[name])
            self._seen[name].add(digest)
        return tuple(found)


def _not_finite(keys: Sequence[str], pictures: int) -> str:
    """Returns a sentence on outputs that cannot be measured."""
    named = ", ".join(map(display_path, keys[:_NAMED])) + (", ..." if len(keys) > _NAMED else "")
    return (
        f"{len(keys)} of {pictures} held-out pictures ({named}) come out with values that are not finite "
        "numbers (NaN or infinite): nothing is measured, and a best model of before stays. If it goes on, "
        "end the run, remove from states/ those since this began, and `resume` it with a smaller "
        "`learning_rate=...` or `precision=fp32`"
    )


def _tally(made: Tensor, real: Tensor) -> Tensor:
    """Returns the tally of likelihoods and one-hot labels (N, K, H, W), 0 where there is no class."""
    truth = torch.where(real.amax(1) > 0, real.argmax(1), -1)
    return tally(made.argmax(1), truth, real.shape[1])
