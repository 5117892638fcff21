"""From a configuration to data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from img2img.data import palette as palettes
from img2img.data.augment import Augmenter
from img2img.data.cache import Cache, PrivateCache
from img2img.data.config import DataConfig, Kind
from img2img.data.datasets import Dataset, PairedDataset, UnpairedDataset
from img2img.data.palette import Palette
from img2img.data.pictures import Recipe, flat, halves, read
from img2img.data.records import Record, Records, find_records
from img2img.errors import ConfigError, ImageError, PlanError
from img2img.image import Image
from img2img.weights.finder import user_cache

_PROBED = 12  # pictures that are opened to learn about all


@dataclass(frozen=True)
class Data:
    """What a configuration names, ready for `batches` and `in_order`.

    Attributes:
        train: For training.
        validation: Held out, or None.
        source_channels: Of the tensors that go into the network.
        target_channels: Of those that should come out of it.
        description: What was found, in one sentence.
        notes: Sentences about what was left out.
    """

    train: Dataset
    validation: Dataset | None
    source_channels: int
    target_channels: int
    description: str
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Returns one sentence for the log of a training."""
        return self.description


def open_data(config: DataConfig, *, kind: Kind, scale: int = 1, seed: int = 0) -> Data:
    """Finds the data that `config` names; a few pictures are opened to learn their channels.

    Args:
        config: Where the data is and what is done to it.
        kind: What the method needs.
        scale: How many times larger targets are than sources; for super-resolution.
        seed: Of everything random but the order.

    Raises:
        ConfigError: The data is of another kind, or the settings do not fit it.
        PlanError: Folders, files or partners are missing, or none of the pictures that were tried can be read.
    """
    if config.kind != kind:
        raise ConfigError(
            f"the method is trained on {_KINDS[kind]}, and data names {_KINDS[config.kind]}; "
            "choose another method or other data."
        )
    records = find_records(config)
    cache = _cache(config)
    return _Opening(config, records, cache, seed).paired_or_unpaired()


_KINDS = {
    "paired": "pairs (paired, aligned or list)",
    "unpaired": "two folders without partners (unpaired)",
    "super_resolution": "sharp pictures (images)",
}


