"""What of a picture goes through a network, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from img2img.checkpoint import Fit, ModelInfo
from img2img.errors import ProcessingError
from img2img.fields import Fields, Vector
from img2img.image import Image
from img2img.image.alpha import bleed, over_white, within
from img2img.image.channels import as_grey, ends_in_alpha, with_channels
from img2img.image.colour_fix import ColourFix, with_colours_of
from img2img.image.conversion import converted
from img2img.image.image import Pixels, white_of
from img2img.image.numbers import depth_of, from_unit, require_sound, to_unit, words
from img2img.image.palette import MOST_COLOURS, LabelSet, classes, foreign, require_classes, with_levels
from img2img.image.resize import covering, resize, resize_nearest
from img2img.image.xmp import GENERATED
from img2img.inference import conditions as companions
from img2img.inference.enlarge import resized, toward_bicubic
from img2img.models import Generator
from img2img.types import ValueRange

Alpha = Literal["model", "bicubic", "drop"]
_NEAR, _FEW = 0.01, 0.01  # of a range, of the values in a picture
_LEVELS = 64  # in a range that nobody means who stores 0 to 1


@dataclass(frozen=True)
class NetworkInputs:
    """What of a picture goes through the network: its colours in one or more parts, its alpha, conditions."""

    image: Image
    parts: list[Pixels]
    masks: list[Pixels]
    planes: companions.Planes


@dataclass(frozen=True)
class ImageProcessing:
    """How pictures come to the network of a `Translator`, whose docstring says what the attributes mean."""

    generator: Generator
    info: ModelInfo
    alpha: str
    size: tuple[int, int] | None
    fit: Fit
    scale: float
    strength: float
    color_fix: ColourFix
    source_type: str | None

    def prepared(self, image: Image) -> Image:
        """Returns `image` in sRGB for a model whose output is its own, and with one channel if it is grey."""
        if self._takes_labels:  # its colours are names, and those of the result are the model's
            return image.replace(icc=None, space=None)
        if self.in_floats:
            image = to_unit(image, self.info.range or ValueRange(0, image.white))
        return as_grey(image) if self.info.output == "like_input" else converted(image)

    def inputs(self, image: Image, given: Mapping[str, Any]) -> NetworkInputs:
        """Returns what goes through the network for `image`."""
        planes, remarks = self._planes(image, given) if given else ({}, [])
        image = image.warn(*remarks) if remarks else image
        if self._takes_labels:
            label_map, notes = self._labels(image)
            return NetworkInputs(image.warn(*notes), [label_map], [], planes)
        parts = self._parts(image)
        if self.info.range is not None:
            require_sound(np.concatenate(parts, 2), self.info.range)
            image = image.warn(*misfits(parts, self.info.range))
            parts = [np.clip(part, 0, 1) for part in parts]
        parts = [self._sized(part) for part in parts]
        if parts[0].dtype == np.float32 and not all(np.isfinite(part).all() for part in parts):
            raise ProcessingError("the picture holds values that are not finite numbers.")
        return NetworkInputs(image, parts, self._masks(image), planes)

    def _planes(self, image: Image, given: Mapping[str, Any]) -> tuple[dict[str, Pixels], list[str]]:
        """Returns the conditions of `image` at the size at which the network works, and sentences on them."""
        planes: dict[str, Pixels] = {}
        notes: list[str] = []
        for name, kind in self.conditions.items():
            bands = getattr(kind, "channels", None) or self.bands
            plane = companions.plane(name, kind, given[name], partial(self._further, bands), notes)
            if kind.spatial:
                companions.require_size(name, plane, image)
                if (extent := self.extent(*plane.shape[:2])) != plane.shape[:2]:
                    plane = (resize_nearest if kind.exact else resize)(plane, *extent)
            planes[name] = plane
        return planes, notes

    def _further(self, bands: int, image: Image) -> Pixels:
        """Returns a picture that is a condition as the network sees it, as it sees the first one."""
        if self.info.range is not None:
            image = to_unit(image, self.info.range)
        if self.info.output != "like_input":
            image = converted(image)
        pixels = with_channels(image, bands)
        require_sound(pixels, self.info.range)
        return pixels if self.info.range is None else np.clip(pixels, 0, 1)

    @property
    def conditions(self) -> Fields:
        """What the network takes beside a picture, with the names that the training gave to numbers."""
        fields: Fields = self.generator.conditions
        names = self.info.attributes
        return {
            name: replace(field, names=names[name]) if isinstance(field, Vector) and name in names else field
            for name, field in fields.items()
        }

    @property
    def counts(self) -> bool:
        """Whether pictures go in or come out in numbers other than those of their depth."""
        return self.info.range is not None or self.info.target_range is not None

    @property
    def in_floats(self) -> bool:
        """Whether pictures go through the network as floats, whatever their depth.

        Where it makes label maps, the levels of 8 bits are too few to tell which class is the likeliest.
        """
        return self.counts or self.info.labels is not None

    def _counted(self, result: Image, source: Image) -> Image:
        """Returns `result` in the numbers of the pictures that the model was trained to make."""
        if not self.counts:
            return result
        dtype = source.pixels.dtype
        numbers = self.info.target_range
        if numbers is None:
            return from_unit(result, ValueRange(0, white_of(dtype)), dtype)
        return from_unit(result, numbers, depth_of(numbers, dtype, numbers == self.info.range))

    @property
    def bands(self) -> int:
        """The channels of the pictures that the model takes; label maps become more of them."""
        return len(self.info.palette[0]) if self.info.palette else self.generator.in_channels

    @property
    def _takes_labels(self) -> bool:
        return self.info.nearest or self.info.palette is not None

    def _labels(self, image: Image) -> tuple[Pixels, list[str]]:
        """Returns a label map as the network saw it in training: colours unmixed, or the classes they are.

        Classes (H, W, 1) become one channel for each where the network runs.
        """
        palette = self.info.palette
        if palette:
            image = with_levels(image)
        pixels = with_channels(
            image, len(palette[0]) if palette else self.generator.in_channels, unmixed=True
        )
        if palette:
            require_classes(image, pixels, palette)
        if (extent := self.extent(*pixels.shape[:2])) != pixels.shape[:2]:
            pixels = resize_nearest(pixels, *extent)
        if not palette:
            if self.in_floats and pixels.dtype != np.float32:
                pixels = pixels.astype(np.float32) / np.float32(white_of(pixels.dtype))
            return pixels, []
        share = foreign(pixels, palette)
        note = f"{share:.1%} of the pixels have colours that the model's palette lacks; the nearest are taken"
        places = classes(pixels, palette)
        return (places.astype(np.float32) if self.in_floats else places), [note] if share else []

    def _parts(self, image: Image) -> list[Pixels]:
        """Returns `image` as one or more pictures with the channels that the model takes."""
        wanted = self.generator.in_channels
        if image.alpha is not None and not ends_in_alpha(wanted, image.channels):
            continued = self.info.output == "like_input" and self.alpha != "drop"
            image = (bleed(image) if continued else over_white(image)).replace(alpha=None)
        bandwise = wanted == self.generator.out_channels <= 2 and wanted != image.channels
        if bandwise and self.info.output == "like_input":
            channels = (image.pixels[..., c : c + 1] for c in range(image.channels))
            return [with_channels(image.replace(pixels=channel), wanted) for channel in channels]
        return [with_channels(image, wanted)]

    def _sized(self, pixels: Pixels) -> Pixels:
        """Returns `pixels` at the size that the network works at."""
        extent = self.extent(*pixels.shape[:2])
        return pixels if extent == pixels.shape[:2] else resize(pixels, *extent)

    def extent(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size at which the network sees a picture of this one, before it is padded."""
        if self.size is None:
            return height, width
        return covering((height, width), self.size) if self.fit == "keep" else self.size

    def _masks(self, image: Image) -> list[Pixels]:
        """Returns alpha as a picture for the model, if the model shall enlarge it and that is worth it."""
        alpha = image.alpha
        if alpha is None or self.alpha != "model" or self.makes_alpha(image) or alpha.min() == alpha.max():
            return []
        if self.generator.scale == 1 or self.info.output != "like_input":
            return []
        return [with_channels(Image(alpha[..., None]), self.generator.in_channels)]

    def makes_alpha(self, image: Image) -> bool:
        """Returns whether the last channel that the network makes of `image` is alpha."""
        if self.info.labels is not None:
            return False
        bands = 0 if self.info.palette else image.channels  # one-hot labels have channels, but no colours
        return ends_in_alpha(self.generator.out_channels, bands)

    def stays_grey(self, image: Image) -> bool:
        """Returns whether `image` is grey and its result is to be grey, too."""
        return image.channels == 1 and self.info.output == "like_input"

    def assembled(self, image: Image, parts: list[Pixels], masks: list[Pixels]) -> Image:
        """Returns what the model made of `image`; alpha only where it came out of the model."""
        alpha = within(masks[0][..., 0], image.alpha) if masks and image.alpha is not None else None
        if self.makes_alpha(image):
            if image.alpha is not None or self.info.output == "own":
                alpha = parts[0][..., -1]
            parts = [part[..., :-1] for part in parts]
            if self.stays_grey(image):
                parts = [_mean(part) for part in parts]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, 2)
        same_kind = (image.channels == 1) == (pixels.shape[2] == 1)  # a profile is for grey or for colour
        return image.replace(pixels=pixels, alpha=alpha, icc=image.icc if same_kind else None)

    def finished(self, result: Image, used: Image, image: Image) -> Image:
        """Returns the result for `image`, of which `used` was prepared, from what `assembled` has made."""
        if self.info.labels is not None:
            return self._label_map(result, self.info.labels, image)
        done = self._counted(self._returned(result, used), image)
        if used.channels != image.channels:  # three equal channels, of which one was used
            done = done.replace(pixels=np.repeat(done.pixels, 3, 2))
        if self.source_type is None or done.metadata.source_type == GENERATED:
            return done
        return done.replace(metadata=done.metadata.replace(source_type=self.source_type))

    def _label_map(self, result: Image, labels: LabelSet, source: Image) -> Image:
        """Returns the likeliest class of each pixel of `source`, in the colour that stands for it.

        Args:
            result: How likely each class is, (H, W, classes), at the size at which the network works.
            labels: The classes.
            source: The picture.
        """
        height, width = (max(1, round(side * self.scale)) for side in (source.height, source.width))
        numbers = np.zeros((height, width), np.uint8 if len(labels) <= MOST_COLOURS else np.uint16)
        best: Pixels | None = None
        for number in range(len(labels)):  # one by one: all at the size of the picture may be gigabytes
            likelihood = result.pixels[..., number : number + 1]
            if likelihood.shape[:2] != (height, width):
                likelihood = resize(likelihood, height, width)
            likelihood = likelihood[..., 0]
            if best is None:
                best = likelihood.copy()
                continue
            more = likelihood > best
            numbers[more] = number
            np.maximum(best, likelihood, out=best)
        metadata = source.metadata.resized(width / source.width, height / source.height)
        made = labels.painted(numbers).replace(exif=source.exif, metadata=metadata, name=source.name)
        return made.warn(*result.warnings)

    def _returned(self, result: Image, source: Image) -> Image:
        """Returns `result` at its final size and strength, with the alpha of `source` where it made none."""
        height, width = (max(1, round(side * self.scale)) for side in (source.height, source.width))
        metadata = source.metadata.resized(width / source.width, height / source.height)
        result = resized(result, height, width).replace(metadata=metadata)
        result = with_colours_of(source, result, self.color_fix)
        if self.alpha == "drop":
            result, source = over_white(result), over_white(source)
        elif (
            result.alpha is None and source.alpha is not None and not (self.info.nearest or self.info.palette)
        ):
            alpha = source.alpha
            if alpha.shape != (height, width):
                alpha = resize(alpha[..., None], height, width)[..., 0]
            result = result.replace(alpha=alpha)
        return toward_bicubic(result, source, self.strength)


