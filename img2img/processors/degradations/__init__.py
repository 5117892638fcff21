"""Degradations: what spoils pictures, with random parameters, for training and for test sets.

The parts (`kernels`, `noise`, `codec`, `film`) are functions of arrays; `tasks` and `second_order` draw their
parameters. Training reaches them through `img2img.data.degrade`, folders through the operation `degrade`.
"""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import BeforeValidator, Field

from img2img.processors.degradations.base import Degradation, named_stream
from img2img.processors.degradations.second_order import Real, SecondOrder, sharpened
from img2img.processors.degradations.tasks import BlurTask, JpegTask, MixedTask, NoiseTask, OldTask
from img2img.registry import unknown

DEGRADATIONS: dict[str, type[Degradation]] = {
    str(cls.model_fields["kind"].default): cls
    for cls in (NoiseTask, JpegTask, BlurTask, MixedTask, OldTask, SecondOrder, Real)
}


def _by_name(value: object) -> object:
    if isinstance(value, str):
        if value not in DEGRADATIONS:
            raise ValueError(unknown("degradation", value, DEGRADATIONS).rstrip("."))
        return DEGRADATIONS[value].model_validate({})
    return value


AnyDegradation = Annotated[
    NoiseTask | JpegTask | BlurTask | MixedTask | OldTask | SecondOrder | Real,
    Field(discriminator="kind"),
]
NamedDegradation = Annotated[AnyDegradation, BeforeValidator(_by_name)]
"""A degradation by its name, or as a mapping with `kind` and parameters."""
assert set(get_args(get_args(AnyDegradation)[0])) == set(DEGRADATIONS.values())

__all__ = ["DEGRADATIONS", "Degradation", "NamedDegradation", "named_stream", "sharpened"]
