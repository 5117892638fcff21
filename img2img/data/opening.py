"""From a configuration to data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from img2img.data.augment import Augmenter
from img2img.data.cache import Cache, PrivateCache
from img2img.data.config import DataConfig, Kind, Size
from img2img.data.datasets import Dataset, PairedDataset, UnpairedDataset
from img2img.data.patches import PatchDataset
from img2img.data.pictures import Recipe, halves, one_view, read, seen
from img2img.data.ranges import advice, extent_of
from img2img.data.records import Record, Records, find_records
from img2img.errors import ConfigError, ImageError, PlanError, display_path
from img2img.image import Image
from img2img.image import palette as palettes
from img2img.image.alpha import over_white
from img2img.image.channels import ends_in_alpha
from img2img.image.image import Pixels
from img2img.image.palette import Palette
from img2img.weights.finder import user_cache

_NAMED = 3  # pairs in one message
_PROBED = 12  # pictures that are opened to learn about all
_KINDS = {
    "paired": "pairs (paired, aligned or list)",
    "unpaired": "two folders without partners (unpaired)",
    "super_resolution": "sharp pictures (images)",
}
Side = tuple[Image, Path]


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
        warnings: Sentences about what will make the model worse than it could be.
        palette: The colours that the channels of one-hot label maps stand for, or None.
    """

    train: Dataset
    validation: Dataset | None
    source_channels: int
    target_channels: int
    description: str
    notes: tuple[str, ...] = ()
    palette: Palette | None = None
    warnings: tuple[str, ...] = ()

    def describe(self) -> str:
        """Returns one sentence for the log of a training."""
        return self.description


def open_data(config: DataConfig, *, kind: Kind, scale: int = 1, seed: int = 0) -> Data:
    """Finds the data that `config` names; a few pictures are opened to learn their channels.

    Besides their own kind of data, super-resolution and unpaired methods take pairs from two folders or a
    list: low- and high-resolution pictures, or two domains.

    Args:
        config: Where the data is and what is done to it.
        kind: What the method needs.
        scale: How many times larger targets are than sources; for super-resolution.
        seed: Of everything random but the order.

    Raises:
        ConfigError: The data is of another kind, or the settings do not fit it.
        PlanError: Folders, files or partners are missing, or no picture that was tried can be read.
    """
    as_pairs = config.paired is not None or config.list is not None
    if config.kind != kind and not as_pairs:
        raise ConfigError(
            f"the method is trained on {_KINDS[kind]}, and data names {_KINDS[config.kind]}; "
            "choose another method or other data."
        )
    _require_fit(config, kind, scale)
    records = find_records(config)
    if kind == "unpaired" and as_pairs:
        records = _as_unpaired(records)
    sides = (0, 1) if config.direction == "AtoB" else (1, 0)
    probes = _probes(config, records)
    source, target = (probes[side] for side in sides)
    channels = (
        config.source_channels or max(image.channels for image, _ in source),
        config.target_channels or max(image.channels for image, _ in target),
    )
    palette = None
    if config.source_labels == "one_hot":
        palette = config.palette or _palette(records, sides[0], channels[0])
    if config.images is not None:
        same = config.target_channels or channels[0]
        channels = same, same
    cache = _cache(config)
    labels, numbers = config.source_labels != "none", config.numbers
    augment = config.augment
    alpha = ends_in_alpha(channels[0], max(image.channels for image, _ in source))
    augmenter = Augmenter(augment.geometric, augment.photometric, labels, augment.sharp, alpha)

    keep = config.fit == "keep"
    method: Literal["bicubic", "nearest"] = "nearest" if labels else config.resize

    def recipes(size: Size | None, least: Size | None) -> tuple[Recipe, Recipe]:
        made = (
            Recipe(size, least, method, channels[0], palette, labels, numbers[0], keep),
            Recipe(size, least, config.resize, channels[1], numbers=numbers[1], keep=keep),
        )
        return made[sides[0]], made[sides[1]]  # in the order of the files: A and B

    def dataset(first: tuple[Record, ...], second: tuple[Record, ...], validation: bool) -> Dataset:
        swap = sides == (1, 0)
        if kind == "super_resolution":
            assert config.crop_size is not None
            return PatchDataset(
                first,
                recipes(None, None),
                swap,
                scale,
                config.crop_size,
                config.flip,
                config.scales,
                config.scale_choice,
                config.patches_per_image,
                config.best_of,
                config.validation_crop,
                augmenter,
                cache,
                seed,
            )
        size = config.load_size
        if validation and size is not None:
            size = config.crop_size or size  # the whole picture at the size of the crop, as in the papers
        made = recipes(size, config.crop_size if size is None else None)
        crop = None if validation and keep and size is not None else config.crop_size
        if kind == "paired":
            classes = len(palette) if palette else 0
            return PairedDataset(first, made, swap, crop, config.flip, augmenter, cache, seed, classes)
        if swap:
            first, second, made = second, first, (made[1], made[0])
        return UnpairedDataset(first, second, made, crop, config.flip, augmenter, cache, seed)

    fed = len(palette) if palette else channels[0]
    return Data(
        dataset(records.train, records.train_b, validation=False),
        dataset(records.validation, records.validation_b, validation=True) if records.validation else None,
        fed,
        channels[1],
        "; ".join(filter(None, [_sentence(records, source, target, fed, channels[1]), config.preparation])),
        records.notes,
        palette,
        (
            *_numbers(config, source, target),
            *filter(None, [config.mismatch]),
            *_shapes(config, kind, records, source + target),
        ),
    )


