"""Further conditions of methods that learn pairs: pictures, maps and numbers beside the source."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from img2img.errors import ConfigError
from img2img.fields import Field as FieldKind
from img2img.fields import Fields, Ids, Mask, Picture, Vector, in_words
from img2img.keys import closest
from img2img.methods.base import Column, MethodConfig, methods
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.models import Generator, generators
from img2img.models.joining import channels_of, in_one_line, join
from img2img.types import UNIT, Batch

ConditionKind = Literal["picture", "mask", "ids", "vector"]


class ConditionsConfig(MethodConfig):
    """The key for conditions."""

    conditions: dict[str, ConditionKind] = Field(
        {},
        description="What the generator and the discriminator see beside the source, by name with its kind "
        "(picture, mask, ids, vector): {hint: picture, attributes: vector}. Fields that data.fields places "
        "are added. The model file names them, and translate takes them beside each picture.",
    )


def conditions_of(config: MethodConfig) -> dict[str, FieldKind]:
    """Returns the conditions that a configuration names, as fields of a sample."""
    assert isinstance(config, ConditionsConfig)
    kinds: dict[str, FieldKind] = {
        "picture": Picture(like="source", channels=0),
        "mask": Mask(like="source"),
        "ids": Ids(like="source"),
        "vector": Vector(),
    }
    return {name: kinds[kind] for name, kind in config.conditions.items()}


def told(fields: Fields) -> tuple[list[str], list[str]]:
    """Returns a note that names the conditions of a run, and warnings about names that may be misspelt."""
    if not fields:
        return [], []
    known = {name for method in methods for name in methods[method].fields} | {"ids", "mask"}
    near = {name: closest(name, known) for name in fields if name not in known}
    named = ", ".join(f"{name} ({in_words(field)})" for name, field in fields.items())
    return [f"Conditions beside the source: {named}."], [
        f"there is a condition {name!r}, {in_words(fields[name])}; did you mean {meant!r}?"
        for name, meant in near.items()
        if meant and not name.startswith(meant)
    ]


def conditioned_generator(
    config: GeneratorConfig,
    init: InitConfig,
    fields: Fields,
    channels: Mapping[str, int],
) -> Generator:
    """Returns a generator from source to target that takes further conditions.

    Args:
        config, init: Of the generator.
        fields: The conditions.
        channels: Of all fields.

    Raises:
        ConfigError: The architecture takes no conditions, or the arguments contradict the data.
    """
    sides = {"in_channels": channels["source"], "out_channels": channels["target"], "scale": 1}
    if fields and "further" not in inspect.signature(generators[config.name]).parameters:
        able = [n for n in generators if "further" in inspect.signature(generators[n]).parameters]
        raise ConfigError(
            f"the generator {config.name} takes no further conditions, and method.conditions names "
            f"{', '.join(fields)}; choose {' or '.join(able)}."
        )
    if not fields:
        return make_generator(config, init, **sides)
    return make_generator(config, init, **sides, further=in_one_line(fields, channels))


def given(batch: Batch, fields: Fields) -> dict[str, Tensor]:
    """Returns what a generator takes of a batch beside the source."""
    return {name: batch[name] for name in fields}


def judged_channels(generator: Generator, source: int) -> int:
    """Returns how many channels the source and the conditions have for a discriminator."""
    return source + channels_of(generator.conditions)


def judged(batch: Batch, generator: Generator) -> Tensor:
    """Returns the source with its conditions as channels, as a discriminator sees them."""
    if not generator.conditions:
        return batch.source
    return join(batch.source, generator.conditions, batch.fields, generator.input_range)


def condition_columns(batch: Batch, generator: Generator) -> dict[str, Column]:
    """Returns the columns of conditions that people can look at: pictures of 1 or 3 channels, and masks."""
    found = {}
    for name, field in generator.conditions.items():
        if isinstance(field, Mask):
            found[name] = Column(batch[name], UNIT, "input")
        elif isinstance(field, Picture) and batch[name].shape[1] in (1, 3):
            found[name] = Column(batch[name], generator.input_range, "input")
    return found