def misfits(parts: Sequence[Pixels], numbers: ValueRange) -> list[str]:
    """Returns a sentence if a picture, black at 0 and white at 1, is unlike those of the training."""
    low, high = (float(reach(of(part) for part in parts)) for reach, of in ((min, np.min), (max, np.max)))
    outside = sum(int(np.count_nonzero((part < -_NEAR) | (part > 1 + _NEAR))) for part in parts)
    share = outside / sum(part.size for part in parts)
    found = ValueRange(*(value * (numbers.high - numbers.low) + numbers.low for value in (low, high)))
    trained = f"the model was trained on {words(numbers)} (data.range)"
    if share > _FEW:
        return [f"{share:.1%} of the values ({words(found)}) lie outside, where {trained}; they were limited"]
    if -_NEAR < found.low < found.high < 1 + _NEAR and numbers.high - numbers.low > _LEVELS:
        return [f"the values are {words(found)} only, and {trained}: is this picture of the same kind?"]
    return []


def _mean(pixels: Pixels) -> Pixels:
    """Returns the mean of the channels of (H, W, C) as (H, W, 1) in the same dtype."""
    mean: Pixels = pixels.mean(2, keepdims=True)
    return (mean if pixels.dtype == np.float32 else np.rint(mean)).astype(pixels.dtype)
