"""A model that is ready for use: pictures of any size, depth and kind go in and come out as they were."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from os import PathLike
from typing import Any, Literal, get_args, overload

import numpy as np

from img2img.checkpoint import Fit, ModelInfo, fingerprint
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Fields
from img2img.image import Image
from img2img.image.channels import ends_in_alpha
from img2img.image.colour_fix import ColourFix
from img2img.image.image import DTYPES, Pixels
from img2img.image.xmp import EDITED, GENERATED
from img2img.inference import conditions as companions
from img2img.inference.backends import Backend
from img2img.inference.precision import choose_device
from img2img.inference.processing import Alpha, ImageProcessing, NetworkInputs
from img2img.inference.runner import Runner
from img2img.inference.styles import Styles
from img2img.interop import open_checkpoint
from img2img.models import Generator
from img2img.models.base import set_norm_stats
from img2img.models.dropout import set_dropout
from img2img.models.noise import set_noise
from img2img.models.norm import NormStats
from img2img.models.pix2pixhd import set_style
from img2img.weights import find_model


def load_model(
    name: str | PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    *,
    tile: int | None = None,
    memory: int | None = None,
    alpha: str = "model",
    size: int | tuple[int, int] | Literal["native"] | None = None,
    norm_stats: NormStats | None = None,
    dropout: int | None = None,
    noise: int | None = None,
    steps: int | None = None,
    backend: str = "auto",
    scale: float | None = None,
    strength: float = 1.0,
    fit: Fit | None = None,
    color_fix: ColourFix | None = "off",
    style: int | Styles | None = None,
    mark: bool = True,
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
        color_fix: Whether results get the low frequencies of their inputs, and how: see
            `img2img.image.colour_fix`. For models whose results are like their inputs. None is "lowfreq" for
            those among them that are known to be trained as a GAN, and "off" for all others.
        style: How the classes of a label map look, among the styles that the model learned (pix2pixhd); None
            takes the most frequent ones, which have the number 0. Or the pictures in whose style results
            are, for models that take any (adain); None takes the mean of those of the training.
        mark: Whether results of a model whose file says that they are synthetic say so in their files, too,
            see `Translator.source_type`.
        norm_stats: What batch norm normalises by: the "running" averages of the training or those of each
            "image". None takes what the architecture does by default, for pix2pix "image" as in the paper.
        dropout: A seed turns the model's dropout layers on, reproducibly; None leaves them off.
        noise: The seed of the random input of models that have one: another seed is another result. None
            takes 0.
        steps: After how many evaluations of the network a result is made, for models that go to it in steps;
            None takes what the model was saved with.
        backend: "eager", "compile", "openvino" or "onnxruntime"; "auto" takes OpenVINO where it is installed
            and faster. ONNX files are computed by ONNX Runtime.
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
        tile=tile,
        memory=memory,
        alpha=alpha,
        size=size,
        norm_stats=norm_stats,
        dropout=dropout,
        noise=noise,
        steps=steps,
        backend=backend,
        scale=scale,
        strength=strength,
        fit=fit,
        color_fix=color_fix,
        style=style,
        mark=mark,
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

    A model that makes label maps gives each pixel the colour of its likeliest class, at the size of the
    picture: how likely each is comes to that size first. Its results are opaque, of 8 bits unless a colour is
    of more, and without the profile of the picture; an array (H, W) comes back as (H, W, 3).

    A model may take more than a picture, see `conditions`. Each of these has the size of its picture and goes
    through the model with it, in whatever tiles. A mask is 1 where it is white and 0 elsewhere, numbers of
    objects stay what they are, a further picture is treated as the first one is, and a vector is the same for
    the whole picture.

    Args:
        generator: The network; it is moved to `device`.
        info: What its file says.
        device, precision, tile, memory, alpha, size, norm_stats: See `load_model`.
        dropout, noise, steps, backend, scale, strength, fit, color_fix, style, mark: See `load_model`.

    Attributes:
        generator: The network, always in fp32; half precision works with a copy.
        info: What its file says.
        device: Where it runs.
        size: (height, width) in pixels of what the network sees, or None for that of each picture.
        fit: How pictures of other proportions come to it.
        scale: Output pixels per input pixel along one side.
        strength: Share of the model in the result.
        color_fix: How results get the low frequencies of their inputs; "off" if they do not.
        source_type: What results say of themselves in their files, in XMP, by IPTC's DigitalSourceType:
            `GENERATED` for a model that makes other pictures of its inputs, `EDITED` for a GAN that enlarges
            or restores them. None for models whose file does not say that it is synthetic, for label maps,
            for `strength` 0, and without `mark`.
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
        *,
        tile: int | None = None,
        memory: int | None = None,
        alpha: str = "model",
        size: int | tuple[int, int] | Literal["native"] | None = None,
        norm_stats: NormStats | None = None,
        dropout: int | None = None,
        noise: int | None = None,
        steps: int | None = None,
        backend: str = "auto",
        scale: float | None = None,
        strength: float = 1.0,
        fit: Fit | None = None,
        color_fix: ColourFix | None = "off",
        style: int | Styles | None = None,
        mark: bool = True,
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
        self.color_fix = _fix(color_fix, generator, self.info)
        self.source_type: str | None = None
        if mark and self.info.synthetic and self.info.output != "labels" and self.strength > 0:
            self.source_type = GENERATED if self.info.output == "own" else EDITED
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"scale {scale!r} is no factor; it must be greater than 0.")
        if norm_stats is not None:
            set_norm_stats(generator, norm_stats)
        if set_dropout(generator, dropout) == 0 and dropout is not None:
            raise ConfigError(f"the generator {generator.spec.name!r} has no dropout to turn on.")
        self._dropout = dropout
        if isinstance(style, Styles):
            style.choose(generator)
        elif style is not None:
            set_style(generator, style)
        if set_noise(generator, noise or 0) == 0 and noise is not None:
            raise ConfigError(
                f"the generator {generator.spec.name!r} has no random input: a picture has one result."
            )
        if steps is not None:
            generator.set_steps(steps)
        self.device = choose_device(device)
        self.alpha = alpha
        self.fingerprint = fingerprint(generator.state_dict())
        classes = len(self.info.palette or ())
        self._runner = Runner(
            generator, self.device, precision, tile or None, memory or None, backend, classes
        )
        self.generator = self._runner.generator
        self.precision = self._runner.precision
        self._processing = ImageProcessing(
            self.generator,
            self.info,
            alpha,
            self.size,
            self.fit,
            self.scale,
            self.strength,
            self.color_fix,
            self.source_type,
        )
        if backend != "auto":
            self.prepare()  # what was asked for and cannot be had is an error before the first picture

    @property
    def conditions(self) -> Fields:
        """What the model takes beside a picture, by name; most models take nothing."""
        return self._processing.conditions

    def reseed(self, seed: int) -> None:
        """Gives the random input another seed: that of its dropout where it is on, else that of its noise.

        Raises:
            ConfigError: The model has neither, so a picture has one result.
        """
        reseed = set_dropout if self._dropout is not None else set_noise
        if not reseed(self.generator, seed):
            more = "" if set_dropout(self.generator, None) == 0 else " It has `dropout` to turn on."
            raise ConfigError(
                f"the generator {self.generator.spec.name!r} has no random input: a picture has one "
                f"result.{more}"
            )
        self._runner.forget()

    def prepare(self) -> Backend:
        """Makes ready what computes 8-bit pictures, which otherwise happens with the first of them.

        Raises:
            ConfigError: The backend that was asked for cannot be used.
        """
        return self._runner.backend(np.dtype(np.uint8))

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call; None for one that is large enough alone."""
        dtype = np.dtype(np.float32) if self._processing.in_floats else image.pixels.dtype
        try:
            height, width = self._processing.extent(image.height, image.width)
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
        how = self._processing
        prepared = [how.prepared(image) for image in images]
        jobs = [how.inputs(image, own) for image, own in zip(prepared, given, strict=True)]
        for index, job in enumerate(jobs):
            arrays = (job.parts[0], *job.planes.values())
            groups.setdefault(tuple((array.shape, array.dtype) for array in arrays), []).append(index)
        for indices in groups.values():
            results.update(zip(indices, self._run([jobs[index] for index in indices]), strict=True))
        return [
            how.finished(results[index], used, image)
            for index, (image, used) in enumerate(zip(images, prepared, strict=True))
        ]

    def _array(self, array: Pixels, conditions: Mapping[str, Any]) -> Pixels:
        if array.ndim not in (2, 3) or array.dtype not in DTYPES or 0 in array.shape:
            raise ValueError(
                "a picture is an array (H, W, C) or (H, W) of uint8, uint16 or float32, "
                f"not {array.shape} {array.dtype}"
            )
        pixels = array if array.ndim == 3 else array[..., None]
        with_alpha = ends_in_alpha(pixels.shape[2], self._processing.bands)
        image = Image(pixels[..., :-1], pixels[..., -1]) if with_alpha else Image(pixels)
        (result,) = self([image], **{name: [value] for name, value in conditions.items()})
        for note in result.warnings:
            warnings.warn(note, RuntimeWarning, stacklevel=3)
        done = result.pixels
        if result.alpha is not None:
            done = np.concatenate((done, result.alpha[..., None]), 2)
        return done[..., 0] if array.ndim == 2 and done.shape[2] == 1 else done

    def _run(self, jobs: list[NetworkInputs]) -> list[Image]:
        """Runs the model over pictures that agree in shape and dtype, in one call."""
        several, how = self.generator.out_channels > 1, self._processing
        pictures: list[Pixels] = []
        planes: list[companions.Planes] = []
        to_grey: list[bool] = []
        for job in jobs:
            pictures += job.parts + job.masks
            if job.planes:
                planes += [job.planes] * len(job.parts + job.masks)
            grey = several and how.stays_grey(job.image) and not how.makes_alpha(job.image)
            to_grey += [grey] * len(job.parts) + [several] * len(job.masks)
        notes: list[str] = []
        done = iter(self._runner(pictures, to_grey, notes, planes))
        warnings_ = tuple(dict.fromkeys(notes))
        results = []
        for job in jobs:
            parts, masks = (list(islice(done, len(some))) for some in (job.parts, job.masks))
            results.append(how.assembled(job.image, parts, masks).warn(*warnings_))
        return results


