"""Samples by (epoch, index): arrays with what is to be cut from them, still unscaled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from img2img.data.augment import Augmenter
from img2img.data.cache import Cache, entry_name
from img2img.data.config import Size
from img2img.data.pictures import Recipe, halves, read
from img2img.data.records import Record
from img2img.data.sampler import AUGMENT, PARTNER, WINDOW, random_stream
from img2img.errors import ImageError, ImageReadError, ProcessingError, display_path
from img2img.image.image import Pixels

Window = tuple[int, int, int, int]  # top, left, height, width
_MOST_IN_A_ROW = 100


@dataclass(frozen=True)
class Part:
    """One side of a sample.

    Attributes:
        pixels: (H, W, C), the whole picture as it is cached or augmented.
        window: What the network sees of it: (top, left, height, width); None for all.
        turn: How that is mirrored and turned: 1 columns, 2 rows, 4 both axes exchanged (last), added up.
    """

    pixels: Pixels
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
        source: Of the picture that goes into the network.
        target: Of the one that should come out of it, or of the other domain.
        key: Its name.
        problems: Sentences about files that could not be read and were passed over.
    """

    source: Part
    target: Part
    key: str
    problems: tuple[str, ...] = ()


class Dataset(ABC):
    """Samples that depend on (seed, epoch, index) and the files, and on nothing else.

    Attributes:
        classes: Of the label maps, whose source arrays hold indices to be spread over so many channels;
            0 for pictures.
    """

    classes = 0

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
            return Sample(sample.source, sample.target, sample.key, tuple(problems)) if problems else sample
        raise ProcessingError(
            f"{len(problems)} samples in a row cannot be read, the last one: {problems[-1]}"
        )


class PairedDataset(Dataset):
    """Pairs of pictures that show the same thing.

    Args:
        records: Two files each, or one with both pictures side by side.
        recipes: How A and B are prepared.
        swap: Whether B is the source.
        crop: (height, width) of what the network sees, or None for all.
        flip: Whether to mirror at random.
        augmenter: What else happens at random.
        cache: Where prepared pictures are kept.
        seed: Of everything random.
        classes: Of the label maps in the source, or 0.
    """

    def __init__(
        self,
        records: Sequence[Record],
        recipes: tuple[Recipe, Recipe],
        swap: bool,
        crop: Size | None,
        flip: bool,
        augmenter: Augmenter,
        cache: Cache,
        seed: int = 0,
        classes: int = 0,
    ) -> None:
        self.records, self.recipes, self.swap = list(records), recipes, swap
        self.crop, self.flip, self.augmenter = crop, flip, augmenter
        self.cache, self.seed, self.classes = cache, seed, classes

    def __len__(self) -> int:
        return len(self.records)

    def keys(self) -> list[str]:
        """Returns the names of the pairs."""
        return [record.key for record in self.records]

    def pair(self, index: int) -> tuple[Pixels, Pixels]:
        """Returns source and target as they are cached.

        Raises:
            ImageError: A file cannot be used.
        """
        record = self.records[index]
        a, b = self.cache.get(entry_name(record.files, self.recipes), lambda: self._make(record))
        return (b, a) if self.swap else (a, b)

    def sample(self, epoch: int, index: int) -> Sample:
        """Returns a pair, both sides cut and mirrored alike."""
        source, target = self.pair(index)
        if self.augmenter.active:
            source, target = self.augmenter.pair(
                source, target, random_stream(AUGMENT, self.seed, epoch, index)
            )
        window, turn = draw(source, self.crop, self.flip, random_stream(WINDOW, self.seed, epoch, index))
        return Sample(Part(source, window, turn), Part(target, window, turn), self.records[index].key)

    def validation_sample(self, index: int) -> Sample:
        """Returns a pair, the centre of it if it is larger than what the network sees."""
        source, target = self.pair(index)
        window = centre(source, self.crop)
        return Sample(Part(source, window), Part(target, window), self.records[index].key)

    def _make(self, record: Record) -> tuple[Pixels, ...]:
        a = read(record.source)
        a, b = halves(a, record.source) if record.target is None else (a, read(record.target))
        recipes = [recipe.like(b if self.swap else a) for recipe in self.recipes]
        first = recipes[0](a, record.source)
        second = recipes[1](b, record.target or record.source)
        if first.shape[:2] != second.shape[:2]:
            raise ImageReadError(
                f"it has {first.shape[1]} x {first.shape[0]} pixels and its partner "
                f"{display_path(record.files[-1])} has {second.shape[1]} x {second.shape[0]}; partners "
                "need one size, or a load_size",
                record.source,
            )
        return first, second


class UnpairedDataset(Dataset):
    """Two sets of pictures; an epoch is as long as the larger one.

    A comes in the order of the epoch, B is drawn at random with replacement, and each is cut and mirrored by
    itself, as in CycleGAN (arXiv:1703.10593).

    Args:
        a: One file each, of the domain that is the source.
        b: Of the other one.
        recipes: How A and B are prepared.
        crop, flip, augmenter, cache, seed: See `PairedDataset`.
    """

    def __init__(
        self,
        a: Sequence[Record],
        b: Sequence[Record],
        recipes: tuple[Recipe, Recipe],
        crop: Size | None,
        flip: bool,
        augmenter: Augmenter,
        cache: Cache,
        seed: int = 0,
    ) -> None:
        self.a, self.b, self.recipes = list(a), list(b), recipes
        self.crop, self.flip, self.augmenter = crop, flip, augmenter
        self.cache, self.seed = cache, seed

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def keys(self) -> list[str]:
        """Returns the names of the pictures of A, then those of B."""
        return [record.key for record in (*self.a, *self.b)]

    def sample(self, epoch: int, index: int) -> Sample:
        """Returns a picture of A and one of B."""
        a = self.a[index % len(self.a)]
        b = self.b[int(random_stream(PARTNER, self.seed, epoch, index).integers(len(self.b)))]
        sides = []
        for domain, record in enumerate((a, b)):
            pixels = self._picture(record, domain)
            if self.augmenter.active:
                pixels = self.augmenter.single(
                    pixels, random_stream(AUGMENT, self.seed, epoch, index, domain)
                )
            stream = random_stream(WINDOW, self.seed, epoch, index, domain)
            sides.append(Part(pixels, *draw(pixels, self.crop, self.flip, stream)))
        return Sample(sides[0], sides[1], f"{a.key} | {b.key}")

    def validation_sample(self, index: int) -> Sample:
        """Returns the pictures with one number in A and B; the smaller set begins anew."""
        a, b = self.a[index % len(self.a)], self.b[index % len(self.b)]
        sides = [self._picture(record, domain) for domain, record in enumerate((a, b))]
        first, second = (Part(pixels, centre(pixels, self.crop)) for pixels in sides)
        return Sample(first, second, f"{a.key} | {b.key}")

    def _picture(self, record: Record, domain: int) -> Pixels:
        recipe = self.recipes[domain]
        name = entry_name(record.files, recipe)
        (pixels,) = self.cache.get(name, lambda: (recipe(read(record.source), record.source),))
        return pixels


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
