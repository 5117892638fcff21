"""A model that is ready for use: pictures of any size, depth and kind go in and come out as they were."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from typing import Any, Literal, get_args, overload

import numpy as np

from img2img.checkpoint import Fit, ModelInfo, fingerprint
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Fields, Vector
from img2img.image import Image
from img2img.image.alpha import bleed, over_white, within
from img2img.image.channels import as_grey, ends_in_alpha, with_channels
from img2img.image.conversion import converted
from img2img.image.image import DTYPES, Pixels, white_of
from img2img.image.numbers import depth_of, from_unit, require_sound, to_unit, words
from img2img.image.palette import foreign, one_hot
from img2img.image.resize import covering, resize, resize_nearest
from img2img.inference import conditions as companions
from img2img.inference.backends import Backend
from img2img.inference.enlarge import resized, toward_bicubic
from img2img.inference.precision import choose_device
from img2img.inference.runner import Runner
from img2img.interop import open_checkpoint
from img2img.models import Generator
from img2img.models.base import set_norm_stats
from img2img.models.dropout import set_dropout
from img2img.models.norm import NormStats
from img2img.types import ValueRange
from img2img.weights import find_model

Alpha = Literal["model", "bicubic", "drop"]
_NEAR, _FEW = 0.01, 0.01  # of a range, of the values in a picture
_LEVELS = 64  # in a range that nobody means who stores 0 to 1


def load_model(
    name: str | PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    tile: int | None = None,
    memory: int | None = None,
    alpha: str = "model",
    size: int | tuple[int, int] | Literal["native"] | None = None,
    norm_stats: NormStats | None = None,
    dropout: int | None = None,
    backend: str = "auto",
    scale: float | None = None,
    strength: float = 1.0,
    fit: Fit | None = None,
) -> Translator:
    """Opens a model by its name or its path, whoever made it.

    Args:
        name: A model file, a checkpoint in a known layout, or a name that `img2img model list` shows.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "auto", "fp32", "bf16" or "fp16". "auto" takes half precision where it is faster, for
            8-bit pictures; deeper ones are computed in fp32.
        tile: Side of a tile in input pixels, without its margins; None chooses what is fastest and fits.
        memory: Bytes that one call of the network may take; None takes a safe share of what is free.
        alpha: How transparency is enlarged: by the "model" or "bicubic"; or "drop" it, which leaves the
            picture on white.
        size: What a translation model sees, as a side length in pixels or as (height, width); its result
            returns to the size of the picture. None takes the size it was trained at, where the model is a
            translation model and its file knows; "native" leaves pictures as they are. Models that enlarge
            are native.
        fit: How pictures of other proportions come to that size: "squeeze" makes exactly that of them, "keep"
            leaves their proportions, with neither side smaller than that; the network gets them padded to
            the multiple that it needs. None takes what the model was trained with.
        norm_stats: What batch norm normalises by: the "running" averages of the training or those of each
            "image". None takes what the architecture does by default, for pix2pix "image" as in the paper.
        dropout: A seed turns the model's dropout layers on, reproducibly; None leaves them off.
        backend: "eager", "compile" or "openvino"; "auto" takes OpenVINO where it is installed and faster.
        scale: Output pixels per input pixel along one side, greater than 0; 1.5 of 101 pixels gives 152. The
            model's result is brought to it by the exact antialiased bicubic of `img2img.image.resize`. None
            takes the model's own factor.
        strength: Share of the model in the result, 0 to 1; the rest is the bicubic enlargement, see
            `toward_bicubic`. For models whose results are like their inputs.

    Raises:
        UnknownModelError: There is no such model, or its layout is not known.
        ModelError: It cannot be opened.
        ConfigError: There is no such device, precision or way to treat alpha, or a number makes no sense.
    """
    generator, info = open_checkpoint(find_model(name))
    return Translator(
        generator,
        info,
        device,
        precision,
        tile,
        memory,
        alpha,
        size,
        norm_stats,
        dropout,
        backend,
        scale,
        strength,
        fit,
    )


class Translator:
    """A generator with everything around it; also a batch processor.

    Channels find their way as in training (`img2img.image.channels`): grey is repeated, colour becomes luma,
    and the last of four or two channels is alpha. Where the result is like its input, a grey picture comes
    out grey, in one channel or in three equal ones as it is stored, and a colour picture goes through a model
    without colours channel by channel.

    A model whose output is its own sees pictures in sRGB, as in training, and makes them so. Where the result
    is like its input, the numbers go through in the space of the picture, and the result stays in it.

    Transparency follows the rule of `img2img.image.alpha`. A model whose output is its own sees pictures laid
    over white, as in training; its results get the alpha of their inputs where it makes none. A model whose
    output is like its input sees colours continued under what is transparent, since laid over white they
    would come out with a rim of white; alpha goes through it as a grey picture where it enlarges. If alpha is
    dropped, what is left is the picture on white. Label maps are laid over white, and results of them are
    opaque.

    A model that was trained with `data.range` takes pictures in numbers of that range and answers in those of
    its target, in the depth of the picture; where that cannot hold them, in 8 or 16 bits if they are just
    those levels, otherwise in float32. What lies outside counts as black or white, and a warning says so.

    A model may take more than a picture, see `conditions`. Each of these has the size of its picture and goes
    through the model with it, in whatever tiles. A mask is 1 where it is white and 0 elsewhere, numbers of
    objects stay what they are, a further picture is treated as the first one is, and a vector is the same for
    the whole picture.

    Args:
        generator: The network; it is moved to `device`.
        info: What its file says.
        device, precision, tile, memory, alpha, size, norm_stats, dropout, backend, scale, strength, fit: See
            `load_model`.

    Attributes:
        generator: The network, always in fp32; half precision works with a copy.
        info: What its file says.
        device: Where it runs.
        size: (height, width) in pixels of what the network sees, or None for that of each picture.
        fit: How pictures of other proportions come to it.
        scale: Output pixels per input pixel along one side.
        strength: Share of the model in the result.
        precision: "fp32", "bf16" or "fp16": what 8-bit pictures are computed in.
        fingerprint: SHA-256 of the weights: tells one model from another.

    Raises:
        ConfigError: See `load_model`.
    """

    def __init__(
        self,
        generator: Generator,
        info: ModelInfo | None = None,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        memory: int | None = None,
        alpha: str = "model",
        size: int | tuple[int, int] | Literal["native"] | None = None,
        norm_stats: NormStats | None = None,
        dropout: int | None = None,
        backend: str = "auto",
        scale: float | None = None,
        strength: float = 1.0,
        fit: Fit | None = None,
    ) -> None:
        if alpha not in get_args(Alpha):
            raise ConfigError(f"alpha {alpha!r} is not one of {', '.join(get_args(Alpha))}.")
        if min(tile or 0, memory or 0) < 0:
            raise ConfigError(f"tile {tile} and memory {memory} must not be negative.")
        self.info = info or ModelInfo()
        self.size = _sides(size, generator, self.info)
        if fit not in (None, *get_args(Fit)):
            raise ConfigError(f"fit {fit!r} is not one of {', '.join(get_args(Fit))}.")
        self.fit = fit or self.info.fit
        self.scale = generator.scale if scale is None else scale
        self.strength = _share(strength, generator, self.info)
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"scale {scale!r} is no factor; it must be greater than 0.")
        if norm_stats is not None:
            set_norm_stats(generator, norm_stats)
        if set_dropout(generator, dropout) == 0 and dropout is not None:
            raise ConfigError(f"the generator {generator.spec.name!r} has no dropout to turn on.")
        self.device = choose_device(device)
        self.alpha = alpha
        self.fingerprint = fingerprint(generator.state_dict())
        self._runner = Runner(generator, self.device, precision, tile or None, memory or None, backend)
        self.generator = self._runner.generator
        self.precision = self._runner.precision
        if backend != "auto":
            self.prepare()  # what was asked for and cannot be had is an error before the first picture

    @property
    def conditions(self) -> Fields:
        """What the model takes beside a picture, by name; most models take nothing."""
        fields: Fields = self.generator.conditions
        names = self.info.attributes
        return {
            name: replace(field, names=names[name]) if isinstance(field, Vector) and name in names else field
            for name, field in fields.items()
        }

    def require(self, names: Collection[str]) -> None:
        """Makes sure that `names` are those of the conditions.

        Raises:
            ConfigError: One is missing, or there is none of that name.
        """
        companions.require(self.conditions, names)

    def prepare(self) -> Backend:
        """Makes ready what computes 8-bit pictures, which otherwise happens with the first of them.

        Raises:
            ConfigError: The backend that was asked for cannot be used.
        """
        return self._runner.backend(np.dtype(np.uint8))

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call; None for one that is large enough alone."""
        dtype = np.dtype(np.float32) if self._counts else image.pixels.dtype
        try:
            height, width = self._extent(image.height, image.width)
        except ProcessingError:
            return None  # it is told of that picture alone
        if 2 * height * width > self._runner.batch_pixels(dtype):
            return None
        return height, width, image.channels, dtype.str, image.alpha is not None

    @overload
    def __call__(self, images: Pixels, **conditions: Any) -> Pixels: ...
    @overload
    def __call__(self, images: Sequence[Image], **conditions: Any) -> list[Image]: ...
    def __call__(self, images: Pixels | Sequence[Image], **conditions: Any) -> Pixels | list[Image]:
        """Runs the model over one array or over a list of images.

        Args:
            images: (H, W, C) or (H, W), RGB, uint8, uint16 or float32 with black to white as 0 to 255, 0 to
                65535 or 0 to 1; two or four channels that the model does not ask for end in alpha.
                Or images, which may differ in everything.
            **conditions: What `conditions` names, all of it: with an array one of each, with images a list
                of each, as long. Masks are arrays (H, W) or (H, W, C) of bool, uint8, uint16 or floats,
                numbers of objects arrays (H, W) of integers, pictures arrays (H, W, C), all of the size of
                their picture, or images; vectors are rows of numbers.

        Returns:
            An array (H*scale, W*scale, C) or (H*scale, W*scale) of the same dtype, sides rounded; or the
            images, in order, with ICC profile and EXIF kept.

        Raises:
            ConfigError: A condition is missing, unknown, or of another kind.
            ProcessingError: The channels do not fit the model, a condition does not fit its picture, or the
                work failed.
            ValueError: An array is no picture.
        """
        if isinstance(images, np.ndarray):
            return self._array(images, conditions)
        given = companions.by_picture(self.conditions, conditions, len(images))
        results: dict[int, Image] = {}
        groups: dict[Hashable, list[int]] = {}
        prepared = [self._prepared(image) for image in images]
        jobs = [self._job(image, own) for image, own in zip(prepared, given, strict=True)]
        for index, job in enumerate(jobs):
            arrays = (job.parts[0], *job.planes.values())
            groups.setdefault(tuple((array.shape, array.dtype) for array in arrays), []).append(index)
        for indices in groups.values():
            results.update(zip(indices, self._run([jobs[index] for index in indices]), strict=True))
        done = [
            self._counted(self._returned(results[index], used), image)
            for index, (image, used) in enumerate(zip(images, prepared, strict=True))
        ]
        return [
            result if used.channels == image.channels else _in_three_channels(result)
            for image, used, result in zip(images, prepared, done, strict=True)
        ]

    def _array(self, array: Pixels, conditions: Mapping[str, Any]) -> Pixels:
        if array.ndim not in (2, 3) or array.dtype not in DTYPES or 0 in array.shape:
            raise ValueError(
                "a picture is an array (H, W, C) or (H, W) of uint8, uint16 or float32, "
                f"not {array.shape} {array.dtype}"
            )
        pixels = array if array.ndim == 3 else array[..., None]
        with_alpha = ends_in_alpha(pixels.shape[2], self._bands)
        image = Image(pixels[..., :-1], pixels[..., -1]) if with_alpha else Image(pixels)
        (result,) = self([image], **{name: [value] for name, value in conditions.items()})
        for note in result.warnings:
            warnings.warn(note, RuntimeWarning, stacklevel=3)
        done = result.pixels
        if result.alpha is not None:
            done = np.concatenate((done, result.alpha[..., None]), 2)
        return done[..., 0] if array.ndim == 2 and done.shape[2] == 1 else done

    def _prepared(self, image: Image) -> Image:
        """Returns `image` in sRGB for a model whose output is its own, and with one channel if it is grey."""
        if self._takes_labels:  # its colours are names, and those of the result are the model's
            return image.replace(icc=None, space=None)
        if self._counts:
            image = to_unit(image, self.info.range or ValueRange(0, image.white))
        return as_grey(image) if self.info.output == "like_input" else converted(image)

    def _job(self, image: Image, given: Mapping[str, Any]) -> _Job:
        """Returns what goes through the network for `image`."""
        planes, remarks = self._planes(image, given) if given else ({}, [])
        image = image.warn(*remarks) if remarks else image
        if self._takes_labels:
            label_map, notes = self._labels(image)
            if self._counts and label_map.dtype != np.float32:
                label_map = label_map.astype(np.float32) / np.float32(white_of(label_map.dtype))
            return _Job(image.warn(*notes), [label_map], [], planes)
        parts = self._parts(image)
        if self.info.range is not None:
            require_sound(np.concatenate(parts, 2), self.info.range)
            image = image.warn(*_misfits(parts, self.info.range))
            parts = [np.clip(part, 0, 1) for part in parts]
        parts = [self._sized(part) for part in parts]
        if parts[0].dtype == np.float32 and not all(np.isfinite(part).all() for part in parts):
            raise ProcessingError("the picture holds values that are not finite numbers.")
        return _Job(image, parts, self._masks(image), planes)

    def _planes(self, image: Image, given: Mapping[str, Any]) -> tuple[dict[str, Pixels], list[str]]:
        """Returns the conditions of `image` at the size at which the network works, and sentences on them."""
        planes: dict[str, Pixels] = {}
        notes: list[str] = []
        for name, kind in self.conditions.items():
            plane = companions.plane(name, kind, given[name], self._further, notes)
            if kind.spatial:
                companions.require_size(name, plane, image)
                if (extent := self._extent(*plane.shape[:2])) != plane.shape[:2]:
                    plane = (resize_nearest if kind.exact else resize)(plane, *extent)
            planes[name] = plane
        return planes, notes

    def _further(self, image: Image) -> Pixels:
        """Returns a picture that is a condition as the network sees it, as it sees the first one."""
        if self.info.range is not None:
            image = to_unit(image, self.info.range)
        if self.info.output == "own":
            image = converted(image)
        pixels = with_channels(image, self._bands)
        require_sound(pixels, self.info.range)
        return pixels if self.info.range is None else np.clip(pixels, 0, 1)

    @property
    def _counts(self) -> bool:
        """Whether pictures go in or come out in numbers other than those of their depth."""
        return self.info.range is not None or self.info.target_range is not None

    def _counted(self, result: Image, source: Image) -> Image:
        """Returns `result` in the numbers of the pictures that the model was trained to make."""
        if not self._counts:
            return result
        dtype = source.pixels.dtype
        numbers = self.info.target_range
        if numbers is None:
            return from_unit(result, ValueRange(0, white_of(dtype)), dtype)
        return from_unit(result, numbers, depth_of(numbers, dtype, numbers == self.info.range))

    @property
    def _bands(self) -> int:
        """The channels of the pictures that the model takes; label maps become more of them."""
        return len(self.info.palette[0]) if self.info.palette else self.generator.in_channels

    @property
    def _takes_labels(self) -> bool:
        return self.info.nearest or self.info.palette is not None

    def _labels(self, image: Image) -> tuple[Pixels, list[str]]:
        """Returns a label map as the network saw it in training: colours unmixed, each in its own channel."""
        palette = self.info.palette
        if image.pixels.dtype == np.float32 and palette:
            raise ProcessingError("label maps hold whole numbers, and this picture holds fractions.")
        pixels = with_channels(
            image, len(palette[0]) if palette else self.generator.in_channels, unmixed=True
        )
        if (extent := self._extent(*pixels.shape[:2])) != pixels.shape[:2]:
            pixels = resize_nearest(pixels, *extent)
        if not palette:
            return pixels, []
        share = foreign(pixels, palette)
        note = f"{share:.1%} of the pixels have colours that the model's palette lacks; the nearest are taken"
        return one_hot(pixels, palette), [note] if share else []

    def _parts(self, image: Image) -> list[Pixels]:
        """Returns `image` as one or more pictures with the channels that the model takes."""
        wanted = self.generator.in_channels
        if image.alpha is not None and not ends_in_alpha(wanted, image.channels):
            continued = self.info.output == "like_input" and self.alpha != "drop"
            image = (bleed(image) if continued else over_white(image)).replace(alpha=None)
        if wanted == self.generator.out_channels <= 2 and self.info.output == "like_input":
            channels = (image.pixels[..., c : c + 1] for c in range(image.channels))
            return [with_channels(image.replace(pixels=channel), wanted) for channel in channels]
        return [with_channels(image, wanted)]

    def _sized(self, pixels: Pixels) -> Pixels:
        """Returns `pixels` at the size that the network works at."""
        extent = self._extent(*pixels.shape[:2])
        return pixels if extent == pixels.shape[:2] else resize(pixels, *extent)

    def _extent(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size at which the network sees a picture of this one, before it is padded."""
        if self.size is None:
            return height, width
        return covering((height, width), self.size) if self.fit == "keep" else self.size

    def _masks(self, image: Image) -> list[Pixels]:
        """Returns alpha as a picture for the model, if the model shall enlarge it and that is worth it."""
        alpha = image.alpha
        if alpha is None or self.alpha != "model" or self._makes_alpha(image) or alpha.min() == alpha.max():
            return []
        if self.generator.scale == 1 or self.info.output == "own":
            return []
        return [with_channels(Image(alpha[..., None]), self.generator.in_channels)]

    def _makes_alpha(self, image: Image) -> bool:
        bands = 0 if self.info.palette else image.channels  # one-hot labels have channels, but no colours
        return ends_in_alpha(self.generator.out_channels, bands)

    def _stays_grey(self, image: Image) -> bool:
        return image.channels == 1 and self.info.output == "like_input"

    def _run(self, jobs: list[_Job]) -> list[Image]:
        """Runs the model over pictures that agree in shape and dtype, in one call."""
        several = self.generator.out_channels > 1
        pictures: list[Pixels] = []
        planes: list[companions.Planes] = []
        to_grey: list[bool] = []
        for job in jobs:
            pictures += job.parts + job.masks
            if job.planes:
                planes += [job.planes] * len(job.parts + job.masks)
            grey = several and self._stays_grey(job.image) and not self._makes_alpha(job.image)
            to_grey += [grey] * len(job.parts) + [several] * len(job.masks)
        notes: list[str] = []
        done = iter(self._runner(pictures, to_grey, notes, planes))
        warnings_ = tuple(dict.fromkeys(notes))
        results = []
        for job in jobs:
            parts, masks = (list(islice(done, len(some))) for some in (job.parts, job.masks))
            results.append(self._assemble(job.image, parts, masks).warn(*warnings_))
        return results

    def _assemble(self, image: Image, parts: list[Pixels], masks: list[Pixels]) -> Image:
        """Returns what the model made of `image`; alpha only where it came out of the model."""
        alpha = within(masks[0][..., 0], image.alpha) if masks and image.alpha is not None else None
        if self._makes_alpha(image):
            if image.alpha is not None or self.info.output == "own":
                alpha = parts[0][..., -1]
            parts = [part[..., :-1] for part in parts]
            if self._stays_grey(image):
                parts = [_mean(part) for part in parts]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, 2)
        same_kind = (image.channels == 1) == (pixels.shape[2] == 1)  # a profile is for grey or for colour
        return image.replace(pixels=pixels, alpha=alpha, icc=image.icc if same_kind else None)

    def _returned(self, result: Image, source: Image) -> Image:
        """Returns `result` at its final size and strength, with the alpha of `source` where it made none."""
        height, width = (max(1, round(side * self.scale)) for side in (source.height, source.width))
        metadata = source.metadata.resized(width / source.width, height / source.height)
        result = resized(result, height, width).replace(metadata=metadata)
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


@dataclass(frozen=True)
class _Job:
    """What of a picture goes through the network: its colours in one or more parts, its alpha, conditions."""

    image: Image
    parts: list[Pixels]
    masks: list[Pixels]
    planes: companions.Planes


def _misfits(parts: Sequence[Pixels], numbers: ValueRange) -> list[str]:
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


def _in_three_channels(grey: Image) -> Image:
    return grey.replace(pixels=np.repeat(grey.pixels, 3, 2))


def _mean(pixels: Pixels) -> Pixels:
    """Returns the mean of the channels of (H, W, C) as (H, W, 1) in the same dtype."""
    mean: Pixels = pixels.mean(2, keepdims=True)
    return (mean if pixels.dtype == np.float32 else np.rint(mean)).astype(pixels.dtype)


def _sides(
    size: int | tuple[int, int] | str | None, generator: Generator, info: ModelInfo
) -> tuple[int, int] | None:
    """Returns the height and the width that pictures are brought to, or None."""
    if size is None:
        return info.size if generator.scale == 1 and info.output == "own" else None
    if size == "native":
        return None
    sides = (size, size) if isinstance(size, int) else size
    if isinstance(sides, str) or len(sides) != 2 or not all(type(n) is int and n > 0 for n in sides):
        raise ConfigError(f"size {size!r} is neither a side length in pixels, (height, width) nor 'native'.")
    if generator.scale != 1:
        raise ConfigError(
            f"the generator {generator.spec.name!r} enlarges by {generator.scale} and works at the size of "
            "each picture; leave size out."
        )
    return sides[0], sides[1]


def _share(strength: float, generator: Generator, info: ModelInfo) -> float:
    """Returns `strength` if it is a share, and results of this model can be blended with their inputs."""
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength {strength!r} is not from 0 (bicubic) to 1 (the model alone).")
    if strength < 1 and (info.output == "own" or generator.in_channels != generator.out_channels):
        raise ConfigError(
            f"strength {strength} blends with the enlarged input, but what the generator "
            f"{generator.spec.name!r} makes is no enlargement of it; leave strength at 1."
        )
    return strength
