"""Folder against folder, model against folder: numbers for each picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from os import PathLike
from typing import Any, NamedTuple

from img2img.errors import ConfigError, ImageError, ProcessingError, UsageError, display_path
from img2img.evaluation.comparison import Comparison, PathName, plan
from img2img.evaluation.contest import Contest
from img2img.evaluation.label_sets import labels_protocol
from img2img.evaluation.labels import LabelsProtocol
from img2img.evaluation.predictor import Model, Predict, and_back, open_predictor, require_labels
from img2img.evaluation.protocol import (
    EvaluationProtocol,
    Grey,
    PlainProtocol,
    Rounding,
    SuperResolutionProtocol,
    kind_of,
)
from img2img.evaluation.result import Evaluation, Problem, Score
from img2img.image import Image, read_image
from img2img.image.alpha import over_white
from img2img.image.conversion import converted, meaning
from img2img.image.matching import File
from img2img.metrics import one_thread
from img2img.registry import unknown
from img2img.types import ValueRange

PROTOCOLS = ("sr", "plain", "translation", "labels")
_AT_ONCE = 2  # pairs of files: more would need more memory where pictures are large
_CHOICES = ("y", "grey", "rgb", "numbers", "extra")  # of protocols


def choose_protocol(
    name: str,
    scale: int | None = None,
    y: Rounding = "rounded",
    grey: Grey = "raw",
    rgb: bool = False,
    numbers: ValueRange | None = None,
    extra: Sequence[str] = (),
) -> EvaluationProtocol:
    """Returns a protocol by its name: "sr", or "plain" alias "translation"; `labels_protocol` has the other.

    Raises:
        ConfigError: There is none of this name, or sr has no scale.
    """
    if name in ("plain", "translation"):
        return PlainProtocol(numbers, tuple(extra))
    if name != "sr":
        raise ConfigError(unknown("protocol", name, PROTOCOLS))
    if scale is None:
        raise ConfigError("the sr protocol needs the scale, for example 4; other comparisons are plain.")
    return SuperResolutionProtocol(scale, y, grey, rgb, numbers, tuple(extra))


def measure(
    work: Comparison, protocol: EvaluationProtocol, predict: Predict | None = None
) -> Iterator[Score | Problem]:
    """Yields the numbers of each pair, in order, or what is wrong with it.

    Pictures are compared as they look: laid over white where they are transparent, and with the colours of
    the prediction brought into the space of its target. Label maps are compared as they are stored.

    Args:
        work: What `plan` found.
        protocol: The protocol.
        predict: Makes predictions of inputs; None where the files are predictions.
    """

    def one(pair: tuple[File, File | None]) -> Score | Problem:
        return _measured(*pair, protocol, predict)

    if predict is not None:  # a network has all cores to itself
        yield from map(one, work.pairs)
        return
    with one_thread(), ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting: deque[Future[Score | Problem]] = deque()
        try:
            for pair in work.pairs:
                waiting.append(pool.submit(one, pair))
                if len(waiting) > _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _measured(
    target: File, other: File | None, protocol: EvaluationProtocol, predict: Predict | None
) -> Score | Problem:
    """Returns the numbers of one pair, or what is wrong with it."""
    path = target.path
    try:
        picture = read_image(path)
        whole = picture if protocol.names else over_white(picture)
        truth = protocol.truth(protocol.levels(whole))
        if other is not None:
            path = other.path
            source = read_image(path)
        else:
            assert isinstance(protocol, SuperResolutionProtocol)
            source = protocol.low_resolution(truth)
        made = source if predict is None else predict(source)
        flat = made if protocol.names else over_white(made)
        prediction = flat if protocol.names else converted(flat, meaning(whole), "the prediction")
        recoloured = prediction.pixels is not flat.pixels
        prediction = protocol.levels(prediction)
        if (prediction.height, prediction.width) == (picture.height, picture.width):
            prediction = protocol.truth(prediction)
        confusion, notes = None, prediction.warnings
        if isinstance(protocol, LabelsProtocol):
            confusion = protocol.confusion(prediction, truth)
            values, notes = confusion.scores(), (*notes, *confusion.notes)
        else:
            said: list[str] = []
            with one_thread():
                values = protocol.measure(prediction, truth, said.append)
            notes = (*notes, *said)
    except (ImageError, ProcessingError) as error:
        return Problem(path, error.reason if isinstance(error, ImageError) else str(error))
    return Score(
        target.name.as_posix(),
        target.path,
        None if other is None else other.path,
        values,
        kind_of(truth),
        tuple(dict.fromkeys((*truth.warnings, *source.warnings, *notes))),
        (prediction, truth),
        not (_opaque(picture) and _opaque(made)),
        recoloured,
        confusion,
    )


def _opaque(image: Image) -> bool:
    return image.alpha is None or bool(image.alpha.min() >= image.white)


class Job(NamedTuple):
    """What is measured, when all of it is known and nothing was opened but models.

    Attributes:
        protocol: How.
        work: What there is to compare.
        predict: Makes predictions of inputs; None where the files are predictions.
    """

    protocol: EvaluationProtocol
    work: Comparison
    predict: Predict | None


def prepare(
    target: PathName,
    *,
    pred: PathName | None = None,
    model: Model | None = None,
    inputs: PathName | None = None,
    protocol: str | EvaluationProtocol = "sr",
    scale: int | None = None,
    back: Model | None = None,
    **options: Any,
) -> Job:
    """Opens models and finds out what is compared with what; arguments and errors are those of `evaluate`."""
    if (pred is None) == (model is None):
        raise UsageError("give either predictions or a model, not both and not none.")
    if pred is not None and inputs is not None:
        raise UsageError("inputs are for a model; predictions are compared as they are.")
    choices = {name: options.pop(name) for name in _CHOICES if name in options}
    classes = {name: options.pop(name) for name in ("palette", "ignore") if name in options}
    if classes and not (protocol == "labels" or isinstance(protocol, LabelsProtocol)):
        raise UsageError(f"{' and '.join(classes)} belong to the protocol labels.")
    finding = {name: options.pop(name) for name in ("follow_symlinks", "hidden") if name in options}
    predict = trained = None
    if scale is None and not isinstance(protocol, str):
        scale = getattr(protocol, "scale", None)
    if model is not None:
        predict, own, numbers, trained = open_predictor(model, scale, **options)
        scale = own if scale is None else scale
        choices["numbers"] = choices.get("numbers") or numbers
    if back is not None:
        predict, _, numbers, trained = and_back(predict, open_predictor(back, **options))
        choices["numbers"] = choices.get("numbers") or numbers
    if protocol == "labels":
        if choices.pop("extra", ()):
            raise UsageError("further metrics are of pictures; label maps have their own scores.")
        require_labels(model if back is None else back, trained, classes.get("palette"))
        work = plan(PlainProtocol(), target, pred, inputs, **finding)
        protocol = labels_protocol([pair[0] for pair in work.pairs], trained, **classes)
    elif isinstance(protocol, str):
        protocol = choose_protocol(protocol, scale, **choices)
    assert isinstance(protocol, EvaluationProtocol)
    return Job(protocol, plan(protocol, target, pred, inputs, **finding), predict)


def evaluate(
    target: PathName,
    *,
    protocol: str | EvaluationProtocol = "sr",
    on_result: Callable[[Score | Problem], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Compares predictions, or what a model makes, with a folder of targets.

    Args:
        target: A folder or file with the truth.
        protocol: "sr", "plain" or "translation" (the same as plain), "labels", or one that was made.
        on_result: Called with each result as it comes; only here scores come with their pictures.
        options: `pred`, a folder or file with predictions; or `model`: its name, its path, an open one, or
            "bicubic"; `inputs`, a folder or file with the model's inputs, without which the sr protocol makes
            them; `scale` for sr, by default that of the model; `back`, a model that predictions go through
            before they are compared: one from pictures to where they came from, or to label maps, for content
            consistency; `extra`, names of further metrics, see `img2img.metrics`; `numbers` of
            `EvaluationProtocol`, by default those of the model; `y`, `grey` and `rgb` of
            `SuperResolutionProtocol`; `palette` and `ignore` of `labels_protocol`; `follow_symlinks` and
            `hidden` of `img2img.image.discover`; others are those of `load_model`.

    Returns:
        The numbers, their means, and what could not be measured; that raises nothing.

    Raises:
        UsageError: The request makes no sense, or a folder or model is not there; nothing was measured.
        ModelError: The model cannot be opened.
    """
    protocol, work, predict = prepare(target, protocol=protocol, **options)
    evaluation = Evaluation(protocol, problems=list(work.problems), notes=list(work.notes))
    for result in measure(work, protocol, predict):
        evaluation.add(result)
        if on_result is not None:
            on_result(result)
    return evaluation


