"""A model that is ready for use: pictures of any size, depth and kind go in and come out as they were."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from os import PathLike
from typing import Literal, get_args, overload

import numpy as np

from img2img.checkpoint import ModelInfo, fingerprint
from img2img.errors import ConfigError, ProcessingError
from img2img.image import Image
from img2img.image.alpha import bleed
from img2img.image.image import DTYPES, Pixels
from img2img.image.palette import nearest, one_hot
from img2img.image.resize import resize
from img2img.inference.backends import Backend
from img2img.inference.enlarge import resized, toward_bicubic
from img2img.inference.precision import choose_device
from img2img.inference.runner import Runner
from img2img.interop import open_checkpoint
from img2img.models import Generator
from img2img.models.dropout import set_dropout
from img2img.models.norm import NormStats, set_norm_stats
from img2img.weights import find_model

Alpha = Literal["model", "bicubic", "drop"]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601


def load_model(
    name: str | PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    tile: int | None = None,
    memory: int | None = None,
    alpha: str = "model",
    size: int | Literal["native"] | None = None,
    norm_stats: NormStats | None = None,
    dropout: int | None = None,
    backend: str = "auto",
    scale: float | None = None,
    strength: float = 1.0,
) -> Translator:
    """Opens a model by its name or its path, whoever made it.

    Args:
        name: A model file, a checkpoint in a known layout, or a name that `img2img model list` shows.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        precision: "auto", "fp32", "bf16" or "fp16". "auto" takes half precision where it is faster, for
            8-bit pictures; deeper ones are computed in fp32.
        tile: Side of a tile in input pixels, without its margins; None chooses what is fastest and fits.
        memory: Bytes that one call of the network may take; None takes a safe share of what is free.
        alpha: How transparency is enlarged: by the "model" or "bicubic"; or "drop" it.
        size: Side length in pixels of the square that a translation model sees; its result returns to the
            size of the picture. None takes the size it was trained at, where the model is a translation
            model and its file knows; "native" leaves pictures as they are. Models that enlarge are native.
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
    )


