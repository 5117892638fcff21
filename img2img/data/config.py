"""The `data` section of a configuration: where the pictures are and how they are brought to the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)

from img2img.data.masks import MaskConfig
from img2img.fields import (
    PAIRED,
    UNPAIRED,
    Fields,
    Ids,
    Labels,
    Mask,
    Picture,
    Vector,
    enlarging,
    groups,
    pictures,
    scale_of,
)
from img2img.fields import Field as FieldKind
from img2img.image.palette import MOST, Palette, indices
from img2img.processors.degradations import NamedDegradation
from img2img.types import ValueRange

SOURCES = ("paired", "aligned", "list", "unpaired", "images")
JITTERED = (286, 286)
CROPPED = (256, 256)
MEASURED = (512, 512)
SPLIT_OFF = 0.1


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | Path) else value


def _square(value: object) -> object:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if low >= high:
        raise ValueError("black comes first and is the smaller number: [0, 4095]")
    if high - low < max(1e-30, 1e-5 * max(-low, high)):
        raise ValueError("black and white lie too near to each other to be told apart in 32 bits")
    return value


Paths = Annotated[tuple[Path, ...], BeforeValidator(_several), Field(min_length=1)]
SideLength = Annotated[int, Field(ge=1)]
Size = Annotated[tuple[SideLength, SideLength], BeforeValidator(_square)]
Level = Annotated[float, Field(gt=-1e30, lt=1e30)]  # float32 computes with it
Numbers = Annotated[tuple[Level, Level], AfterValidator(_ascending)]
_MOST_JITTER = 1.3  # of load_size to crop_size; the papers have 1.12
_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
Transform = dict[str, dict[str, Any] | None]


class AugmentConfig(BaseModel):
    """What is done to the pictures at random, beyond the crop and the flip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometric: tuple[Transform, ...] = Field(
        (),
        description="albumentations transforms that move pixels, applied to source and target alike, before "
        "the crop: [{Rotate: {limit: 10, p: 0.5}}]. Label maps are resampled with nearest neighbour. "
        "Unpaired pictures are moved independently.",
    )
    photometric: tuple[Transform, ...] = Field(
        (),
        description="albumentations transforms that change values, applied to the source only; of unpaired "
        "data to both domains, independently: [{RandomGamma: {p: 0.5}}].",
    )
    sharp: tuple[Transform, ...] = Field(
        (),
        description="Super-resolution from images: albumentations transforms of both kinds, applied to the "
        "sharp patch before its low-resolution version is made of it: [{ChannelShuffle: {}}]. They are given "
        "twice its height and width, as far as the picture goes, and the middle of the result is taken.",
    )

    @model_validator(mode="after")
    def _known(self) -> AugmentConfig:
        if self.geometric or self.photometric or self.sharp:
            from img2img.data.augment import check

            check(self.geometric, self.photometric, self.sharp)
        return self


