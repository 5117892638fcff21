"""From a configuration to data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from img2img.data.augment import Augmenter
from img2img.data.cache import Cache, PrivateCache
from img2img.data.compatibility import require_fit
from img2img.data.config import DataConfig, Size
from img2img.data.datasets import Dataset, FieldDataset, Group
from img2img.data.degrade import Degrader
from img2img.data.labels import require_labels
from img2img.data.masks import IrregularMasks
from img2img.data.patches import PatchDataset
from img2img.data.pictures import Recipe, halves, one_view, seen
from img2img.data.places import present, sides
from img2img.data.ranges import advice, extent_of
from img2img.data.record import Record, Records, some_names
from img2img.data.records import find_records
from img2img.errors import ConfigError, ImageError, PlanError, ProcessingError, display_path
from img2img.fields import Fields, Labels, Mask, Picture, Vector, groups, pictures, placed, scale_of
from img2img.files import user_cache
from img2img.image import Image, read_image
from img2img.image import palette as palettes
from img2img.image.alpha import over_white
from img2img.image.channels import ends_in_alpha
from img2img.image.image import Pixels
from img2img.image.palette import LabelSet, Palette
from img2img.image.planes import mask_of
from img2img.types import ValueRange

_NAMED = 3  # pairs in one message
_PROBED = 12  # pictures that are opened to learn about all
Probes = list[tuple[Image, Path]]


@dataclass(frozen=True)
class Data:
    """What a configuration names, ready for `batches` and `in_order`.

    Attributes:
        train: For training.
        validation: Held out, or None.
        channels: Of the tensor of each field; of a vector how many numbers it has.
        description: What was found, in one sentence.
        notes: Sentences about what was left out.
        palette: The colours that the channels of one-hot sources stand for, or None.
        classes: The classes of the label maps that are learnt to be made, or None.
        warnings: Sentences about what will make the model worse than it could be.
        names: What the numbers of each vector are called; empty where nobody knows.
    """

    train: Dataset
    validation: Dataset | None
    channels: Mapping[str, int]
    description: str
    notes: tuple[str, ...] = ()
    palette: Palette | None = None
    classes: LabelSet | None = None
    warnings: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def open_data(
    config: DataConfig, fields: Fields | None = None, *, seed: int = 0, any_size: bool = False
) -> Data:
    """Finds the data that `config` names; a few pictures are opened to learn their channels.

    Args:
        config: Where the data is and what is done to it.
        fields: What a sample holds, as the method says; None takes what the data alone say.
        seed: Of everything random but the order.
        any_size: Whether what is trained is used on pictures of any size.

    Raises:
        ConfigError: The data is of another kind, or the settings do not fit it.
        PlanError: Folders, files or partners are missing, or no picture that was tried can be read.
    """
    fields = present(config, fields)
    drawn = {name: of for name, one in fields.items() if isinstance(one, Vector) and (of := one.of)}
    fields = placed(fields)
    records = find_records(config, fields)
    require_fit(config, fields)
    require_labels(fields, records)
    made = _Opening(config, fields, records, seed, drawn)
    held_out = made.dataset(records.validation, validation=True) if records.has_validation else None
    return Data(
        made.dataset(records.train, validation=False),
        held_out,
        made.channels | {name: made.channels[of] for name, of in drawn.items()},
        "; ".join(filter(None, [made.sentence(), config.preparation(fields)])),
        records.notes,
        made.one_hot[made.source] if config.source_labels == "one_hot" else None,
        made.classes(),
        (*made.warnings(), *filter(None, [config.mismatch(fields, any_size)])),
        records.names,
    )


class _Opening:
    """What the data sets of a configuration have in common.

    Attributes:
        channels: See `Data`.
        one_hot: The colours of the label maps that become one channel for each, by field.
    """

    def __init__(
        self,
        config: DataConfig,
        fields: Fields,
        records: Records,
        seed: int,
        numbers_of: Mapping[str, str],
    ) -> None:
        self.config, self.fields, self.records, self.seed = config, fields, records, seed
        self.numbers_of = numbers_of
        self.pictures = pictures(fields)
        self.patches = scale_of(fields) is not None
        self.probes = self._probe()
        # what a list has a column for is not drawn
        self._drawn = [n for n in fields if config.fields.get(n) == "random" and n not in self.probes]
        self.source, self.target = self.pictures[0], self.pictures[-1 if len(self.pictures) < 2 else 1]
        self.labels = set(config.labels(fields))
        bands = {name: max(image.channels for image, _ in found) for name, found in self.probes.items()}
        for name in self.pictures:  # what is made of another one has its channels
            bands.setdefault(name, bands[self.target])
        wanted = {self.source: config.source_channels, self.target: config.target_channels}
        if config.images is not None:
            made = config.target_channels if self.patches else None
            wanted = dict.fromkeys(self.pictures, made or config.source_channels)
        first = wanted[self.source] or bands[self.source]  # in use, further pictures are seen as the source
        self.bands = dict.fromkeys(self.pictures, first)
        self.bands[self.target] = wanted[self.target] or bands[self.target]
        for name in self.pictures:
            if (own := getattr(fields[name], "channels", None)) is not None and name in bands:
                self.bands[name] = own or bands[name]
        self.one_hot = {
            name: config.palette or self._collect_palette(name)
            for name in self.labels
            if name != self.source or config.source_labels == "one_hot"
        }
        self.channels = {name: self._channels(name) for name in fields}
        alpha = ends_in_alpha(self.bands[self.source], bands[self.source])
        augment = config.augment
        self.augmenter = Augmenter(augment.geometric, augment.photometric, self.labels, augment.sharp, alpha)
        self.degrader = (
            Degrader(config.degradation, scale_of(fields) or 1, alpha, seed) if config.degradation else None
        )
        self.cache = _cache(config)

    def dataset(self, records: Sequence[Sequence[Record]], validation: bool) -> Dataset:
        """Returns the samples of `records`, group by group; whole ones for validation."""
        config = self.config
        if self.patches:
            return PatchDataset(
                self._group(tuple(self.fields), records[0], None, None),
                config,
                scale_of(self.fields) or 1,
                self.augmenter,
                self.cache,
                self.seed,
                self.degrader,
            )
        size = config.load_size
        if validation and size is not None:
            size = config.crop_size or size  # the whole picture at the size of the crop, as in the papers
        least = config.crop_size if size is None else None
        return FieldDataset(
            [
                self._group(names, part, size, least)
                for names, part in zip(groups(self.fields), records, strict=True)
            ],
            crop=None if validation and config.fit == "keep" and size is not None else config.crop_size,
            flip=config.flip,
            augmenter=self.augmenter,
            cache=self.cache,
            seed=self.seed,
            classes={name: len(palette) for name, palette in self.one_hot.items()},
            numbers_of=self.numbers_of,
        )

    def _group(
        self, names: Sequence[str], records: Sequence[Record], size: Size | None, least: Size | None
    ) -> Group:
        named = records[0].files if records else {}
        return Group(
            records,
            {name: self.fields[name] for name in names},
            {name: self._recipe(name, size, least) for name in named},
            {
                name: IrregularMasks(self.config.masks, self.seed, self._drawn.index(name))
                for name in names
                if name in self._drawn
            },
        )

    def _recipe(self, name: str, size: Size | None, least: Size | None) -> Recipe:
        kind, keep = self.fields[name].kind, self.config.fit == "keep"
        if kind in ("mask", "ids"):
            return Recipe(size, least, "nearest", keep=keep, kind="mask" if kind == "mask" else "ids")
        labels = name in self.labels
        return Recipe(
            size,
            least,
            "nearest" if labels else self.config.resize,
            self.bands[name],
            self._colours(name),
            labels,
            self.numbers(name),
            keep,
        )

    def numbers(self, name: str) -> ValueRange | None:
        """Returns black and white in the numbers of a picture; None where they are those of the depth."""
        if name in self.labels:
            return None  # they hold names, and those have no black
        source, target = self.config.numbers
        makes = name == self.target != self.source and self.config.images is None
        return target if makes else source

    def _channels(self, name: str) -> int:
        declared = self.fields[name]
        if isinstance(declared, Vector):
            for part in self.records.train:
                if part and name in part[0].values:
                    size = len(part[0].values[name])
                    if declared.size not in (None, size):
                        raise ConfigError(
                            f"the method takes {declared.size} numbers as {name}, and the data have {size}."
                        )
                    return size
            raise PlanError(f"no sample has numbers for {name}.")
        if name not in self.pictures:
            return 1
        return len(self.one_hot[name]) if name in self.one_hot else self.bands[name]

    def _probe(self) -> dict[str, Probes]:
        """Returns some pictures of each field from all over the training data.

        Raises:
            PlanError: None of those that were tried can be read.
        """
        found: dict[str, Probes] = {}
        for part in self.records.train:
            if not part:
                continue
            if part[0].aligned is not None:
                a, b = list(part[0].files)[:2]
                pairs = [(halves(image, path), path) for image, path in _read_some(part, a)]
                found[a] = [(pair[0], path) for pair, path in pairs]
                found[b] = [(pair[1], path) for pair, path in pairs]
            found |= {name: _read_some(part, name) for name in part[0].files if name not in found}
        return found

    def classes(self) -> LabelSet | None:
        """Returns the classes of the label maps that are learnt to be made."""
        made = [name for name, one in self.fields.items() if isinstance(one, Labels)]
        if not made:
            return None
        return LabelSet(self.one_hot[made[0]], self.config.class_names or (), self.config.ignore_label)

    def _colours(self, name: str) -> Palette | None:
        """Returns the colours that the files of a label map have; the one that is ignored is the last."""
        if name not in self.one_hot:
            return None
        ignored = self.config.ignore_label
        return self.one_hot[name] if ignored is None else (*self.one_hot[name], ignored)

    def _collect_palette(self, name: str) -> Palette:
        """Returns the colours that all label maps of a field together have, but for the one to ignore."""
        part = next(i for i, names in enumerate(groups(self.fields)) if name in names)
        parts = [some[part] for some in (self.records.train, self.records.validation) if some]

        def maps() -> Iterator[Pixels]:
            for record in (record for some in parts for record in some):
                path = record.files[name]
                try:
                    image = read_image(path)
                    if record.aligned is not None:
                        image = halves(image, path)[list(record.files).index(name)]
                    yield seen(palettes.with_levels(image), self.bands[name], path, unmixed=True)
                except (ImageError, ProcessingError):
                    continue  # it is named when its turn comes

        return tuple(colour for colour in palettes.collect(maps()) if colour != self.config.ignore_label)

    def warnings(self) -> Iterator[str]:
        """Yields sentences about what will make the model worse than it could be."""
        source, target = (self.probes.get(name, []) for name in (self.source, self.target))
        if not source:
            source = target
        both = self.target if self.source in self.probes and self.target not in self.labels else self.source
        yield from _numbers(self.config, source, self.probes.get(both, source))
        yield from self._foreign()
        yield from self._shapes()
        yield from self._smaller()
        for name in (name for name, one in self.fields.items() if isinstance(one, Mask)):
            marked = [(mask_of(image)[1], path) for image, path in self.probes.get(name, ())]
            dark = [(sentences[0], path) for sentences, path in marked if sentences]
            if dark:
                yield f"{display_path(dark[0][1])}: {dark[0][0]}."

    def _foreign(self) -> Iterator[str]:
        """Yields a sentence about label maps with colours that the palette lacks, if there are."""
        for name in self.one_hot:
            colours = self._colours(name) or ()
            if colours and palettes.is_numbered(colours):
                continue  # such files are left out, and named
            for image, path in self.probes.get(name, ()):
                pixels = _as_labels(image, colours, path)
                if pixels is not None and (strange := palettes.stranger(pixels, colours)):
                    yield (
                        f"{display_path(path)}: {strange} (data.palette), and they count as the nearest. Add "
                        "it, or name it as data.ignore_label; `img2img data check` names all files."
                    )
                    break

    def _shapes(self) -> Iterator[str]:
        """Yields a sentence about partners that are squeezed until they fit each other, if there are."""
        if self.patches or not self.config.load_size:
            return
        known = {path: (image.height, image.width) for found in self.probes.values() for image, path in found}
        pairs = [record.paths for part in self.records.train for record in part if len(record.paths) > 1]
        pairs = [pair for pair in pairs if all(path in known for path in pair)]
        wrong = [pair for pair in pairs if any(not one_view(known[pair[0]], known[p]) for p in pair[1:])]
        if wrong:
            names = "; ".join(" and ".join(map(display_path, pair)) for pair in wrong[:_NAMED])
            yield (
                f"{len(wrong)} of the {len(pairs)} pairs that were looked at are of different proportions "
                f"and are squeezed until they fit: {names}. Cut or resize them alike; `img2img data check` "
                "names all."
            )

    def _smaller(self) -> Iterator[str]:
        """Yields a sentence about pictures that hold no patch, if there are."""
        crop, found = self.config.crop_size, self.probes.get(self.target, [])
        if not self.patches or crop is None:
            return
        small = [path for image, path in found if image.height < crop[0] or image.width < crop[1]]
        if small:
            yield (
                f"{len(small)} of the {len(found)} pictures that were looked at are smaller than patches of "
                f"{crop[1]} x {crop[0]} (data.crop_size), and are passed over: {some_names(small)}."
            )

    def sentence(self) -> str:
        """Returns what was found."""
        records, single = self.records, self.config.images is not None
        counts = [len(part) for part in records.train]
        held_out = [len(part) for part in records.validation] or [0] * len(counts)
        if len(counts) > 1:
            roles = dict(zip(sides(self.config, self.fields), "AB", strict=False))
            names = [roles.get(group[0], group[0]) for group in groups(self.fields)]
            order = sorted(range(len(names)), key=lambda place: names[place]) if roles else range(len(names))
            held_out = [held_out[place] for place in order]
            listed = [f"{counts[place]} of {names[place]}" for place in order]
            first, _, rest = listed[0].partition(" ")
            count = f"{first} pictures {rest} and {' and '.join(listed[1:])} for training"
        else:
            files = self.records.train[0][0].files if self.records.train[0] else {}
            pictures = sum(isinstance(self.fields[name], Picture) for name in files)
            noun = "pairs" if pictures == 2 and not single else "samples" if pictures > 2 else "pictures"
            count = f"{counts[0]} {noun} for training"
        parts = [f"{count}, {' and '.join(map(str, held_out))} for validation ({records.origin})"]
        if single and len(self.probes) == 1:
            parts.append(f"{_sizes(next(iter(self.probes.values())))}, {self.channels[self.target]} channels")
        else:
            described = [
                f"{name} {_sizes(self.probes[name])}, {self.channels[name]} channels"
                for name in self.pictures
                if name in self.probes
            ]
            parts.append("; ".join(described))
        if self.degrader:
            parts.append(f"sources made of them by {self.degrader.degradation.kind}")
        for name, one in self.fields.items():
            if isinstance(one, Vector):
                parts.append(f"{name} of {self.channels[name]} numbers")
            elif not isinstance(one, Picture):
                drawn = name in self._drawn
                parts.append(f"{name} drawn at random" if drawn else f"{name} {_sizes(self.probes[name])}")
        return "; ".join(parts)


def _as_labels(image: Image, colours: Palette, path: Path) -> Pixels | None:
    """Returns the colours of a label map; None where it cannot be one, which is told when its turn comes."""
    try:
        return seen(palettes.with_levels(image), len(colours[0]), path, unmixed=True)
    except (ImageError, ProcessingError):
        return None


def _cache(config: DataConfig) -> Cache:
    if config.cache == "memory":
        return PrivateCache(config.cache_folder)
    if config.cache == "disk":
        return Cache(config.cache_folder or user_cache() / "pictures")
    return Cache()


def _read_some(records: Sequence[Record], name: str) -> Probes:
    places = np.unique(np.linspace(0, len(records) - 1, _PROBED).astype(int))
    found = []
    problem = ""
    for place in places:
        path = records[place].files[name]
        try:
            found.append((read_image(path), path))
        except ImageError as error:
            problem = str(error)
    if not found:
        raise PlanError(f"none of the {len(places)} pictures that were tried can be read: {problem}.")
    return found


def _numbers(config: DataConfig, source: Probes, target: Probes) -> Iterator[str]:
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


def _sizes(side: Probes) -> str:
    """Returns the sizes and depths of some pictures in words."""
    sizes = sorted({(image.width, image.height) for image, _ in side})
    depths = "/".join(sorted({image.pixels.dtype.name for image, _ in side}))
    smallest, largest = (f"{width} x {height}" for width, height in (sizes[0], sizes[-1]))
    return f"{smallest} {depths}" if len(sizes) == 1 else f"{smallest} to {largest} {depths}"