def _shapes(config: DataConfig, kind: Kind, records: Records, probes: list[Side]) -> Iterator[str]:
    """Yields a sentence about partners that are squeezed until they fit each other, if any were opened."""
    if kind != "paired" or not config.load_size:
        return
    known = {path: (image.height, image.width) for image, path in probes}
    pairs = [record.files for record in records.train if all(path in known for path in record.files)]
    wrong = [pair for pair in pairs if len(pair) == 2 and not one_view(known[pair[0]], known[pair[1]])]
    if wrong:
        names = "; ".join(" and ".join(map(display_path, pair)) for pair in wrong[:_NAMED])
        yield (
            f"{len(wrong)} of the {len(pairs)} pairs that were looked at are of different proportions and "
            f"are squeezed until they fit: {names}. Cut or resize them alike; `img2img data check` names all."
        )


def _require_fit(config: DataConfig, kind: Kind, scale: int) -> None:
    """Checks what only the method knows.

    Raises:
        ConfigError: Settings contradict it or each other.
    """
    if kind != "paired" and config.source_labels == "one_hot":
        raise ConfigError("data.source_labels: one_hot is for pairs; use nearest here.")
    if config.source_labels == "one_hot" and config.augment.photometric:
        raise ConfigError(
            "data.augment.photometric changes values, and one_hot labels have none; leave it out."
        )
    if config.augment.sharp and (kind != "super_resolution" or config.images is None):
        raise ConfigError(
            "data.augment.sharp is for super-resolution from images, whose low-resolution pictures are made "
            "here; pairs have geometric and photometric."
        )
    if kind != "super_resolution":
        return
    if config.crop_size is None or any(side % scale for side in config.crop_size):
        raise ConfigError(
            f"data.crop_size {config.crop_size} is the high-resolution patch and must be a multiple of the "
            f"scale, {scale}."
        )
    if config.augment.geometric or config.source_labels != "none":
        raise ConfigError(
            "super-resolution takes neither data.augment.geometric nor data.source_labels; "
            "data.augment.sharp moves the pixels of sharp pictures."
        )
    if config.images is None and config.scales != (1.0,):
        raise ConfigError("data.scales is for images; low-resolution pictures from files have one size.")


def _as_unpaired(records: Records) -> Records:
    """Returns pairs as two sets of pictures without partners."""

    def one_side(pairs: tuple[Record, ...], side: int) -> tuple[Record, ...]:
        return tuple(Record(pair.key, pair.files[side]) for pair in pairs)

    return replace(
        records,
        train=one_side(records.train, 0),
        train_b=one_side(records.train, 1),
        validation=one_side(records.validation, 0),
        validation_b=one_side(records.validation, 1),
    )


