"""How far a set of pictures is from another set, by the features that a network sees in them.

Every function takes features: `img2img.metrics.features` makes them of pictures. On those of Inception v3
they are FID, KID, Inception Score, precision and recall as papers print them; on others they are other
numbers, and bear other names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img2img.errors import ConfigError, ModelError
from img2img.files import replacing
from img2img.metrics.features import EXTRACTORS, INCEPTION, PictureFeatures

NAMES = ("fid", "kid", "precision", "recall", "is")
"""What the numbers are called on features of Inception v3."""
SUBSET, NEIGHBOURS, SPLITS = 1000, 3, 10
"""Pictures in a subset of KID, neighbours of precision and recall, parts of the Inception Score."""
LEAST = {"fid": 2, "kid": 2, "precision": NEIGHBOURS + 1, "recall": NEIGHBOURS + 1, "is": SPLITS}
"""How many pictures each of them needs."""
_ELSEWHERE = {"fid": "fd", "kid": "kd"}  # on features other than those of FID
_LOWER = ("fid", "kid", *_ELSEWHERE.values())
_SEED = 2020  # torch-fidelity's


def called(number: str, network: str) -> str:
    """Returns the name of a number on the features of a network: on those of FID the usual one."""
    return number if network == INCEPTION else f"{_ELSEWHERE.get(number, number)}_{network}"


KNOWN = {
    called(number, network): (number, network)
    for network in EXTRACTORS
    for number in NAMES
    if number != "is" or network == INCEPTION  # the others have no classes here
}
"""The numbers by what they are called on the features of each network: the usual name and the network."""


def higher_is_better(name: str) -> bool:
    """Returns which way is up in a number of sets."""
    return name.partition("_")[0] not in _LOWER


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and covariance of the features of a set.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased.
        count: Of pictures; 0 where a file does not say it.
        origin: What made them: the network, its weights, how pictures were resized.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int = 0
    origin: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, features: Tensor, origin: Mapping[str, Any] | None = None) -> FeatureStatistics:
        """Returns those of features (N, D).

        Raises:
            ValueError: They are no such batch, or there are less than two.
        """
        values = _features(features, 2)
        mean = values.mean(0)
        centred = values - mean
        covariance = centred.T @ centred / (len(values) - 1)
        return cls(mean.numpy(), covariance.numpy(), len(values), dict(origin or {}))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> FeatureStatistics:
        """Reads what `save` wrote, or a file of pytorch-fid or torch-fidelity: `mu` and `sigma` in an .npz.

        Raises:
            ModelError: It is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                mean, covariance = (np.asarray(file[name], np.float64) for name in ("mu", "sigma"))
                count = int(file["count"]) if "count" in file else 0
                origin = json.loads(str(file["origin"])) if "origin" in file else {}
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
            raise ModelError(
                "cannot be read as statistics of features (mu and sigma in an .npz)", path
            ) from error
        if mean.ndim != 1 or covariance.shape != (mean.size, mean.size) or not np.isfinite(covariance).all():
            raise ModelError("holds no mean (D,) and covariance (D, D)", path)
        return cls(mean, covariance, count, origin if isinstance(origin, dict) else {})

    def save(self, path: str | PathLike[str]) -> None:
        """Writes an .npz that pytorch-fid and torch-fidelity read, too, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        with replacing(Path(path)) as file:
            np.savez(
                file,
                mu=self.mean,
                sigma=self.covariance,
                count=self.count,
                origin=json.dumps(dict(self.origin)),
            )


def frechet_distance(real: Tensor | FeatureStatistics, fake: Tensor | FeatureStatistics) -> float:
    """Returns the Fréchet distance of two normal distributions: FID, on features of Inception v3.

    In float64. The trace of the root of the product of the covariances is the sum of the singular values of a
    product of their roots, which loses no digits where there are less pictures than features. It agrees with
    torch-fidelity to 6 digits, and with SciPy's square root of the product where that has one.

    Args:
        real, fake: Features (N, D) of two pictures or more, or what was stored of them.

    Returns:
        From 0 for equal sets. It depends on the number of pictures: compare values of one number alone.

    Raises:
        ValueError: They are no features of one length, or less than two.

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule (arXiv:1706.08500).
    """
    one, two = (x if isinstance(x, FeatureStatistics) else FeatureStatistics.of(x) for x in (real, fake))
    if one.mean.size != two.mean.size:
        raise ValueError(f"features of {one.mean.size} and {two.mean.size} numbers are of different networks")
    roots = [_root(each.covariance) for each in (one, two)]
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    difference = one.mean - two.mean
    traces = np.trace(one.covariance) + np.trace(two.covariance)
    return max(0.0, float(difference @ difference + traces - 2 * float(shared)))


def kernel_distance(
    real: Tensor, fake: Tensor, subsets: int = 100, size: int = 1000, seed: int = _SEED
) -> tuple[float, float]:
    """Returns the squared maximum mean discrepancy by the cubic kernel: KID, on features of Inception v3.

    The unbiased estimate, as mean over random subsets; it agrees with torch-fidelity to 6 digits.

    Args:
        real, fake: Features (N, D) of two pictures or more.
        subsets: How many are drawn.
        size: Pictures in each; of smaller sets all, which then is what a stored number has to say.
        seed: Of the draws.

    Returns:
        Mean and standard deviation over the subsets. For equal sets it is a little below 0: the
        estimate is right on average over sets of one kind, not for one set against itself.

    Raises:
        ValueError: They are no features of one length, or less than two; no subset, or one of less than two.

    References:
        Binkowski et al., Demystifying MMD GANs (arXiv:1801.01401).
    """
    x, y = _two(real, fake, 2)
    if subsets < 1 or size < 2:
        raise ValueError(f"KID needs a subset of two pictures at least, not {subsets} of {size}")
    size = min(size, len(x), len(y))
    draws = np.random.RandomState(seed)  # torch-fidelity's generator: the same subsets
    found = []
    for _ in range(subsets):
        chosen_y = y[draws.choice(len(y), size, replace=False)]
        chosen_x = x[draws.choice(len(x), size, replace=False)]
        own_x, own_y = (_cubic(z, z) for z in (chosen_x, chosen_y))
        within = (own_x.sum() - own_x.trace() + own_y.sum() - own_y.trace()) / (size * (size - 1))
        found.append(float(within - 2 * _cubic(chosen_x, chosen_y).mean()))
    return float(np.mean(found)), float(np.std(found))


def inception_score(logits: Tensor, splits: int = 10, seed: int = _SEED) -> tuple[float, float]:
    """Returns how sure a classifier is of each picture, and how many classes it finds in all.

    In float64; it agrees with torch-fidelity to 6 digits.

    Args:
        logits: (N, classes), of Inception v3 without its bias for the score of the papers.
        splits: Parts of the set that are scored by themselves; of less pictures one for each is too many.
        seed: Of the order in which pictures go to the parts.

    Returns:
        Mean and standard deviation over the parts: from 1, where all pictures look alike, to the number of
        classes. It knows nothing of the true pictures.

    Raises:
        ValueError: They are no such batch, or less than `splits`, or `splits` is less than one.

    References:
        Salimans et al., Improved Techniques for Training GANs (arXiv:1606.03498).
    """
    if splits < 1:
        raise ValueError(f"the Inception Score needs one part at least, not {splits}")
    values = _features(logits, splits)
    values = values[np.random.RandomState(seed).permutation(len(values))]
    scores = []
    for i in range(splits):
        part = values[i * len(values) // splits : (i + 1) * len(values) // splits]
        log_p = part.log_softmax(1)
        log_mean = log_p.logsumexp(0) - float(np.log(len(part)))
        scores.append(float((log_p.exp() * (log_p - log_mean)).sum(1).mean().exp()))
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Returns which share of fakes look like a true picture, and which share of true pictures like a fake.

    It agrees with torch-fidelity exactly where no two distances are closer than fp32 tells apart.

    Args:
        real, fake: Features (N, D) of more than `neighbours` pictures.
        neighbours: A picture is alike if it is not farther from another one than that one's neighbour of this
            rank in its own set.

    Returns:
        Precision and recall, each from 0 to 1, 1 for equal sets.

    Raises:
        ValueError: They are no features of one length, or too few, or `neighbours` is less than one.

    References:
        Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models
        (arXiv:1904.06991).
    """
    if neighbours < 1:
        raise ValueError(f"precision and recall need one neighbour at least, not {neighbours}")
    x, y = _two(real, fake, neighbours + 1)
    reach_x, reach_y = (torch.cdist(z, z).kthvalue(neighbours + 1).values for z in (x, y))
    apart = torch.cdist(y, x)
    precision = (apart <= reach_x).any(1).double().mean()
    recall = (reach_y >= apart.T).any(1).double().mean()
    return float(precision), float(recall)


