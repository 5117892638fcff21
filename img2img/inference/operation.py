"""A trained model as one operation of a chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import PlainSerializer, PlainValidator, PrivateAttr, ValidationInfo, model_validator
from typing_extensions import Self

from img2img.conditions import require_conditions
from img2img.errors import Img2ImgError, UnknownModelError
from img2img.files import file_digest
from img2img.image import Image
from img2img.image.estimates import damages, estimates
from img2img.inference.translator import Translator, load_model
from img2img.processors import Operation, processors
from img2img.processors.values import ValueForm, parameter
from img2img.weights import find_model, is_name


@dataclass(frozen=True)
class ModelFile:
    """A model file, known by its content.

    Attributes:
        digest: SHA-256 of the file's bytes; two files are equal when this is. Empty where there is no file.
        path: Where it lies, or what was looked for.
    """

    digest: str
    path: Path = field(compare=False)

    def __str__(self) -> str:
        return f"sha256:{self.digest}"


def _model_file(value: object, info: ValidationInfo) -> ModelFile:
    if isinstance(value, ModelFile):
        return value
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("is neither the name of a model nor that of a file")
    try:
        beside = Path(value).expanduser()
        if info.context:  # a recipe names files from where it lies
            beside = info.context["folder"] / beside
        wanted = Path(value) if is_name(value) and not beside.is_file() else beside
        path = find_model(wanted)
        return ModelFile(file_digest(path), path)
    except UnknownModelError:
        return ModelFile("", wanted)  # whether that matters is decided when all parameters are known
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror or error})") from None


@processors.register("model")
class ModelOperation(Operation):
    """Run a trained model: one that enlarges, restores or translates.

    What it makes is what `upscale` and `translate` make with the same model, of pictures of any size, depth
    and kind. Models that take more than a picture are used with commands of their own.
    """

    bare: ClassVar[tuple[str, ...]] = ("model",)
    examples: ClassVar[tuple[str, ...]] = (
        "model=x2",
        "model=x4,strength:0.7",
        "model=clean,damaged,optional",
    )

    model: Annotated[
        ModelFile,
        PlainValidator(_model_file),
        PlainSerializer(str),
        ValueForm("a model file, or a name from `model list`"),
        parameter("What runs."),
    ]
    strength: Annotated[
        float, parameter("Share of the model in the result; the rest is its input, enlarged.", ge=0, le=1)
    ] = 1.0
    color_fix: Annotated[
        Literal["auto", "off", "lowfreq", "wavelet"],
        parameter(
            "Give results the colours of their inputs, which GAN models shift: by a Gaussian, or by "
            "wavelets. auto is lowfreq for models known to be of a GAN, else off."
        ),
    ] = "auto"
    mark: Annotated[
        bool, parameter("Whether results of translation and GAN models say in XMP that a network made them.")
    ] = True
    damaged: Annotated[
        bool, parameter("Only for pictures that are visibly compressed or noisy; others stay as they are.")
    ] = False
    optional: Annotated[bool, parameter("Do without it where there is no such model.")] = False

    _translator: Translator | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _open(self) -> Self:
        if self.optional and not self.model.digest:
            return self
        try:
            self._translator = load_model(
                self.model.path,
                strength=self.strength,
                color_fix=None if self.color_fix == "auto" else self.color_fix,
                mark=self.mark,
            )
            require_conditions(self._translator.conditions, ())
        except Img2ImgError as error:
            raise ValueError(f"cannot be opened: {str(error).rstrip('.')}") from None
        return self

    def apply(self, image: Image) -> Image:
        """Returns what the model makes of `image`."""
        if self._translator is None or (self.damaged and not damages(estimates(image))):
            return image
        (result,) = self._translator([image])
        return result.replace(jpeg_quality=None)  # of the file: it tells nothing of what a network made