def _cache(config: DataConfig) -> Cache:
    if config.cache == "memory":
        return PrivateCache(config.cache_folder)
    if config.cache == "disk":
        return Cache(config.cache_folder or user_cache() / "pictures")
    return Cache()


def _probes(config: DataConfig, records: Records) -> tuple[list[Side], list[Side]]:
    """Returns some pictures of A and of B from all over the training data.

    Raises:
        PlanError: None of those that were tried can be read.
    """
    if config.aligned is not None:
        found = [(halves(image, path), path) for image, path in _read_some(records.train)]
        return [(pair[0], path) for pair, path in found], [(pair[1], path) for pair, path in found]
    first = _read_some(records.train)
    if records.train_b:
        return first, _read_some(records.train_b)
    partners = [Record(record.key, record.target) for record in records.train if record.target is not None]
    return first, _read_some(partners) if partners else first


def _read_some(records: Sequence[Record]) -> list[Side]:
    places = np.unique(np.linspace(0, len(records) - 1, _PROBED).astype(int))
    found = []
    problem = ""
    for place in places:
        path = records[place].source
        try:
            found.append((read(path), path))
        except ImageError as error:
            problem = str(error)
    if not found:
        raise PlanError(f"none of the {len(places)} pictures that were tried can be read: {problem}.")
    return found


def _palette(records: Records, side: int, channels: int) -> Palette:
    """Returns the colours that all label maps together have."""

    def maps() -> Iterator[Pixels]:
        for record in (*records.train, *records.validation):
            try:
                if record.target is None:
                    path, image = record.source, halves(read(record.source), record.source)[side]
                else:
                    path = record.files[side]
                    image = read(path)
                yield seen(image, channels, path, unmixed=True)
            except ImageError:
                continue  # it is named when its turn comes

    return palettes.collect(maps())


def _numbers(config: DataConfig, source: list[Side], target: list[Side]) -> Iterator[str]:
    """Yields a sentence where numbers are not those of their depth and nobody said what they are."""
    free = [numbers is None for numbers in config.numbers]
    first = free[0] and config.source_labels == "none"
    found = [
        [(extent_of(over_white(image).pixels), path) for image, path in side] if asked else []
        for side, asked in ((source, first), (target, free[1] and target is not source))
    ]
    options = advice(*([extent for extent, _ in side] for side in found))
    if not options:
        return
    outside = [(extent, path) for side in found for extent, path in side if extent.sound(None)]
    extent, path = max(outside, key=lambda each: (not each[0].fits(), each[0].high - each[0].low))
    range_ = "0 to 65535" if extent.depth == "uint16" else "0 to 1"
    yield (
        f"{display_path(path)} has values from {extent.words()}, and black to white is {range_} in "
        f"{extent.depth}; {options} says what they are in all of your pictures, and data check names them."
    )


def _sentence(records: Records, source: list[Side], target: list[Side], fed: int, made: int) -> str:
    if records.train_b:
        count = f"{len(records.train)} pictures of A and {len(records.train_b)} of B for training"
        held_out = f"{len(records.validation)} and {len(records.validation_b)}"
    else:
        noun = "pictures" if source is target else "pairs"
        count, held_out = f"{len(records.train)} {noun} for training", f"{len(records.validation)}"
    parts = [f"{count}, {held_out} for validation ({records.origin})"]
    if source is target:
        parts.append(f"{_sizes(source)}, {made} channels")
    else:
        parts.append(f"source {_sizes(source)}, {fed} channels; target {_sizes(target)}, {made} channels")
    return "; ".join(parts)


def _sizes(side: list[Side]) -> str:
    """Returns the sizes and depths of some pictures in words."""
    sizes = sorted({(image.width, image.height) for image, _ in side})
    depths = "/".join(sorted({image.pixels.dtype.name for image, _ in side}))
    smallest, largest = (f"{width} x {height}" for width, height in (sizes[0], sizes[-1]))
    return f"{smallest} {depths}" if len(sizes) == 1 else f"{smallest} to {largest} {depths}"