def compare(
    target: PathName,
    *,
    models: Sequence[Model] = (),
    preds: Sequence[PathName] = (),
    protocol: str | EvaluationProtocol = "sr",
    **options: Any,
) -> Contest:
    """Measures several models and folders of predictions against the same targets.

        contest = compare("Set5", models=["bicubic", "x4"], scale=4)
        contest.differences["x4"]["psnr_y"].interval

    Args:
        target: A folder or file with the truth.
        models: Names or paths of models, open ones, "bicubic".
        preds: Folders or files with predictions. The first of all, models before them, is what the others are
            held against.
        protocol, options: See `evaluate`; all are measured under the protocol of the first.

    Raises:
        ConfigError: There are less than two; nothing was measured.
        UsageError, ModelError: See `evaluate`.
    """
    single = any(isinstance(each, str | PathLike) for each in (models, preds))
    if single or not {"model", "pred"}.isdisjoint(options):
        raise ConfigError("a comparison takes lists, `models` and `preds`, of two or more together.")
    if len(models) + len(preds) < 2:
        raise ConfigError("a comparison needs two models or folders, or more.")
    found: dict[str, Evaluation] = {}
    inputs = options.pop("inputs", None)
    for name, model, pred in candidates(models, preds):
        given: dict[str, Any] = {"pred": pred} if model is None else {"model": model, "inputs": inputs}
        found[name] = evaluate(target, protocol=protocol, **given, **options)
        protocol = found[name].protocol
    return Contest(found)


def candidates(
    models: Sequence[Model], preds: Sequence[PathName]
) -> list[tuple[str, Model | None, PathName | None]]:
    """Returns what is measured, each with a name of its own: models, then folders."""
    entries: list[tuple[str, Model | None, PathName | None]] = [
        *(
            (display_path(each) if isinstance(each, str | PathLike) else "model", each, None)
            for each in models
        ),
        *((display_path(each), None, each) for each in preds),
    ]
    names: dict[str, int] = {}
    found = []
    for name, model, pred in entries:
        names[name] = names.get(name, 0) + 1
        found.append((name if names[name] == 1 else f"{name} ({names[name]})", model, pred))
    return found
