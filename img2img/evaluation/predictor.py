"""What makes predictions: a model, two in a row, or plain enlargement."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, NamedTuple

from img2img.errors import ConfigError
from img2img.image import Image
from img2img.image.alpha import over_white
from img2img.image.palette import LabelSet
from img2img.image.resize import resize
from img2img.inference import Translator, load_model
from img2img.types import ValueRange

BICUBIC = "bicubic"
"""The name of the predictor that needs no model: MATLAB's bicubic enlargement."""

Model = str | PathLike[str] | Translator
Predict = Callable[[Image], Image]


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


def and_back(predict: Predict | None, back: Predictor) -> Predictor:
    """Returns what goes on to a second model, from predictions or their files."""
    if predict is None:
        return back

    def both(image: Image) -> Image:
        return back.predict(predict(image))

    return back._replace(predict=both)
