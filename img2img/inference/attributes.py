"""Pictures with some of their attributes set: what a model is asked for that takes them as numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from img2img.errors import ConfigError
from img2img.fields import Fields, Vector
from img2img.image import Image
from img2img.image.sheet import sheet
from img2img.inference.translator import Translator
from img2img.registry import unknown
from img2img.tables import composed

_COLUMNS = 8  # of a contact sheet
_WIDEST = 256  # pixels of a picture on it
_LONGEST = 30  # letters of a caption: they fit into so many pixels
_NARROWEST = 128


class AttributeEditor:
    """A translator as a processor that sets attributes; what is not set stays as a picture has it.

    An attribute that is set clears those that the model file says it excludes, as one colour of hair does the
    others, and one class all others.

    Args:
        translator: Of a model that takes attributes, whose names its file has.
        changes: The new values by the names, 1 for yes and 0 for no.
        known: Whether pictures come with their own attributes, as a condition of theirs. If not, those that
            are not set count as 0.
        every: Whether to make a contact sheet of each picture in place of a result: the picture, then each
            attribute set in turn, after `changes`. One that excludes nothing and is known is reversed.

    Attributes:
        conditions: What must be given beside a picture.
        assumed: The attributes that count as 0 because nobody says what they are.

    Raises:
        ConfigError: The model takes no attributes, or they have no names; there is none of a name, two of
            `changes` exclude each other, or one is not from 0 to 1.
    """

    def __init__(
        self, translator: Translator, changes: Mapping[str, float], known: bool = False, every: bool = False
    ) -> None:
        self._translator, self._known, self._every = translator, known, every
        vectors = [(n, f) for n, f in translator.conditions.items() if isinstance(f, Vector)]
        if not vectors:
            raise ConfigError("the model takes no attributes, so none can be set; StarGAN's do.")
        self._name, field = next(((n, f) for n, f in vectors if f.names), vectors[0])
        if not field.names:
            raise ConfigError(
                f"the model file does not say what the numbers of {self._name} are called; give all of them "
                "in order by `companions`."
            )
        self.names = field.names
        self._groups = translator.info.exclusive
        self._changes = {self._found(name): value for name, value in changes.items()}
        for name, value in self._changes.items():
            if not 0 <= value <= 1:
                raise ConfigError(
                    f"{name} is set to {value:g}, and attributes are 1 (yes), 0 (no) or in between; other "
                    "numbers are given beside the pictures (`companions`)."
                )
            if rival := next((r for r in self._rivals(name) if value and self._changes.get(r)), None):
                raise ConfigError(f"{name} and {rival} exclude each other; set one of them.")
        self.conditions: Fields = {
            name: one for name, one in translator.conditions.items() if known or name != self._name
        }
        cleared = {rival for name, value in self._changes.items() if value for rival in self._rivals(name)}
        settled = cleared | self._changes.keys()
        if every and any(set(group) >= set(self.names) for group in self._groups):
            settled = set(self.names)  # of classes each is alone
        self.assumed = () if known else tuple(name for name in self.names if name not in settled)

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call."""
        return self._translator.group_key(image)

    def __call__(self, images: Sequence[Image], **conditions: Any) -> list[Image]:
        """Returns one image for each of `images`; conditions as `Translator` takes them."""
        others = {name: values for name, values in conditions.items() if name != self._name}
        own = conditions[self._name] if self._known else [(0.0,) * len(self.names)] * len(images)
        wanted = [list(self._wanted(labels)) for labels in own]
        jobs = [(index, labels) for index, some in enumerate(wanted) for _, labels in some]
        made = iter(
            self._translator(
                [images[index] for index, _ in jobs],
                **{self._name: [labels for _, labels in jobs]},
                **{name: [values[index] for index, _ in jobs] for name, values in others.items()},
            )
        )
        if not self._every:
            return list(made)
        return [
            self._sheet(image, [(next(made), caption) for caption, _ in some])
            for image, some in zip(images, wanted, strict=True)
        ]

    def _wanted(self, own: Sequence[float]) -> Iterator[tuple[str, tuple[float, ...]]]:
        """Yields captions and labels of what a picture with the labels `own` is to become."""
        labels = self._set(dict(zip(self.names, own, strict=True)), self._changes)
        if not self._every:
            yield "", tuple(labels.values())
            return
        for name in self.names:
            reverse = self._known and not self._rivals(name) and labels[name] > 0.5
            value = 0.0 if reverse else 1.0
            caption = f"not {name}" if reverse else name
            yield caption[:_LONGEST], tuple(self._set(labels, {name: value}).values())

    def _set(self, labels: Mapping[str, float], changes: Mapping[str, float]) -> dict[str, float]:
        cleared = {rival: 0.0 for name, value in changes.items() if value for rival in self._rivals(name)}
        return {**labels, **cleared, **changes}

    def _rivals(self, name: str) -> list[str]:
        """Returns the attributes that exclude `name`."""
        return [other for group in self._groups if name in group for other in group if other != name]

    def _found(self, name: str) -> str:
        """Returns an attribute as the model file calls it.

        Raises:
            ConfigError: There is none; the message offers the nearest.
        """
        if name in self.names:
            return name
        plain = {composed(one): one for one in self.names}
        if composed(name) not in plain:
            raise ConfigError(unknown("attribute", name, self.names))
        return plain[composed(name)]

    def _sheet(self, image: Image, made: Sequence[tuple[Image, str]]) -> Image:
        """Returns the contact sheet of one picture."""
        cells = [(image, "source"), *made]
        rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
        found = sheet(rows, cell_width=min(max(image.width, _NARROWEST), _WIDEST))
        mark = found.metadata.replace(source_type=made[0][0].metadata.source_type)
        found = found.replace(metadata=mark)
        return found.warn(*dict.fromkeys(note for result, _ in made for note in result.warnings))
