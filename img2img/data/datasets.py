"""Samples by (epoch, index): arrays with what is to be cut from them, still unscaled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2img.data.augment import Augmenter
from img2img.data.cache import Cache, entry_name
from img2img.data.config import Size
from img2img.data.masks import IrregularMasks
from img2img.data.pictures import Recipe, halves
from img2img.data.record import Record
from img2img.data.sampler import AUGMENT, NUMBERS, PARTNER, WINDOW, random_stream
from img2img.errors import ImageError, ImageReadError, ProcessingError, display_path
from img2img.fields import Field, Fields, Vector
from img2img.image import Image, read_image
from img2img.image.image import Pixels

Window = tuple[int, int, int, int]  # top, left, height, width
_MOST_IN_A_ROW = 100


@dataclass(frozen=True)
class Part:
    """One field of a sample.

    Attributes:
        pixels: (H, W, C), the whole picture as it is cached or augmented; (K,) float32 for a vector.
        window: What the network sees of it: (top, left, height, width); None for all.
        turn: How that is mirrored and turned: 1 columns, 2 rows, 4 both axes exchanged (last), added up.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
    window: Window | None = None
    turn: int = 0

    def cut(self) -> Part:
        """Returns it with the window already taken."""
        if self.window is None:
            return self
        top, left, height, width = self.window
        return Part(self.pixels[top : top + height, left : left + width], None, self.turn)


@dataclass(frozen=True)
class Sample:
    """What a worker hands to the loader.

    Attributes:
        fields: The parts by the names of the fields.
        key: Its name.
        problems: Sentences about files that could not be read and were passed over.
    """

    fields: Mapping[str, Part]
    key: str
    problems: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Part:
        return self.fields[name]

    def __getattr__(self, name: str) -> Part:
        fields: Mapping[str, Part] = self.__dict__.get("fields", {})  # none while it is unpickled
        if name not in fields:
            raise AttributeError(f"the sample has no field {name!r}, but {', '.join(fields) or 'none'}")
        return fields[name]


