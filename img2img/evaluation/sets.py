"""A set of pictures against another one, without partners: FID and its kin."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from img2img import __version__
from img2img.errors import ConfigError, ImageError, ProcessingError, UsageError
from img2img.evaluation.comparison import PathName
from img2img.evaluation.predictor import Model, Predict, and_back, open_predictor
from img2img.evaluation.result import Problem, finite
from img2img.files import user_cache
from img2img.image import Image, read_image
from img2img.image.alpha import over_white
from img2img.image.conversion import as_rgb, converted
from img2img.image.matching import File, find
from img2img.image.tensor import to_tensor
from img2img.inference.cache import ModelCache
from img2img.metrics.features import INCEPTION, Extractor, PictureFeatures, open_extractor
from img2img.metrics.sets import NAMES, NEIGHBOURS, SPLITS, SUBSET, FeatureStatistics, set_scores
from img2img.registry import unknown
from img2img.types import UNIT

NUMBERS = NAMES
_FEW = 2048  # pictures: with fewer, the covariance of Inception's features has no inverse
_BATCH = 16


@dataclass(frozen=True)
class SetEvaluation:
    """The numbers of a set of pictures.

    Attributes:
        values: By name; those on features other than FID's own are called `fd_NAME` and `kd_NAME` with the
            network's name.
        deviations: Of the numbers that are means over parts, the deviation between these.
        real, fake: How many pictures there are on both sides.
        origin: Of the features: network, package, checksum of the weights, resizing.
        formats: How many files of each kind there are, of both sides; of a model, of its inputs.
        statistics: Of the true pictures.
        problems: What could not be read.
        notes: What a reader of the numbers should know.
    """

    values: dict[str, float]
    deviations: dict[str, float]
    real: int
    fake: int
    origin: dict[str, Any]
    formats: dict[str, dict[str, int]]
    statistics: FeatureStatistics
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mean(self) -> dict[str, float]:
        """Returns the numbers, as an `Evaluation` does."""
        return self.values

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the statistics as JSON takes it."""
        return {
            "protocol": "sets",
            "images": {"targets": self.real, "predictions": self.fake},
            "values": finite(self.values),
            "deviations": finite(self.deviations),
            "features": self.origin,
            "settings": {
                "kid_subset": min(SUBSET, self.real, self.fake),
                "neighbours": NEIGHBOURS,
                "splits": SPLITS,
            },
            "formats": self.formats,
            "problems": [{"path": str(each.path), "reason": each.reason} for each in self.problems],
            "notes": self.notes,
        }


def evaluate_sets(
    target: PathName,
    *,
    pred: PathName | None = None,
    model: Model | None = None,
    inputs: PathName | None = None,
    back: Model | None = None,
    numbers: Sequence[str] = NUMBERS[:4],
    extractor: Extractor | None = None,
    on_picture: Callable[[], None] = lambda: None,
    follow_symlinks: bool = False,
    hidden: bool = False,
    **options: Any,
) -> SetEvaluation:
    """Compares a folder of predictions, or what a model makes, with a folder of true pictures, as sets.

    Pictures are taken as they look: over white where they are transparent, their colours as sRGB. Features of
    files are kept in the user's cache as long as neither files nor weights change.

    Args:
        target: A folder with true pictures, or statistics of their features: an .npz of this program,
            pytorch-fid or torch-fidelity, which is enough for FID.
        pred: A folder of predictions.
        model: Instead, a model that makes them of `inputs`.
        inputs: A folder with the model's inputs.
        back: A model that predictions go through first.
        numbers: Which of `NUMBERS`.
        extractor: The network; by default that of FID, if it is at hand.
        on_picture: Called after each picture.
        follow_symlinks, hidden: See `img2img.image.discover`.
        options: Of `load_model`.

    Raises:
        UsageError: The request makes no sense, a folder is not there, or the network's weights are not.
        ProcessingError: There are too few pictures for a number.
        ModelError: A model or file of statistics cannot be opened.
    """
    for name in numbers:
        if name not in NUMBERS:
            raise ConfigError(unknown("number of sets", name, NUMBERS))
    if (pred is None) == (model is None):
        raise UsageError("give either predictions or a model, not both and not none.")
    if (model is None) != (inputs is None):
        raise UsageError("a model needs its inputs, and predictions have none.")
    look = extractor or open_extractor(INCEPTION)
    predict = None if model is None else open_predictor(model, **options).predict
    if back is not None:
        predict = and_back(predict, open_predictor(back, **options)).predict
    kept: FeatureStatistics | None = None
    true: PictureFeatures | None = None
    problems: list[Problem] = []
    formats: dict[str, dict[str, int]] = {"targets": {}, "sources": {}}
    wanted = tuple(numbers)
    notes: list[str] = []
    if Path(target).suffix.lower() == ".npz":
        kept = FeatureStatistics.load(target)
        wanted = tuple(name for name in numbers if name in ("fid", "is"))
        left = [name for name in numbers if name not in wanted]
        if left:
            notes.append(f"Statistics are enough for fid alone: {', '.join(left)} left out.")
        known = kept.origin.get("weights")
        if known and known != look.origin["weights"]:
            raise ConfigError("the statistics were made with other weights than those of the network here.")
    else:
        files = find(Path(target), "target", frozenset(), frozenset(), follow_symlinks, hidden)
        true, found = _features(files.found, None, look, on_picture)
        problems += found
        formats["targets"] = _kinds(files.found)
    place = pred if inputs is None else inputs
    assert place is not None
    role = "prediction" if inputs is None else "input"
    others = find(Path(place), role, frozenset(), frozenset(), follow_symlinks, hidden)
    made, found = _features(others.found, predict, look, on_picture)
    problems += found
    formats["sources"] = _kinds(others.found)
    try:
        if kept is None:
            assert true is not None
            kept = FeatureStatistics.of(true.vectors, look.origin)
        values, deviations = set_scores(wanted, look.name, kept, true, made)
    except ValueError as error:
        raise ProcessingError(f"the sets cannot be compared: {error}.") from error
    real, fake = kept.count, len(made.vectors)
    least = min(real or fake, fake)
    if least < _FEW and "fid" in wanted:
        notes.append(
            f"Of {least} pictures the Fréchet distance is too high, by what depends on their number: compare "
            "it with values of the same number only."
        )
    if formats["targets"] and set(formats["targets"]) != set(formats["sources"]) and model is None:
        notes.append("The two sets have other file formats: what JPEG does to pictures is in the numbers.")
    return SetEvaluation(values, deviations, real, fake, look.origin, formats, kept, problems, notes)