class DataConfig(BaseModel):
    """Where the pictures are and how they are brought to the network.

    Exactly one of `paired`, `aligned`, `list`, `unpaired` and `images` says what kind of data it is; or none
    of them, and `fields` has a place for each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paired: Paths | None = Field(
        None,
        max_length=2,
        description="Two folders whose files are matched by relative name without extension; or one folder "
        "that holds them as A and B, or as trainA and trainB.",
    )
    aligned: Paths | None = Field(
        None, description="Folder or folders of side-by-side files: left half A, right half B."
    )
    list: Path | None = Field(
        None,
        description="A CSV file with one column for each field (source, target, mask, ...), or a JSON-lines "
        "file with these keys; paths are relative to the file. One called split may say train, val or test.",
    )
    unpaired: Paths | None = Field(
        None,
        max_length=2,
        description="Two folders of pictures without partners, or two text files with one path a line; or "
        "one folder that holds trainA and trainB.",
    )
    images: Paths | None = Field(
        None, description="Folder or folders of pictures alone, for super-resolution and inpainting."
    )
    fields: dict[str, Literal["random", "classes"] | Path] = Field(
        {},
        description="The places of further fields that a method asks for, by their names: {mask: masks}. A "
        "folder, whose files are matched by relative name; for a mask also random, which draws it; for a "
        "vector a table (CSV, JSON lines or CelebA's text) or classes, for one folder a class.",
    )
    attributes: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="The columns of tables that are wanted, in this order; null takes all.",
    )
    masks: MaskConfig = Field(MaskConfig(), description="What masks that are drawn at random look like.")
    direction: Literal["AtoB", "BtoA"] = Field(
        "AtoB", description="Which of the two is the source: the first (left) or the second (right)."
    )
    unmatched: Literal["error", "skip"] = Field(
        "error",
        description="Whether a file without its partner stops the run before it starts, or is left out.",
    )
    follow_symlinks: bool = Field(
        False,
        description="Whether to look into folders that symbolic links lead to; links to files are always "
        "followed.",
    )
    hidden: bool = Field(False, description="Whether to take files and folders whose names begin with a dot.")

    validation: Paths | None = Field(
        None,
        description="Held-out data of the same kind and layout. By default the folders val or test beside "
        "train (valA, testA, ...), and where there are none, a part that is split off.",
    )
    validation_fraction: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="The share that is split off by a hash of the file names where nothing is held out "
        "already; 0 for none. Adding files moves no other file. null takes 0.1, and of unpaired pictures "
        "none, for they have no truth to be measured against.",
    )
    split_seed: int = Field(0, ge=0, description="Another number is another split.")

    load_size: Size | None = Field(
        JITTERED,
        description="Pictures are resized to this side (or height and width), see fit, before the crop; "
        "null keeps their own size, and only enlarges what is smaller than the crop. "
        "Left out it is 286/256 of crop_size. Validation resizes the whole picture to crop_size. Not for "
        "super-resolution.",
    )
    fit: Literal["squeeze", "keep"] = Field(
        "squeeze",
        description="How pictures of other proportions come to load_size, and to crop_size in validation: "
        "squeeze makes exactly that of them, as in the papers; keep leaves their proportions, with neither "
        "side smaller than that, and training cuts its crop out of it. The model file remembers it, and "
        "translate does the same; sides are padded there to the multiple that the network needs.",
    )
    crop_size: Size | None = Field(
        CROPPED,
        description="Side (or height and width) of what the network sees; for super-resolution of the "
        "high-resolution patch. null takes whole pictures.",
    )
    flip: bool = Field(
        True, description="Mirror at random; super-resolution patches are also turned (eight positions)."
    )
    resize: Literal["bicubic", "nearest"] = Field(
        "bicubic", description="How load_size is reached; bicubic is antialiased."
    )
    source_labels: Literal["none", "nearest", "one_hot"] = Field(
        "none",
        description="Whether the source is a label map: nearest keeps its colours unmixed, one_hot makes "
        "one channel for each.",
    )
    palette: Palette | None = Field(
        None,
        description="The colours of the labels, [[0, 0, 0], [255, 0, 0], ...] or [0, 1, 2]; or how many "
        "classes there are, for label maps that hold 0, 1, 2 and so on in 8 or 16 bits, where any other "
        "number is an error. null collects them from the files. Other colours count as the nearest. Of a "
        "method that makes label maps these are the colours of its target.",
    )
    class_names: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="What the colours of palette stand for, in its order: [road, sky, car]. The model file "
        "keeps them.",
    )
    ignore_label: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="The colour of label maps that stands for no class, or for one that nobody knows: "
        "255, or [0, 0, 0]. Such pixels teach nothing, and are not measured.",
    )
    source_channels: int | None = Field(
        None,
        ge=1,
        description="Channels of the source; null takes what the files have without alpha. 4 channels keep "
        "alpha (RGBA), and so do 2 (grey and alpha).",
    )
    target_channels: int | None = Field(
        None,
        ge=1,
        description="Channels of the target; null takes what the files have without alpha. 4 channels keep "
        "alpha (RGBA), and so do 2 (grey and alpha).",
    )
    range: Numbers | None = Field(
        None,
        description="What black and white are in the numbers of the files, where they are not those of their "
        "depth: [0, 4095] for 12 bits in 16-bit files, [-1000, 3000] for Hounsfield units, [0, 255] for "
        "floating point of this kind. Values outside count as black or white. The model file remembers it, "
        "and translate reads and writes the same numbers. null: 0 to 255, 0 to 65535, 0.0 to 1.0.",
    )
    target_range: Numbers | None = Field(
        None,
        description="The same for the target (of unpaired pictures, domain B); null takes that of range. "
        "With range: [-1000, 3000], [0, 255] says that targets are ordinary pictures of 8 bits.",
    )
    augment: AugmentConfig = Field(
        AugmentConfig(), description="What else is done to the pictures at random."
    )

    degradation: NamedDegradation | None = Field(
        None,
        description="Images: what makes the sources of the sharp pictures, by its name (denoise, dejpeg, "
        "deblur, mixed, old, real, second_order) or with parameters: {kind: dejpeg, quality: [10, 40]}. At "
        "method.scale 1 that trains a restoration. null is MATLAB's bicubic alone.",
    )
    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0,),
        min_length=1,
        description="Super-resolution: the sizes, relative to its own, at which each picture is offered.",
    )
    scale_choice: Literal["area", "equal"] = Field(
        "area",
        description="Super-resolution: how often each of scales is taken: in proportion to its area, so that "
        "every pixel counts alike, or all equally often.",
    )
    patches_per_image: int = Field(
        16, ge=1, description="Super-resolution: an epoch takes this many patches from each picture."
    )
    best_of: int = Field(
        1, ge=1, description="Super-resolution: of so many random patches, the one with most detail is taken."
    )

    validation_crop: Size | None = Field(
        MEASURED,
        description="Super-resolution: side (or height and width) of what is measured of a held-out picture, "
        "its middle; null measures whole pictures, which takes long and much memory.",
    )

    cache: Literal["none", "memory", "disk"] = Field(
        "memory",
        description="Where decoded and resized pictures are kept: memory shares them between the workers of "
        "this run, disk keeps them for the next one, too.",
    )
    cache_folder: Path | None = Field(
        None, description="The folder of the cache; null takes the user's cache, or the temporary folder."
    )
    workers: int = Field(
        2, ge=0, description="Processes that read and prepare pictures; 0 does it in the training process."
    )

    @model_validator(mode="before")
    @classmethod
    def _jittered(cls, values: Any) -> Any:
        """Lets load_size follow a crop_size that is given without it."""
        if isinstance(values, dict) and "load_size" not in values:
            size = _jitter(values.get("crop_size", CROPPED), CROPPED, JITTERED)
            return values if size is None else {**values, "load_size": size}
        return values

    @model_validator(mode="before")
    @classmethod
    def _plain_palette(cls, values: Any) -> Any:
        if isinstance(values, dict) and type(count := values.get("palette")) is int:
            if not 0 < count <= MOST:
                raise ValueError(f"palette is a number of classes from 1 to {MOST}, or their colours")
            values = {**values, "palette": indices(count)}
        if isinstance(values, dict) and isinstance(values.get("palette"), str | float | bool):
            raise ValueError(f"palette is a number of classes from 1 to {MOST}, or their colours")
        if isinstance(values, dict) and isinstance(values.get("palette"), list | tuple):
            colours = [(c,) if isinstance(c, int) else c for c in values["palette"]]
            values = {**values, "palette": colours}
        if isinstance(values, dict) and type(values.get("ignore_label")) is int:
            values = {**values, "ignore_label": (values["ignore_label"],)}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) > 1 or (not given and not any(isinstance(p, Path) for p in self.fields.values())):
            found = " and ".join(given) if given else "none"
            raise ValueError(f"exactly one of {', '.join(SOURCES)} says where the data is; given are {found}")
        if self.images is not None and self.target_range is not None:
            raise ValueError("target_range is for two kinds of files; pictures of images have range alone")
        if self.palette is not None:
            if not 0 < len(self.known_colours or ()) <= MOST:
                raise ValueError(
                    f"label maps tell up to {MOST} colours apart, the ignored one counted; there are "
                    f"{len(self.known_colours or ())}"
                )
            if not all(0 <= level < MOST for colour in self.known_colours or () for level in colour):
                raise ValueError(f"the levels of palette and ignore_label are from 0 to {MOST - 1}")
            ignored = () if self.ignore_label is None else (self.ignore_label,)
            if len({len(colour) for colour in (*self.palette, *ignored)}) != 1:
                raise ValueError(
                    "the colours of palette need one length: [r, g, b] each, or one level each; and so does "
                    "ignore_label"
                )
            if len(set(self.palette)) < len(self.palette):
                raise ValueError("the colours of palette differ, or one class would never be seen")
            if self.ignore_label in self.palette:
                raise ValueError("ignore_label stands for no class; take it out of palette")
        if self.class_names is not None:
            count = "none" if self.palette is None else len(self.palette)
            if count != len(self.class_names):
                raise ValueError(
                    f"class_names are those of the colours of palette: there are {len(self.class_names)} "
                    f"names and {count} colours"
                )
            if len(set(self.class_names)) < len(self.class_names) or not all(
                name.isprintable() and name.strip() for name in self.class_names
            ):
                raise ValueError("class_names are different words, one for each colour of palette")
        return self

    @field_serializer("palette")
    def _counted(self, palette: Palette | None) -> Palette | int | None:
        """Writes numbers from 0 on as how many there are: it may be 65,536 of them."""
        return len(palette) if palette is not None and palette == indices(len(palette)) else palette

    def preparation(self, fields: Fields) -> str:
        """Returns what is done to the size of pictures before the network sees them, as a clause."""
        if scale_of(fields) is not None or self.load_size in (None, self.crop_size):
            return ""
        assert self.load_size is not None
        proportions = "in their proportions, at least " if self.fit == "keep" else "at "
        return f"loaded {proportions}{_by(self.load_size)}" + (
            f", cut to {_by(self.crop_size)}" if self.crop_size else ""
        )

    def mismatch(self, fields: Fields, any_size: bool = False) -> str | None:
        """Returns a sentence where training sees things much larger than validation and use do, or None.

        Networks for `any_size` see pictures as they are.
        """
        if any_size or scale_of(fields) is not None or not self.load_size or not self.crop_size:
            return None
        ratio = max(load / crop for load, crop in zip(self.load_size, self.crop_size, strict=True))
        if ratio <= _MOST_JITTER:
            return None
        fitting = [
            side * old // new for side, old, new in zip(self.crop_size, JITTERED, CROPPED, strict=True)
        ]
        crop, load = _by(self.crop_size), _by(self.load_size)
        return (
            f"training sees cut-outs of {crop} from pictures of {load}, but validation and translate bring "
            f"the whole picture to {crop}: things will be {ratio:.2g} times smaller there than what was "
            f"learned. Set load_size={fitting} (or leave it out), or a larger crop_size."
        )

    @property
    def known_colours(self) -> Palette | None:
        """The colours that label maps may have: those of the classes, and the one that is ignored last."""
        if self.palette is None or self.ignore_label is None:
            return self.palette
        return (*self.palette, self.ignore_label)

    def labels(self, fields: Fields) -> tuple[str, ...]:
        """Returns the names of the fields that hold label maps."""
        source = pictures(fields)[:1] if self.source_labels != "none" else ()
        return (*source, *(name for name, one in fields.items() if isinstance(one, Labels)))

    def split_fraction(self, fields: Fields) -> float:
        """Returns `validation_fraction`, or what it is where it is null."""
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.0 if len(groups(fields)) > 1 else SPLIT_OFF

    @property
    def numbers(self) -> tuple[ValueRange | None, ValueRange | None]:
        """Black and white in the numbers of source and target; None where they are those of the depth.

        Label maps hold names, and those have no black.
        """
        source = self.range if self.source_labels == "none" else None
        target = self.target_range or self.range
        return source and ValueRange(*source), target and ValueRange(*target)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder of pictures that is named and there."""
        named = (self.paired, self.aligned, self.unpaired, self.images, self.validation)
        places = [place for some in named for place in some or ()]
        places += [place for place in self.fields.values() if isinstance(place, Path)]
        return tuple(place for place in places if place.is_dir())

    @property
    def form(self) -> str:
        """The key that says where the pictures are: one of `SOURCES`, or "fields"."""
        return next((name for name in SOURCES if getattr(self, name) is not None), "fields")

    @property
    def declared(self) -> Fields:
        """The fields that the data are of where no method says it."""
        found: dict[str, FieldKind] = dict(PAIRED)
        if self.form == "fields":
            found = {}
        elif self.unpaired is not None:
            found = dict(UNPAIRED)
        elif self.images is not None:
            scale = self.degradation.natural_scale if self.degradation else 4
            found = dict(enlarging(scale)) if not self.fields else {"source": Picture()}
        for name, place in self.fields.items():
            if name not in found:
                found[name] = guessed(name, place, next(iter(found), None))
        return found