def set_scores(
    wanted: Sequence[str],
    network: str,
    kept: FeatureStatistics,
    true: PictureFeatures | None,
    made: PictureFeatures,
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns numbers of a set, and of those that are means over parts the deviation between these.

    Args:
        wanted: Which of `NAMES`.
        network: Whose features they are; it decides what the numbers are called.
        kept: Of the true pictures.
        true: Features of the true pictures; None is enough for FID and the Inception Score.
        made: Of what is judged.

    Raises:
        ValueError: There are too few pictures for one of them, or no classes.
    """
    values: dict[str, float] = {}
    deviations: dict[str, float] = {}
    shares = (math.nan, math.nan)
    if true is not None and {"precision", "recall"} & set(wanted):
        shares = precision_recall(true.vectors, made.vectors, NEIGHBOURS)
    for number in wanted:
        name = called(number, network)
        if number == "fid":
            values[name] = frechet_distance(kept, made.vectors)
        elif number == "kid":
            assert true is not None
            values[name], deviations[name] = kernel_distance(true.vectors, made.vectors, size=SUBSET)
        elif number == "is":
            if not made.logits.shape[1]:
                raise ValueError(
                    f"the Inception Score is of Inception v3's classes, and {network} has none here"
                )
            values[name], deviations[name] = inception_score(made.logits, SPLITS)
        else:
            values[name] = shares[number == "recall"]
    return values, deviations


def require_pairs(name: str) -> None:
    """Raises ConfigError for a number of sets where one of pairs of pictures is needed."""
    if name in NAMES:
        raise ConfigError(
            f"{name} compares sets of pictures, and not one picture with another; measure it by the protocol "
            "sets."
        )


def _root(covariance: NDArray[np.float64]) -> Tensor:
    """Returns R with R @ R.T = covariance."""
    values, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _two(real: Tensor, fake: Tensor, least: int) -> tuple[Tensor, Tensor]:
    x, y = _features(real, least), _features(fake, least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and {y.shape[1]} numbers are of different networks")
    return x, y


def _features(features: Tensor, least: int) -> Tensor:
    """Returns features (N, D) in float64 on the CPU.

    Raises:
        ValueError: They are none, not finite, or less than `least`.
    """
    if not isinstance(features, Tensor) or features.ndim != 2 or 0 in features.shape[1:]:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"features are a batch (N, D), not {shape}")
    if len(features) < least:
        raise ValueError(f"this needs at least {least} pictures, not {len(features)}")
    values = features.detach().double().cpu()
    if not torch.isfinite(values).all():
        raise ValueError("the features hold values that are not finite numbers (NaN or infinite)")
    return values