class Dataset(ABC):
    """Samples that depend on (seed, epoch, index) and the files, and on nothing else.

    Attributes:
        fields: What a sample holds.
        classes: Of the label maps by field, whose arrays hold indices to be spread over so many channels;
            pictures are not in it.
    """

    fields: Fields
    classes: Mapping[str, int] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of samples in an epoch."""

    @property
    def count(self) -> int:
        """How many samples validation goes through: `validation_sample` takes numbers below it."""
        return len(self)

    @abstractmethod
    def sample(self, epoch: int, index: int) -> Sample:
        """Returns the random version that sample `index` has in `epoch`.

        Raises:
            ImageError: A file cannot be used.
        """

    @abstractmethod
    def validation_sample(self, index: int) -> Sample:
        """Returns sample `index` for validation: whole, and the same every time.

        Raises:
            ImageError: A file cannot be used.
        """

    @abstractmethod
    def keys(self) -> list[str]:
        """Returns the names of the samples."""

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """Returns `sample(epoch, index)`; for one that cannot be read, the next one that can.

        Raises:
            ProcessingError: A hundred in a row cannot be read.
        """
        epoch, index = place
        problems = []
        for step in range(min(len(self), _MOST_IN_A_ROW)):
            try:
                sample = self.sample(epoch, (index + step) % len(self))
            except ImageError as error:
                problems.append(str(error))
                continue
            return replace(sample, problems=tuple(problems)) if problems else sample
        raise ProcessingError(
            f"{len(problems)} samples in a row cannot be read, the last one: {problems[-1]}"
        )


@dataclass(frozen=True)
class Group:
    """Fields that show the same place, and the files that they come from.

    Attributes:
        records: Files and numbers of each sample.
        fields: Their kinds; the first one is the one that the others are like.
        recipes: How the files are prepared, in the order in which records name them.
        masks: What draws the masks that come from no files, by field.
    """

    records: Sequence[Record]
    fields: Fields
    recipes: Mapping[str, Recipe]
    masks: Mapping[str, IrregularMasks] = field(default_factory=dict)

    def arrays(self, record: Record, cache: Cache) -> dict[str, Pixels]:
        """Returns what the files of `record` hold, as it is cached.

        Raises:
            ImageError: A file cannot be used, or two that show the same place have different sizes.
        """
        name = entry_name(tuple(record.files.values()), (record.aligned is None, *self.recipes.items()))
        made = cache.get(name, lambda: tuple(self._read(record).values()))
        found = dict(zip(self.recipes, made, strict=True))
        return {name: found[name] for name in self.fields if name in found}

    def vectors(self, record: Record) -> dict[str, Part]:
        """Returns the numbers of `record`."""
        return {
            name: Part(np.asarray(record.values[name], np.float32))
            for name, kind in self.fields.items()
            if isinstance(kind, Vector)
        }

    def _read(self, record: Record) -> dict[str, Pixels]:
        opened: dict[Path, Image | tuple[Image, Image]] = {}
        images: dict[str, Image] = {}
        for place, name in enumerate(self.recipes):
            path = record.files[name]
            if path not in opened:
                opened[path] = halves(read_image(path), path) if path == record.aligned else read_image(path)
            image = opened[path]
            images[name] = image[place] if isinstance(image, tuple) else image
        leader = next(name for name in self.fields if name in images)
        found = {
            name: recipe.like(images[leader], record.files[leader])(images[name], record.files[name])
            for name, recipe in self.recipes.items()
        }
        first, *others = found
        for name in others:
            one, other = found[first].shape, found[name].shape
            if one[:2] != other[:2]:
                raise ImageReadError(
                    f"it has {one[1]} x {one[0]} pixels and its partner {display_path(record.files[name])} "
                    f"has {other[1]} x {other[0]}; partners need one size, or a load_size",
                    record.files[first],
                )
        return found


class FieldDataset(Dataset):
    """Samples of any fields, from pictures that are resized and cut.

    The first group of fields comes in the order of the epoch; of every further one, which shows something
    else, a record is drawn at random with replacement, as the domain B of CycleGAN (arXiv:1703.10593). An
    epoch is as long as the largest group. Fields of one group are cut and mirrored alike.

    Args:
        groups: Fields that belong together, with their files.
        crop: (height, width) of what the network sees, or None for all.
        flip: Whether to mirror at random.
        augmenter: What else happens at random.
        cache: Where prepared pictures are kept.
        seed: Of everything random.
        classes: See `Dataset`.
        numbers_of: Vectors that hold the numbers of another one in a sample drawn at random.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        crop: Size | None,
        flip: bool,
        augmenter: Augmenter,
        cache: Cache,
        seed: int = 0,
        classes: Mapping[str, int] | None = None,
        numbers_of: Mapping[str, str] | None = None,
    ) -> None:
        self.groups, self.crop, self.flip = list(groups), crop, flip
        self.numbers_of = numbers_of or {}
        self.augmenter, self.cache, self.seed = augmenter, cache, seed
        self.fields: dict[str, Field] = {name: f for group in groups for name, f in group.fields.items()}
        self.fields |= {name: Vector(of=of) for name, of in self.numbers_of.items()}
        self.classes = classes or {}

    def __len__(self) -> int:
        return max(len(group.records) for group in self.groups)

    def keys(self) -> list[str]:
        """Returns the names of the records, group by group."""
        return [record.key for group in self.groups for record in group.records]

    def sample(self, epoch: int, index: int) -> Sample:
        """Returns a record of each group, its fields cut and mirrored alike."""
        parts: dict[str, Part] = {}
        keys = []
        for number, group in enumerate(self.groups):
            place = index % len(group.records)
            if number:
                # the numbers of a stream: a second group has had no number of its own since version 0.1
                partner = (PARTNER, self.seed, epoch, index, *([number] if number > 1 else []))
                place = int(random_stream(*partner).integers(len(group.records)))
            record = group.records[place]
            own = () if len(self.groups) == 1 else (number,)
            arrays = group.arrays(record, self.cache)
            if self.augmenter.active and arrays:
                stream = random_stream(AUGMENT, self.seed, epoch, index, *own)
                arrays = self.augmenter.group(arrays, group.fields, stream)
            window, turn = None, 0
            if arrays:
                stream = random_stream(WINDOW, self.seed, epoch, index, *own)
                window, turn = draw(next(iter(arrays.values())), self.crop, self.flip, stream)
            parts |= {name: Part(pixels, window, turn) for name, pixels in arrays.items()}
            parts |= self._drawn(group, arrays, window, epoch, index) | group.vectors(record)
            parts |= self._numbers(number, epoch, index)
            keys.append(record.key)
        return Sample({name: parts[name] for name in self.fields}, " | ".join(keys))

    def validation_sample(self, index: int) -> Sample:
        """Returns the records with one number, whole or their centres; a smaller group begins anew."""
        parts: dict[str, Part] = {}
        keys = []
        for number, group in enumerate(self.groups):
            record = group.records[index % len(group.records)]
            arrays = group.arrays(record, self.cache)
            window = centre(next(iter(arrays.values())), self.crop) if arrays else None
            parts |= {name: Part(pixels, window) for name, pixels in arrays.items()}
            parts |= self._drawn(group, arrays, window, 0, index) | group.vectors(record)
            parts |= self._numbers(number, 0, index)
            keys.append(record.key)
        return Sample({name: parts[name] for name in self.fields}, " | ".join(keys))

    def _drawn(
        self, group: Group, arrays: Mapping[str, Pixels], window: Window | None, epoch: int, index: int
    ) -> dict[str, Part]:
        """Returns the masks that are drawn, of the size of what is cut; for validation those of epoch 0."""
        if not group.masks:
            return {}
        height, width = window[2:] if window else next(iter(arrays.values())).shape[:2]
        return {
            name: Part(draw_mask(height, width, epoch, index)[..., None])
            for name, draw_mask in group.masks.items()
        }

    def _numbers(self, number: int, epoch: int, index: int) -> dict[str, Part]:
        """Returns the vectors of a group that hold numbers of another sample; for validation of epoch 0."""
        group = self.groups[number]
        if not (names := [name for name, of in self.numbers_of.items() if of in group.fields]):
            return {}
        stream = random_stream(NUMBERS, self.seed, epoch, index, number)
        other = group.vectors(group.records[int(stream.integers(len(group.records)))])
        return {name: other[self.numbers_of[name]] for name in names}


def draw(
    pixels: Pixels, crop: Size | None, flip: bool, stream: np.random.Generator
) -> tuple[Window | None, int]:
    """Returns a random window of the size `crop`, and whether to mirror it."""
    window = None
    if crop is not None and crop != pixels.shape[:2]:
        top, left = (int(stream.integers(space + 1)) for space in _room(pixels, crop))
        window = (top, left, *crop)
    return window, int(flip and stream.random() < 0.5)


def centre(pixels: Pixels, crop: Size | None) -> Window | None:
    """Returns the window of the size `crop` in the middle."""
    if crop is None or crop == pixels.shape[:2]:
        return None
    top, left = (space // 2 for space in _room(pixels, crop))
    return (top, left, *crop)


def _room(pixels: Pixels, crop: Size) -> tuple[int, int]:
    height, width = pixels.shape[0] - crop[0], pixels.shape[1] - crop[1]
    if height < 0 or width < 0:
        raise ImageReadError(
            f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels is smaller than the crop_size "
            f"{crop[1]} x {crop[0]}; augment.geometric must not make it so small"
        )
    return height, width