def _features(
    files: Sequence[File], predict: Predict | None, look: Extractor, on_picture: Callable[[], None]
) -> tuple[PictureFeatures, list[Problem]]:
    """Returns the features of files, or of what is made of them, and which could not be had."""
    cache = ModelCache(user_cache() / "features")
    name = None if predict is not None else _key(files, look)
    if name is not None and (stored := _read(cache.load(name))) is not None:
        for _ in files:
            on_picture()
        return stored, []
    problems: list[Problem] = []
    parts: list[PictureFeatures] = []
    for _, same in groupby(_pictures(files, predict, problems, on_picture), key=lambda each: each[1].shape):
        batch: list[tuple[Path, Tensor]] = []
        for each in same:
            batch.append(each)
            if len(batch) == _BATCH:
                parts += _seen(batch, look, problems)
                batch = []
        parts += _seen(batch, look, problems)
    if not parts:
        raise ProcessingError("none of the pictures could be read")
    found = PictureFeatures(*(torch.cat([part[i] for part in parts]) for i in range(2)))
    if name is not None and not problems:
        stream = io.BytesIO()
        np.savez(stream, vectors=found.vectors.numpy(), logits=found.logits.numpy())
        cache.store(name, stream.getvalue())
    return found, problems


def _seen(
    batch: Sequence[tuple[Path, Tensor]], look: Extractor, problems: list[Problem]
) -> list[PictureFeatures]:
    """Returns the features of pictures of one shape; those that are too small are problems."""
    if not batch:
        return []
    try:
        return [look(torch.cat([image for _, image in batch]), UNIT)]
    except ValueError as error:
        problems += [Problem(path, str(error)) for path, _ in batch]
        return []


def _pictures(
    files: Sequence[File], predict: Predict | None, problems: list[Problem], on_picture: Callable[[], None]
) -> Iterator[tuple[Path, Tensor]]:
    """Yields pictures (1, C, H, W) in [0, 1], as they look."""
    for file in files:
        try:
            image = read_image(file.path)
            yield file.path, _tensor(image if predict is None else predict(image))
        except (ImageError, ProcessingError) as error:
            problems.append(Problem(file.path, error.reason if isinstance(error, ImageError) else str(error)))
        on_picture()


def _tensor(image: Image) -> Tensor:
    image = converted(as_rgb(over_white(image)))
    if image.channels != 3:
        raise ProcessingError(f"the network sees grey or RGB pictures, not {image.channels} channels")
    return to_tensor(image.pixels, UNIT).clamp(0, 1)


def _kinds(files: Sequence[File]) -> dict[str, int]:
    return dict(Counter(file.path.suffix.lower() for file in files))


def _key(files: Sequence[File], look: Extractor) -> str | None:
    """Returns the name of the features of files in the cache; None where one of them cannot be asked."""
    try:
        states = [file.path.stat() for file in files]
    except OSError:
        return None
    listed = [
        (str(file.path.resolve()), state.st_size, state.st_mtime_ns)
        for file, state in zip(files, states, strict=True)
    ]
    facts = json.dumps([__version__, look.name, look.origin, listed], sort_keys=True)
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _read(data: bytes | None) -> PictureFeatures | None:
    if data is None:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return PictureFeatures(torch.from_numpy(file["vectors"]), torch.from_numpy(file["logits"]))
