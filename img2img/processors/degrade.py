"""Test sets: pictures spoiled as training spoils them, each by random numbers that belong to its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import PlainSerializer, PlainValidator, ValidationError, model_validator

from img2img.errors import ConfigError, ProcessingError
from img2img.image.alpha import bleed
from img2img.image.image import Image
from img2img.image.numbers import require_sound
from img2img.image.resize import resize
from img2img.processors.base import Operation, processors
from img2img.processors.degradations import DEGRADATIONS, Degradation, named_stream
from img2img.processors.degradations.codec import BLOCK, LONGEST
from img2img.processors.values import ValueForm, parameter
from img2img.registry import unknown


def _made(name: str, given: Mapping[str, Any]) -> Degradation:
    """Returns a degradation with some parameters.

    Raises:
        ConfigError: There is no such degradation or parameter, or a value cannot be.
    """
    if name not in DEGRADATIONS:
        raise ConfigError(unknown("degradation", name, DEGRADATIONS))
    cls = DEGRADATIONS[name]
    known = set(cls.model_fields) - {"kind", "sharpen"}  # sharpened are targets, and here are none
    for key in given:
        if key not in known:
            raise ConfigError(unknown(f"parameter of {name}", key, {*known, "scale", "seed"}))
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        detail = error.errors()[0]
        reason = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
        found = f"{name}: {detail['loc'][0]} is {detail['input']!r}"
        raise ConfigError(f"{found}; {reason[0].lower()}{reason[1:]}.") from None


def _damage(value: object) -> Degradation:
    """Reads the name of a degradation, or a mapping with its name and parameters."""
    if isinstance(value, Degradation):
        return value
    given = dict(value) if isinstance(value, Mapping) else {"kind": value}
    return _made(str(given.pop("kind", "")), given)


Damage = Annotated[
    Degradation,
    PlainValidator(_damage),
    PlainSerializer(lambda damage: damage.model_dump(mode="json", exclude={"sharpen"})),
    ValueForm(f"one of {', '.join(sorted(DEGRADATIONS))}"),
]


@processors.register("degrade")
class Degrade(Operation):
    """Spoils pictures as a training with `data.degradation` does: noise, JPEG, blur, age, or chains of them.

    What is drawn at random depends on `seed` and on the name of the file alone: its path below the input
    folder, without extension. The same command makes the same pictures on every machine, and validation in a
    training sees what this makes. Every parameter of the degradation may be given beside its name; a range
    is written 10-30, and one number fixes it. `img2img config schema` and docs/restoration.md list them:
    denoise (sigma, grey, signal), dejpeg (quality, sampling, shifted, twice), deblur (blurs, radius, length,
    bend, noise), mixed, old, second_order, real. Alpha is not touched, except that a scale reduces it, too.
    Values are limited to black and white; where a degradation compresses, deeper pictures keep their depth
    with 256 levels.
    """

    bare: ClassVar = ("damage", "scale")
    examples: ClassVar = (
        "degrade=mixed",
        "degrade=dejpeg,quality:10,sampling:4:2:0,shifted:0,twice:0",
        "degrade=denoise,sigma:25,grey:0,signal:0",
        "degrade=second_order,scale:4,seed:1",
    )

    damage: Annotated[Damage, parameter("What spoils the picture.")]
    scale: Annotated[
        int,
        parameter("How many times smaller the result is; rows and columns too many are cut.", ge=1, le=16),
    ] = 1
    seed: Annotated[int, parameter("Another number is other random numbers.", ge=0, le=2**31)] = 0

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, values: Any) -> Any:
        """Gives the parameters that are not its own to the degradation."""
        damage = values.get("damage")
        name = damage.kind if isinstance(damage, Degradation) else damage
        given = {key: value for key, value in values.items() if key not in cls.model_fields}
        if not given or not isinstance(name, str):
            return values
        return {k: v for k, v in values.items() if k not in given} | {"damage": _made(name, given)}

    def apply(self, image: Image) -> Image:
        """Returns the spoiled picture.

        Raises:
            ProcessingError: It is smaller than the scale, too long for JPEG, or not finite everywhere.
        """
        height, width = (side - side % self.scale for side in (image.height, image.width))
        if min(height, width) == 0:
            raise ProcessingError(
                f"the picture has {image.width} x {image.height} pixels, too few for a scale of {self.scale}."
            )
        if max(height, width) + BLOCK > LONGEST:
            raise ProcessingError(
                f"JPEG cannot hold {image.width} x {image.height} pixels; its longest side is {LONGEST}. "
                "Resize the picture first."
            )
        seen = bleed(image).pixels[:height, :width]
        require_sound(seen)
        pixels = self.damage(seen, named_stream(image.name, self.seed), self.scale)
        if self.scale == 1:
            return image.replace(pixels=pixels)
        alpha = image.alpha
        if alpha is not None:
            alpha = resize(alpha[:height, :width, None], *pixels.shape[:2])[:, :, 0]
            alpha = np.clip(alpha, 0, image.white).astype(alpha.dtype)
        metadata = image.metadata.resized(1 / self.scale, 1 / self.scale)
        return image.replace(pixels=pixels, alpha=alpha, metadata=metadata, jpeg_quality=None)
