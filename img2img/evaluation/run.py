"""Folder against folder, model against folder: numbers for each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from img2img.errors import ConfigError, ImageError, ProcessingError, UsageError
from img2img.evaluation.label_sets import labels_protocol
from img2img.evaluation.labels import LabelsProtocol
from img2img.evaluation.matching import HIGH, LOW, File, find, match
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
from img2img.image.palette import LabelSet
from img2img.image.resize import resize
from img2img.inference import Translator, load_model
from img2img.metrics import one_thread
from img2img.registry import unknown
from img2img.types import ValueRange

BICUBIC = "bicubic"
"""The name of the predictor that needs no model: MATLAB's bicubic enlargement."""

PROTOCOLS = ("sr", "plain", "translation", "labels")
PathName = str | PathLike[str]
Model = str | PathLike[str] | Translator
Predict = Callable[[Image], Image]
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


def choose_protocol(
    name: str,
    scale: int | None = None,
    y: Rounding = "rounded",
    grey: Grey = "raw",
    rgb: bool = False,
    numbers: ValueRange | None = None,
) -> EvaluationProtocol:
    """Returns a protocol by its name: "sr", or "plain" alias "translation"; `labels_protocol` has the other.

    Raises:
        ConfigError: There is none of this name, or sr has no scale.
    """
    if name in ("plain", "translation"):
        return PlainProtocol(numbers)
    if name != "sr":
        raise ConfigError(unknown("protocol", name, PROTOCOLS))
    if scale is None:
        raise ConfigError("the sr protocol needs the scale, for example 4; other comparisons are plain.")
    return SuperResolutionProtocol(scale, y, grey, rgb, numbers)


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
    for target, other in work.pairs:
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
                with one_thread():
                    values = protocol.measure(prediction, truth)
        except (ImageError, ProcessingError) as error:
            yield Problem(path, error.reason if isinstance(error, ImageError) else str(error))
            continue
        yield Score(
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


class Predictor(NamedTuple):
    """What makes predictions.

    Attributes:
        predict: A prediction of an input.
        scale: How many times larger predictions are than their inputs.
        numbers: Black and white as the model was trained with; None where they are those of the depth.
        labels: The classes of the label maps that it makes; None where it makes pictures.
    """

    predict: Predict
    scale: int
    numbers: ValueRange | None = None
    labels: LabelSet | None = None


def open_predictor(model: Model, scale: int | None = None, **options: Any) -> Predictor:
    """Opens what makes predictions.

    Args:
        model: "bicubic", a name or path of a model, or a model that is open.
        scale: The factor; None takes the model's own.
        options: Of `load_model`.

    Raises:
        ConfigError: There is no whole factor, or the model takes more than a picture.
        ModelError: The model cannot be opened.
    """
    if model == BICUBIC:
        if scale is None:
            raise ConfigError("bicubic enlarges by any factor; give the scale.")
        return Predictor(bicubic(scale), scale)
    translator = model if isinstance(model, Translator) else load_model(model, scale=scale, **options)
    if translator.conditions:
        raise ConfigError(
            f"the model takes more than a picture ({', '.join(translator.conditions)}), and evaluation "
            "gives it a picture alone; make the pictures with it first, and compare these as predictions."
        )
    own = translator.scale
    if own != int(own):
        raise ConfigError(f"the model enlarges by {own:g}; evaluation needs a whole factor.")

    def predict(image: Image) -> Image:
        (prediction,) = translator([image])
        return prediction

    return Predictor(predict, int(own), translator.info.target_range, translator.info.labels)


def require_labels(model: object, trained: LabelSet | None, palette: object) -> None:
    """Makes sure that predictions can be read as label maps.

    Raises:
        ConfigError: The model makes pictures, and nothing says which colours stand for classes.
    """
    if model is not None and trained is None and palette is None:
        raise ConfigError(
            "the model makes pictures and no label maps; name the colours of the classes (`palette`), of "
            "which the nearest is taken, or measure it by the protocol plain."
        )


def bicubic(scale: int) -> Predict:
    """Returns what enlarges a picture `scale` times by MATLAB's bicubic, laid over white."""

    def predict(image: Image) -> Image:
        image = over_white(image)
        return image.replace(pixels=resize(image.pixels, image.height * scale, image.width * scale))

    return predict


def evaluate(
    target: PathName,
    *,
    pred: PathName | None = None,
    model: Model | None = None,
    inputs: PathName | None = None,
    protocol: str | EvaluationProtocol = "sr",
    scale: int | None = None,
    on_result: Callable[[Score | Problem], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Compares predictions, or what a model makes, with a folder of targets.

    Args:
        target: A folder or file with the truth.
        pred: A folder or file with predictions.
        model: Instead, a model: its name, its path, an open one, or "bicubic".
        inputs: A folder or file with the model's inputs. Without it the sr protocol makes them.
        protocol: "sr", "plain" or "translation" (the same as plain), "labels", or one that was made.
        scale: For sr; None takes the factor of the model.
        on_result: Called with each result as it comes; only here scores come with their pictures.
        options: `numbers` of `EvaluationProtocol`, by default those of the model; `y`, `grey` and `rgb` of
            `SuperResolutionProtocol`; `palette` and `ignore` of `labels_protocol`; `follow_symlinks` and
            `hidden` of `img2img.image.discover`; others are those of `load_model`.

    Returns:
        The numbers, their means, and what could not be measured; that raises nothing.

    Raises:
        UsageError: The request makes no sense, or a folder or model is not there; nothing was measured.
        ModelError: The model cannot be opened.
    """
    if (pred is None) == (model is None):
        raise UsageError("give either predictions or a model, not both and not none.")
    if pred is not None and inputs is not None:
        raise UsageError("inputs are for a model; predictions are compared as they are.")
    choices = {name: options.pop(name) for name in ("y", "grey", "rgb", "numbers") if name in options}
    classes = {name: options.pop(name) for name in ("palette", "ignore") if name in options}
    if classes and protocol != "labels":
        raise UsageError(f"{' and '.join(classes)} belong to the protocol labels.")
    finding = {name: options.pop(name) for name in ("follow_symlinks", "hidden") if name in options}
    predict = trained = None
    if scale is None and not isinstance(protocol, str):
        scale = getattr(protocol, "scale", None)
    if model is not None:
        predict, own, numbers, trained = open_predictor(model, scale, **options)
        scale = own if scale is None else scale
        choices["numbers"] = choices.get("numbers") or numbers
    if protocol == "labels":
        require_labels(model, trained, classes.get("palette"))
        work = plan(PlainProtocol(), target, pred, inputs, **finding)
        protocol = labels_protocol([pair[0] for pair in work.pairs], trained, **classes)
    elif isinstance(protocol, str):
        protocol = choose_protocol(protocol, scale, **choices)
    assert isinstance(protocol, EvaluationProtocol)
    work = plan(protocol, target, pred, inputs, **finding)
    evaluation = Evaluation(protocol, problems=list(work.problems), notes=list(work.notes))
    for result in measure(work, protocol, predict):
        evaluation.add(result)
        if on_result is not None:
            on_result(result)
    return evaluation