def guessed(name: str, place: Path | str | None, like: str | None) -> FieldKind:
    """Returns the kind that a field seems to be of by its name and its place."""
    table = isinstance(place, Path) and (place.is_file() or place.suffix.lower() in _TABLES)
    listed = isinstance(place, Path) and place.suffix.lower() == ".txt" and "mask" in name
    if place == "classes" or (table and not listed):
        return Vector()
    if place == "random" or "mask" in name:
        return Mask(like)
    return Ids(like) if name in ("instance", "instances", "ids") else Picture(like)


def lay_places(section: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the section data with the places `given` instead of its own; fields are added to its own."""
    kept = dict(section)
    if given.keys() & set(SOURCES):
        kept = {key: value for key, value in kept.items() if key not in SOURCES}
    own = kept.get("fields")
    fields = {**(own if isinstance(own, Mapping) else {}), **given.get("fields", {})}
    return kept | dict(given) | ({"fields": fields} if fields else {})


def keep_jitter(section: dict[str, Any], before: Any, keys: Iterable[str]) -> None:
    """Lets load_size follow where an assignment changed crop_size alone.

    Args:
        section: The section data; it is changed.
        before: It before the assignments.
        keys: What they changed.
    """
    given = {key.strip().replace("-", "_").removeprefix("data.") for key in keys}
    if "crop_size" not in given or "load_size" in given or not isinstance(before, dict):
        return
    size = _jitter(section.get("crop_size"), before.get("crop_size", CROPPED), before.get("load_size"))
    if size is not None:
        section["load_size"] = size


def _jitter(crop: object, old_crop: object, old_load: object) -> list[int] | None:
    """Returns what load_size becomes when crop_size becomes `crop`; None where one of them is no size."""
    sizes = []
    for value in map(_square, (crop, old_crop, old_load)):
        if not isinstance(value, list | tuple) or len(value) != 2:
            return None
        if not all(isinstance(side, int) and side > 0 for side in value):
            return None
        sizes.append(value)
    return [round(load * new / old) for new, old, load in zip(*sizes, strict=True)]


def _by(size: tuple[int, int]) -> str:
    """Returns (height, width) as people write it."""
    return f"{size[1]} x {size[0]}"