def _sides(
    size: int | tuple[int, int] | str | None, generator: Generator, info: ModelInfo
) -> tuple[int, int] | None:
    """Returns the height and the width that pictures are brought to, or None."""
    if size is None:
        return info.size if generator.scale == 1 and info.output != "like_input" else None
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


def _fix(color_fix: ColourFix | None, generator: Generator, info: ModelInfo) -> ColourFix:
    """Returns `color_fix` if there is such a way, and results of this model have the colours of inputs."""
    if color_fix is None:
        return "lowfreq" if info.adversarial and _comparable(generator, info) else "off"
    if color_fix not in get_args(ColourFix):
        raise ConfigError(f"color_fix {color_fix!r} is not one of {', '.join(get_args(ColourFix))}.")
    if color_fix != "off" and not _comparable(generator, info):
        raise ConfigError(
            f"color_fix {color_fix} takes the colours of the input, but what the generator "
            f"{generator.spec.name!r} makes is no better version of it; leave color_fix off."
        )
    return color_fix


def _comparable(generator: Generator, info: ModelInfo) -> bool:
    """Returns whether what the model makes is its input, only larger or better."""
    return info.output == "like_input" and generator.in_channels == generator.out_channels


def _share(strength: float, generator: Generator, info: ModelInfo) -> float:
    """Returns `strength` if it is a share, and results of this model can be blended with their inputs."""
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength {strength!r} is not from 0 (bicubic) to 1 (the model alone).")
    if strength < 1 and not _comparable(generator, info):
        raise ConfigError(
            f"strength {strength} blends with the enlarged input, but what the generator "
            f"{generator.spec.name!r} makes is no enlargement of it; leave strength at 1."
        )
    return strength