class Translator:
    """A generator with everything around it; also a batch processor.

    Channels find their way like this. A grey picture through a colour model is replicated into its channels,
    and the result is averaged back to grey unless the model's output is its own. A colour picture through a
    one-channel model goes channel by channel, or as BT.601 luma if the output is the model's own. A model
    with four channels gets alpha as the fourth. Colours under transparent pixels are replaced by those
    around them before; alpha itself goes through a super-resolution model as a grey picture, and stays as it
    is where the size does not change.

    Args:
        generator: The network; it is moved to `device`.
        info: What its file says.
        device, precision, tile, memory, alpha, size, norm_stats, dropout, backend, scale, strength: See
            `load_model`.

    Attributes:
        generator: The network, always in fp32; half precision works with a copy.
        info: What its file says.
        device: Where it runs.
        size: Side length in pixels of what the network sees, or None for that of each picture.
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
        size: int | Literal["native"] | None = None,
        norm_stats: NormStats | None = None,
        dropout: int | None = None,
        backend: str = "auto",
        scale: float | None = None,
        strength: float = 1.0,
    ) -> None:
        if alpha not in get_args(Alpha):
            raise ConfigError(f"alpha {alpha!r} is not one of {', '.join(get_args(Alpha))}.")
        if min(tile or 0, memory or 0) < 0:
            raise ConfigError(f"tile {tile} and memory {memory} must not be negative.")
        if generator.conditions:
            needs = ", ".join(generator.conditions)
            raise ConfigError(f"the generator {generator.spec.name!r} needs more than a picture: {needs}.")
        self.info = info or ModelInfo()
        self.size = _side(size, generator, self.info)
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

    def prepare(self) -> Backend:
        """Makes ready what computes 8-bit pictures, which otherwise happens with the first of them.

        Raises:
            ConfigError: The backend that was asked for cannot be used.
        """
        return self._runner.backend(np.dtype(np.uint8))

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call; None for one that is large enough alone."""
        dtype = image.pixels.dtype
        height, width = (self.size, self.size) if self.size else (image.height, image.width)
        if 2 * height * width > self._runner.batch_pixels(dtype):
            return None
        return height, width, image.channels, dtype.str, image.alpha is not None

    @overload
    def __call__(self, images: Pixels) -> Pixels: ...
    @overload
    def __call__(self, images: Sequence[Image]) -> list[Image]: ...
    def __call__(self, images: Pixels | Sequence[Image]) -> Pixels | list[Image]:
        """Runs the model over one array or over a list of images.

        Args:
            images: (H, W, C) or (H, W), RGB, uint8, uint16 or float32 with black to white as 0 to 255, 0 to
                65535 or 0 to 1; two or four channels that the model does not ask for end in alpha.
                Or images, which may differ in everything.

        Returns:
            An array (H*scale, W*scale, C) or (H*scale, W*scale) of the same dtype, sides rounded; or the
            images, in order, with ICC profile and EXIF kept.

        Raises:
            ProcessingError: The channels do not fit the model, or the work failed.
            ValueError: An array is no picture.
        """
        if isinstance(images, np.ndarray):
            return self._array(images)
        results: dict[int, Image] = {}
        groups: dict[Hashable, list[int]] = {}
        seen = [self._seen(image) for image in images]
        for index, image in enumerate(seen):
            key = (image.pixels.shape, image.pixels.dtype, image.alpha is not None)
            groups.setdefault(key, []).append(index)
        for indices in groups.values():
            results.update(zip(indices, self._group([seen[index] for index in indices]), strict=True))
        return [self._returned(results[index], image) for index, image in enumerate(images)]

    def _array(self, array: Pixels) -> Pixels:
        if array.ndim not in (2, 3) or array.dtype not in DTYPES or 0 in array.shape:
            raise ValueError(
                "a picture is an array (H, W, C) or (H, W) of uint8, uint16 or float32, "
                f"not {array.shape} {array.dtype}"
            )
        pixels = array if array.ndim == 3 else array[..., None]
        with_alpha = pixels.shape[2] in (2, 4) and pixels.shape[2] != self.generator.in_channels
        image = Image(pixels[..., :-1], pixels[..., -1]) if with_alpha else Image(pixels)
        (result,) = self([image])
        for note in result.warnings:
            warnings.warn(note, RuntimeWarning, stacklevel=3)
        done = result.pixels
        if result.alpha is not None:
            done = np.concatenate((done, result.alpha[..., None]), 2)
        return done[..., 0] if array.ndim == 2 and done.shape[2] == 1 else done

    def _seen(self, image: Image) -> Image:
        """Returns `image` at the size that the network works at; its proportions are not kept, as trained."""
        if self.info.nearest or self.info.palette:
            return self._labels(image)
        if self.size is None or (image.height, image.width) == (self.size, self.size):
            return image
        pixels = image.pixels if image.alpha is None else bleed(image.pixels, image.alpha)
        alpha = image.alpha
        if alpha is not None:
            alpha = resize(alpha[..., None], self.size, self.size)[..., 0]
        return image.replace(pixels=resize(pixels, self.size, self.size), alpha=alpha)

    def _labels(self, image: Image) -> Image:
        """Returns a label map as the network saw it in training: colours unmixed, each in its own channel."""
        pixels = image.pixels
        if pixels.dtype == np.float32 and self.info.palette:
            raise ProcessingError("label maps hold whole numbers, and this picture holds fractions.")
        if self.size is not None and pixels.shape[:2] != (self.size, self.size):
            pixels = nearest(pixels, self.size, self.size)
        if self.info.palette:
            pixels = one_hot(pixels, self.info.palette)
        return image.replace(pixels=pixels, alpha=None)

    def _returned(self, result: Image, source: Image) -> Image:
        """Returns `result` at its final size and strength.

        A model that sees pictures at a size of its own leaves alpha untouched unless it makes alpha.
        """
        height, width = (max(1, round(side * self.scale)) for side in (source.height, source.width))
        if self.size is not None and source.alpha is not None and not self._takes_alpha(source):
            alpha = None if result.alpha is None else resize(source.alpha[..., None], height, width)[..., 0]
            result = resized(result.replace(alpha=None), height, width).replace(alpha=alpha)
        return toward_bicubic(resized(result, height, width), source, self.strength)

    def _group(self, images: list[Image]) -> list[Image]:
        """Runs the model over images that agree in shape, dtype and having alpha or not, in one call."""
        generator = self.generator
        replicated = images[0].channels == 1 < generator.in_channels
        averaged = replicated and generator.out_channels > 1 and self.info.output == "like_input"
        jobs: list[Pixels] = []
        to_grey: list[bool] = []
        bounds = []
        for image in images:
            if image.pixels.dtype == np.float32 and not np.isfinite(image.pixels).all():
                raise ProcessingError("the picture holds values that are not finite numbers.")
            parts = self._parts(image)
            masks = self._masks(image)
            bounds.append((len(jobs), len(jobs) + len(parts), len(jobs) + len(parts) + len(masks)))
            jobs += parts + masks
            to_grey += [averaged] * len(parts) + [generator.out_channels > 1] * len(masks)
        notes: list[str] = []
        done = self._runner(jobs, to_grey, notes)
        warnings_ = tuple(dict.fromkeys(notes))
        return [
            self._assemble(image, done[start:middle], done[middle:end]).warn(*warnings_)
            for image, (start, middle, end) in zip(images, bounds, strict=True)
        ]

    def _parts(self, image: Image) -> list[Pixels]:
        """Returns the colours of `image` as one or more pictures with the channels that the model takes."""
        wanted = self.generator.in_channels
        pixels = image.pixels if image.alpha is None else bleed(image.pixels, image.alpha)
        if image.channels == wanted:
            return [pixels]
        if self._takes_alpha(image):
            alpha = image.alpha
            if alpha is None:
                alpha = np.full(pixels.shape[:2], image.white, pixels.dtype)
            return [np.concatenate((pixels, alpha[..., None]), 2)]
        if image.channels == 1 and wanted <= 4:
            return [np.repeat(pixels, wanted, 2)]
        if wanted == 1 and self.generator.out_channels == 1 and self.info.output == "like_input":
            return [pixels[..., channel : channel + 1] for channel in range(image.channels)]
        if wanted == 1 and image.channels == 3:
            luma = pixels.astype(np.float32) @ LUMA
            return [(luma if image.white == 1 else np.rint(luma)).astype(pixels.dtype)[..., None]]
        raise ProcessingError(
            f"the picture has {image.channels} channels and the model takes {wanted}; "
            "what can be converted is grey to colour, and colour to grey."
        )

    def _masks(self, image: Image) -> list[Pixels]:
        """Returns alpha as a picture for the model, if the model shall enlarge it and that is worth it."""
        alpha = image.alpha
        if alpha is None or self.alpha != "model" or self._takes_alpha(image) or alpha.min() == alpha.max():
            return []
        if self.generator.scale == 1 or self.info.output == "own":
            return []
        return [np.repeat(alpha[..., None], self.generator.in_channels, 2)]

    def _takes_alpha(self, image: Image) -> bool:
        return image.channels == 3 and self.generator.in_channels == self.generator.out_channels == 4

    def _assemble(self, image: Image, parts: list[Pixels], masks: list[Pixels]) -> Image:
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, 2)
        alpha = image.alpha if self.alpha != "drop" else None
        if self._takes_alpha(image):
            alpha = pixels[..., 3] if alpha is not None else None
            pixels = pixels[..., :3]
        elif masks:
            alpha = masks[0][..., 0]
        elif alpha is not None and pixels.shape[:2] != alpha.shape:
            height, width = pixels.shape[:2]
            if alpha.min() == alpha.max():
                alpha = np.full((height, width), alpha.flat[0], alpha.dtype)
            else:
                alpha = resize(alpha[..., None], height, width)[..., 0]
        same_kind = (image.channels == 1) == (pixels.shape[2] == 1)  # a profile is for grey or for colour
        return image.replace(pixels=pixels, alpha=alpha, icc=image.icc if same_kind else None)


def _side(size: int | str | None, generator: Generator, info: ModelInfo) -> int | None:
    """Returns the side length that pictures are brought to, or None."""
    if size is None:
        return info.size if generator.scale == 1 and info.output == "own" else None
    if size == "native":
        return None
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"size {size!r} is neither a side length in pixels nor 'native'.")
    if generator.scale != 1:
        raise ConfigError(
            f"the generator {generator.spec.name!r} enlarges by {generator.scale} and works at the size of "
            "each picture; leave size out."
        )
    return size


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