class _Opening:
    """What the parts of `open_data` share."""

    def __init__(self, config: DataConfig, records: Records, cache: Cache, seed: int) -> None:
        self.config, self.records, self.cache, self.seed = config, records, cache, seed
        self.swap = config.direction == "BtoA"

    def paired_or_unpaired(self) -> Data:
        config, records = self.config, self.records
        aligned = config.aligned is not None
        if config.kind == "unpaired":
            probes = _probe(records.train), _probe(records.train_b)
        elif aligned:
            both = [halves(image, path) for image, path in _probe(records.train)]
            paths = [path for _, path in _probe(records.train)]
            probes = tuple(  # type: ignore[assignment]
                [(pair[side], path) for pair, path in zip(both, paths, strict=True)] for side in (0, 1)
            )
        else:
            probes = _probe(records.train), _probe(
                [Record(r.key, r.target) for r in records.train if r.target is not None]
            )
        labels = config.source_labels != "none"
        source, target = (1, 0) if self.swap else (0, 1)
        palette = self._palette(source, probes[source]) if config.source_labels == "one_hot" else None
        wanted = [config.source_channels, config.target_channels]
        channels = [
            wanted[role] or max(image.channels for image, _ in probes[side])
            for role, side in enumerate((source, target))
        ]

        def recipes(size: tuple[int, int] | None) -> tuple[Recipe, Recipe]:
            least = config.crop_size if size is None else None
            made = [
                Recipe(size, least, "nearest" if labels else config.resize, channels[0], palette),
                Recipe(size, least, config.resize, channels[1]),
            ]
            return (made[1], made[0]) if self.swap else (made[0], made[1])

        augmenter = Augmenter(config.augment.geometric, config.augment.photometric, labels)
        if palette is not None and config.augment.photometric:
            raise ConfigError("augment.photometric changes values, and one_hot labels have none; leave it out.")
        train_recipes = recipes(config.load_size)
        still_recipes = recipes(None if config.load_size is None else config.crop_size or config.load_size)
        rest = (config.crop_size, config.flip, augmenter, self.cache, self.seed)
        train: Dataset
        validation: Dataset | None = None
        if config.kind == "unpaired":
            order = (1, 0) if self.swap else (0, 1)
            heaps = (records.train, records.train_b)
            held_out = (records.validation, records.validation_b)
            train = UnpairedDataset(
                heaps[order[0]], heaps[order[1]], _in(order, train_recipes), *rest
            )
            if held_out[0]:
                validation = UnpairedDataset(
                    held_out[order[0]], held_out[order[1]], _in(order, still_recipes), *rest
                )
        else:
            count = 0 if palette is None else len(palette)
            train = PairedDataset(records.train, train_recipes, self.swap, *rest, count)
            if records.validation:
                validation = PairedDataset(records.validation, still_recipes, self.swap, *rest, count)
        seen = len(palette) if palette is not None else channels[0]
        return Data(
            train, validation, seen, channels[1], self._sentence(probes, source, seen, channels[1]), records.notes
        )

    def _palette(self, side: int, probes: Sequence[tuple[Image, Path]]) -> Palette:
        """Returns the palette that the configuration gives, or that all label maps have."""
        if self.config.palette is not None:
            return self.config.palette

        def maps() -> object:
            for record in self.records.train:
                try:
                    image = read(record.files[side] if record.target else record.source)
                    if record.target is None:
                        image = halves(image, record.source)[side]
                    yield flat(image, None, record.source)
                except ImageError:
                    continue  # reported when it is its turn

        return palettes.collect(maps())  # type: ignore[arg-type]

    def _sentence(
        self, probes: tuple[Sequence[tuple[Image, Path]], ...], source: int, seen: int, made: int
    ) -> str:
        records = self.records
        if self.config.kind == "unpaired":
            count = f"{len(records.train)} pictures of A and {len(records.train_b)} of B"
            held = f"{len(records.validation)} and {len(records.validation_b)}"
        else:
            count, held = f"{len(records.train)} pairs", f"{len(records.validation)}"
        first, second = (_sizes([image for image, _ in probes[side]]) for side in (source, 1 - source))
        return (
            f"{count} for training, {held} for validation ({records.origin}); "
            f"source {first}, {seen} channels; target {second}, {made} channels"
        )


def _in(order: tuple[int, int], pair: tuple[Recipe, Recipe]) -> tuple[Recipe, Recipe]:
    return pair[order[0]], pair[order[1]]


def _cache(config: DataConfig) -> Cache:
    if config.cache == "memory":
        return PrivateCache(config.cache_folder)
    if config.cache == "disk":
        return Cache(config.cache_folder or user_cache() / "pictures")
    return Cache()


def _probe(records: Sequence[Record]) -> list[tuple[Image, Path]]:
    """Returns some pictures from all over `records`, without those that cannot be read.

    Raises:
        PlanError: None of them can be read.
    """
    places = np.unique(np.linspace(0, len(records) - 1, _PROBED).astype(int))
    found = []
    problem = ""
    for place in places:
        try:
            found.append((read(records[place].source), records[place].source))
        except ImageError as error:
            problem = str(error)
    if not found:
        raise PlanError(f"none of {len(places)} pictures that were tried can be read; the last one: {problem}.")
    return found


def _sizes(images: Sequence[Image]) -> str:
    """Returns the sizes of some pictures in words."""
    sizes = sorted({(image.width, image.height) for image in images})
    depth = "/".join(sorted({image.pixels.dtype.name for image in images}))
    if len(sizes) == 1:
        return f"{sizes[0][0]} x {sizes[0][1]} {depth}"
    return f"{sizes[0][0]} x {sizes[0][1]} to {sizes[-1][0]} x {sizes[-1][1]} {depth}"
