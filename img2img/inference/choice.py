"""Models that are chosen for each picture, by what is found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from img2img.fields import Fields
from img2img.image import Image
from img2img.image.image import UNTOUCHED
from img2img.inference.translator import Translator

Choose = Callable[[Image], str]


class Chooser:
    """A batch processor that does with each picture what is chosen for it.

    Results say in `made_by` what that was. A picture that is left UNTOUCHED is returned as it came.

    Args:
        ways: What may be done, by name: models that follow each other. The first of them gets what is taken
            beside the picture.
        choose: Returns the name of one of `ways`, or UNTOUCHED; always the same for the same picture.

    Raises:
        ValueError: One of `ways` is called UNTOUCHED, whose results would pass for copies.
    """

    def __init__(self, ways: Mapping[str, Sequence[Translator]], choose: Choose) -> None:
        if UNTOUCHED in ways:
            raise ValueError(f"{UNTOUCHED!r} is what pictures are called that are left alone, and no way")
        self._ways: dict[str, Sequence[Translator]] = {**ways, UNTOUCHED: ()}
        self._choose = choose

    @property
    def conditions(self) -> Fields:
        """What is taken beside a picture, by name."""
        return {name: field for way in self._ways.values() for name, field in _taken(way).items()}

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call; None for one that stays alone."""
        way = self._choose(image)
        keys = [model.group_key(image) for model in self._ways[way]]
        return None if None in keys else (way, *keys)

    def settled(self, images: Sequence[Image]) -> Chooser:
        """Returns what does with all pictures what is chosen for most of `images`, frames of one video."""
        chosen = Counter(self._choose(image) for image in images).most_common(1)[0][0]
        ways = {name: way for name, way in self._ways.items() if name != UNTOUCHED}
        return Chooser(ways, lambda image: chosen)

    def __call__(self, images: Sequence[Image], **conditions: Sequence[Any]) -> list[Image]:
        """Returns what was made of each of `images`, in order; raises what the models raise."""
        places: dict[str, list[int]] = {}
        for place, image in enumerate(images):
            places.setdefault(self._choose(image), []).append(place)
        done: dict[int, Image] = {}
        for name, own in places.items():
            way, made = self._ways[name], [images[place] for place in own]
            given = {key: [conditions[key][place] for place in own] for key in _taken(way)}
            for model in way:
                made, given = model(made, **given), {}
            done |= {place: image.replace(made_by=name) for place, image in zip(own, made, strict=True)}
        return [done[place] for place in range(len(images))]


def _taken(way: Sequence[Translator]) -> Fields:
    return way[0].conditions if way else {}
