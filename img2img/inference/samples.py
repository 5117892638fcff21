"""Several results of one picture, by models that have a random input."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from img2img.fields import Field, Fields, Vector
from img2img.image import Image

SEED = "seed"
"""The condition that says which result of a picture is wanted."""


def named(seed: int) -> str:
    """Returns what results of a seed say made them, see `Image.made_by`."""
    return f"seed {seed}"


class Samples:
    """A batch processor whose results depend on a seed, which is a condition of each picture.

    Args:
        process: A batch processor, with an attribute `conditions`.
        reseed: Gives its model a seed.
    """

    def __init__(self, process: Any, reseed: Callable[[int], None]) -> None:
        self._process, self._reseed = process, reseed
        self._seed: int | None = None

    @property
    def conditions(self) -> Fields:
        """What is taken beside a picture, by name."""
        own: Mapping[str, Field] = self._process.conditions
        return {**own, SEED: Vector(size=1)}

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call; None for one that stays alone."""
        key: Hashable = self._process.group_key(image)
        return key

    def __call__(self, images: Sequence[Image], **conditions: Sequence[Any]) -> list[Image]:
        """Returns one result for each of `images`, in order, with the seed in `made_by`.

        Args:
            images: Any.
            **conditions: `SEED`, whole numbers in rows of one, and what the processor takes, a list of each.
        """
        seeds = [int(row[0]) for row in conditions.pop(SEED)]
        done: dict[int, Image] = {}
        for seed in dict.fromkeys(seeds):
            places = [place for place, one in enumerate(seeds) if one == seed]
            given = {name: [values[place] for place in places] for name, values in conditions.items()}
            if seed != self._seed:
                self._reseed(seed)
                self._seed = seed
            made = self._process([images[place] for place in places], **given)
            done |= {
                place: image.replace(made_by=named(seed)) for place, image in zip(places, made, strict=True)
            }
        return [done[place] for place in range(len(images))]
