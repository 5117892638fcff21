"""Patches of sharp pictures, with what MATLAB's bicubic or a degradation makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from img2img.data.augment import Augmenter
from img2img.data.cache import Cache, entry_name
from img2img.data.config import DataConfig
from img2img.data.datasets import Dataset, Group, Part, Sample
from img2img.data.degrade import Degrader
from img2img.data.record import Record
from img2img.data.sampler import AUGMENT, WINDOW, random_stream
from img2img.errors import ConfigError, ImageReadError, display_path
from img2img.fields import pictures
from img2img.image import read_image
from img2img.image.image import Pixels
from img2img.image.resize import resize

_MARGIN = 2  # low-resolution pixels: so far MATLAB's bicubic reaches from the middle of the one that it makes


class PatchDataset(Dataset):
    """Random patches of high-resolution pictures and of the sources that are made of them.

    The low-resolution picture is what MATLAB's bicubic makes of the whole high-resolution one, whose sides
    are cut to multiples of the scale at the bottom and on the right, and both are cached; a patch is cut from
    both. An epoch takes `patches_per_image` patches from each picture, whatever its size; each of them comes
    from one of the sizes at which the picture is offered. What is random about a source, the changes of sharp
    pictures and a degradation, happens to a patch with its surroundings.

    Args:
        group: Source and target with a file each; or the target alone, of which the source is made; and
            vectors.
        config: How patches are chosen: `crop_size` of the target, `flip` (of squares eight positions,
            otherwise four), `scales`, `scale_choice`, `patches_per_image`, `best_of`, `validation_crop`.
        scale: How many times larger the target is; it divides the sides of a patch.
        augmenter: What else happens to the high-resolution patch, and then to the low-resolution one.
        cache: Where prepared pictures are kept.
        seed: Of everything random.
        degrader: What makes sources instead of MATLAB's bicubic.
    """

    def __init__(
        self,
        group: Group,
        config: DataConfig,
        scale: int,
        augmenter: Augmenter,
        cache: Cache,
        seed: int = 0,
        degrader: Degrader | None = None,
    ) -> None:
        assert config.crop_size is not None  # the method asks for patches
        self.group, self.records, self.fields, self.scale = group, group.records, group.fields, scale
        self.low, self.high = pictures(group.fields)
        self.crop, self.flip, self.scales = config.crop_size, config.flip, config.scales
        shares = np.square(self.scales) if config.scale_choice == "area" else np.ones(len(self.scales))
        self._shares = shares / shares.sum()
        self.patches_per_image, self.best_of = config.patches_per_image, config.best_of
        self.middle = config.validation_crop
        self.augmenter, self.cache, self.seed, self.degrader = augmenter, cache, seed, degrader

    def __len__(self) -> int:
        return len(self.records) * self.patches_per_image

    @property
    def count(self) -> int:
        """The number of pictures: what validation goes through."""
        return len(self.records)

    def keys(self) -> list[str]:
        """Returns the names of the pictures."""
        return [record.key for record in self.records]

    def sample(self, epoch: int, index: int) -> Sample:
        """Returns a patch of picture `index % count`."""
        stream = random_stream(WINDOW, self.seed, epoch, index)
        place = index % len(self.records)
        size = self.scales[int(stream.choice(len(self.scales), p=self._shares))]
        *low, high = self._picture(place, size)
        if not self._fits(high):  # a reduced version that is too small for a patch: the largest one then
            *low, high = self._picture(place, max(self.scales))
            if not self._fits(high):
                raise ImageReadError(
                    f"the picture has {high.shape[1]} x {high.shape[0]} pixels and holds no patch of "
                    f"{self.crop[1]} x {self.crop[0]} (crop_size)",
                    self.records[place].paths[0],
                )
        height, width = (side // self.scale for side in self.crop)
        rows, columns = (side // self.scale for side in high.shape[:2])
        candidates = [
            (int(stream.integers(rows - height + 1)), int(stream.integers(columns - width + 1)))
            for _ in range(self.best_of)
        ]
        if len(candidates) > 1:
            candidates.sort(key=lambda at: detail(self._high_patch(high, at)))
        top, left = candidates[-1]
        turns = 8 if height == width else 4
        turn = int(stream.integers(turns)) if self.flip else 0
        changes = random_stream(AUGMENT, self.seed, epoch, index)
        if self.augmenter.sharp or self.degrader:
            around = self._changed if self.augmenter.sharp else self._surrounded
            wide, (top, left) = around(high, (top, left), changes)
            low, high = [self._reduced(wide, epoch, index)], wide
        source, target = low[0][top : top + height, left : left + width], self._high_patch(high, (top, left))
        if self.augmenter.active:
            source = self.augmenter.values(source, changes)
        return self._filed(self.records[place], Part(source, None, turn), Part(target, None, turn))

    def validation_sample(self, index: int) -> Sample:
        """Returns the middle of picture `index` (below `count`), its sides multiples of the scale."""
        *low, high = self._picture(index, 1.0, validation=True)
        height, width = (side // self.scale for side in high.shape[:2])
        if self.middle is not None:
            height, width = (
                min(side, max(1, limit // self.scale))
                for side, limit in zip((height, width), self.middle, strict=True)
            )
        s = self.scale
        top, left = (high.shape[0] // s - height) // 2, (high.shape[1] // s - width) // 2
        target = Part(high, (s * top, s * left, s * height, s * width))
        if self.degrader:  # the middle is a picture of its own: a large one would take as long as many
            target = target.cut()
            made = self.degrader.whole(target.pixels, self.records[index].key)
            return self._filed(self.records[index], Part(made), target)
        return self._filed(self.records[index], Part(low[0], (top, left, height, width)), target)

    def _filed(self, record: Record, low: Part, high: Part) -> Sample:
        """Returns the sample of a record with these two pictures."""
        parts = {self.low: low, self.high: high} | self.group.vectors(record)
        return Sample({name: parts[name] for name in self.fields}, record.key)

    @property
    def _margin(self) -> int:
        return self.degrader.margin if self.degrader else _MARGIN

    def _reduced(self, wide: Pixels, epoch: int, index: int) -> Pixels:
        """Returns the source of a patch with its surroundings."""
        if self.degrader:
            return self.degrader.patch(wide, epoch, index)
        return resize(wide, *(side // self.scale for side in wide.shape[:2]))

    def _surrounded(
        self, high: Pixels, at: tuple[int, int], stream: np.random.Generator
    ) -> tuple[Pixels, tuple[int, int]]:
        """Returns a patch with its surroundings, as far as there are any, and where it is there."""
        s = self.scale
        begins = [max(0, place - self._margin) for place in at]
        window = tuple(
            slice(s * begin, s * (place + self._margin) + side)
            for begin, place, side in zip(begins, at, self.crop, strict=True)
        )
        top, left = (place - begin for place, begin in zip(at, begins, strict=True))
        return high[window], (top, left)

    def _changed(
        self, high: Pixels, at: tuple[int, int], stream: np.random.Generator
    ) -> tuple[Pixels, tuple[int, int]]:
        """Returns what the augmenter makes of a patch with its surroundings, and where the patch is there."""
        s = self.scale
        height, width = (side // s for side in self.crop)
        window = tuple(  # twice as high and wide
            slice(s * max(0, place - side // 2), s * (place + side + side // 2))
            for place, side in zip(at, (height, width), strict=True)
        )
        changed = self.augmenter.original(high[window], stream)
        excess = [have - side for have, side in zip(changed.shape[:2], self.crop, strict=True)]
        if min(excess) < 0:
            raise ConfigError(
                f"data.augment.sharp leaves {changed.shape[1]} x {changed.shape[0]} pixels, less than a "
                f"patch of {self.crop[1]} x {self.crop[0]} (crop_size)."
            )
        # the middle, and around it what the low-resolution patch is made of, as far as there is so much
        top, left = (min(self._margin, spare // (2 * s)) for spare in excess)
        y, x = (spare // (2 * s) - margin for spare, margin in zip(excess, (top, left), strict=True))
        wide = changed[
            s * y : s * (y + height + 2 * top),
            s * x : s * (x + width + 2 * left),
        ]
        return wide, (top, left)

    def _high_patch(self, high: Pixels, at: tuple[int, int]) -> Pixels:
        top, left = (self.scale * place for place in at)
        return high[top : top + self.crop[0], left : left + self.crop[1]]

    def _fits(self, high: Pixels) -> bool:
        return bool(high.shape[0] >= self.crop[0] and high.shape[1] >= self.crop[1])

    def _picture(self, place: int, size: float, validation: bool = False) -> tuple[Pixels, ...]:
        """Returns the low- and the high-resolution version of a picture at a size; only this to be degraded.

        Args:
            place: Of its record.
            size: Relative to its own.
            validation: Whether it is measured: then it is not sharpened.
        """
        record = self.records[place]
        recipe: tuple[object, ...] = (*self.group.recipes.items(), size, self.scale)
        if self.degrader:
            recipe = (*recipe, "degraded", 0 if validation else self.degrader.degradation.sharpen)
        name = entry_name(tuple(record.files.values()), recipe)
        return self.cache.get(name, lambda: self._make(record, size, validation))

    def _make(self, record: Record, size: float, validation: bool) -> tuple[Pixels, ...]:
        recipes, path = self.group.recipes, record.files[self.high]
        high = recipes[self.high](read_image(path), path)
        if self.low in record.files:
            low = recipes[self.low](read_image(record.files[self.low]), record.files[self.low])
            return self._given(low, high, record)
        if size != 1:
            high = resize(high, *(max(1, round(side * size)) for side in high.shape[:2]))
        high = divisible(high, self.scale, path)
        if self.degrader:
            return (high if validation else self.degrader.target(high),)
        return resize(high, high.shape[0] // self.scale, high.shape[1] // self.scale), high

    def _given(self, low: Pixels, high: Pixels, record: Record) -> tuple[Pixels, Pixels]:
        """Returns a pair from two files, cut to sizes that agree."""
        height, width = (side // self.scale for side in high.shape[:2])
        if low.shape[:2] != (height, width):
            raise ImageReadError(
                f"the low-resolution picture has {low.shape[1]} x {low.shape[0]} pixels and its partner "
                f"{display_path(record.files[self.high])} {high.shape[1]} x {high.shape[0]}, which is not "
                f"{self.scale} times as much",
                record.files[self.low],
            )
        return low, high[: height * self.scale, : width * self.scale]


def divisible(pixels: Pixels, scale: int, path: Path) -> Pixels:
    """Returns `pixels` (H, W, C) without the last rows and columns that `scale` does not divide.

    Raises:
        ImageReadError: Nothing would be left.
    """
    height, width = (side - side % scale for side in pixels.shape[:2])
    if min(height, width) == 0:
        raise ImageReadError(
            f"the picture has {pixels.shape[1]} x {pixels.shape[0]} pixels, too few for a scale of {scale}",
            path,
        )
    return pixels[:height, :width]


def detail(patch: Pixels) -> float:
    """Returns the mean absolute difference of neighbours in `patch` (H, W, C), in its own levels."""
    values = patch.astype(np.float32)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())
