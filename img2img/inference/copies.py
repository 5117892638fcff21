"""Several models over one folder, each picture by those that were chosen for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from img2img.errors import ConfigError
from img2img.fields import Field, Fields, Vector
from img2img.image import Image
from img2img.inference.translator import Translator

MAKER = "maker"
"""The condition that says which model a picture is for."""


@dataclass(frozen=True)
class Maker:
    """What makes copies.

    Attributes:
        name: What the copies are called after.
        translator: The model.
        seed: Of its dropout; None for a model that makes one and the same of a picture.
    """

    name: str
    translator: Translator
    seed: int | None = None

    @property
    def identity(self) -> tuple[float, ...]:
        """`MAKER` for it: its weights and its seed, in numbers that floats hold exactly."""
        digest = bytes.fromhex(self.translator.fingerprint)
        words = [float(int.from_bytes(digest[at : at + 6], "big")) for at in (0, 6)]
        return (*words, -1.0 if self.seed is None else float(self.seed))


class Makers:
    """A batch processor over several models; a condition says which of them a picture is for.

    Args:
        makers: The models, all of which take the same beside a picture.

    Raises:
        ConfigError: One changes the size of pictures, makes label maps, or takes other conditions.
    """

    def __init__(self, makers: Sequence[Maker]) -> None:
        self.makers = {maker.identity: maker for maker in makers}
        first = makers[0]
        for maker in makers:
            translator = maker.translator
            if translator.scale != 1:
                raise ConfigError(
                    f"the model {maker.name} makes pictures {translator.scale:g} times as large, and "
                    "annotations of the originals would not fit them; name models that leave the geometry "
                    "as it is."
                )
            if translator.info.labels is not None:
                raise ConfigError(
                    f"the model {maker.name} makes label maps, which are no copies of pictures; name "
                    "models that make pictures."
                )
            if translator.conditions.keys() != first.translator.conditions.keys():
                raise ConfigError(
                    f"the models {first.name} and {maker.name} take different things beside a picture; "
                    "expand with one after the other."
                )

    @property
    def conditions(self) -> Fields:
        """What the models take beside a picture, and which of them it is for."""
        own: dict[str, Field] = dict(next(iter(self.makers.values())).translator.conditions)
        return own | {MAKER: Vector(size=3)}

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call of any of the models."""
        keys = tuple(maker.translator.group_key(image) for maker in self.makers.values())
        return None if None in keys else keys

    def __call__(self, images: Sequence[Image], **conditions: Any) -> list[Image]:
        """Returns what the models that were chosen make of images.

        Args:
            images: Any.
            **conditions: `MAKER`, and what the models take, a list of each.
        """
        asked = [tuple(one) for one in conditions.pop(MAKER)]
        results: dict[int, Image] = {}
        for identity in dict.fromkeys(asked):
            places = [place for place, one in enumerate(asked) if one == identity]
            given: Mapping[str, list[Any]] = {
                name: [values[place] for place in places] for name, values in conditions.items()
            }
            maker = self.makers[identity]
            made = maker.translator([images[place] for place in places], **given)
            results |= {
                place: image.replace(made_by=maker.name) for place, image in zip(places, made, strict=True)
            }
        return [results[place] for place in range(len(images))]
