"""Filling holes with a network: at the size where the network can see across them, and without a seam."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from img2img.checkpoint import ModelInfo, fingerprint
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Mask
from img2img.image.alpha import Values, bleed
from img2img.image.channels import as_grey, with_channels
from img2img.image.image import Image, Pixels, white_of
from img2img.image.numbers import FARTHEST, from_unit, to_unit, words
from img2img.image.resize import resize
from img2img.image.tensor import to_tensor
from img2img.image.xmp import EDITED
from img2img.inference.memory import budget
from img2img.inference.precision import DTYPES, choose_device, choose_precision, in_precision
from img2img.inference.processing import misfits
from img2img.interop import open_checkpoint
from img2img.models import Generator
from img2img.processors.detail import gaussian
from img2img.processors.inpaint import Colour, Hole, Inpainter, continued_alpha, depth, thickness
from img2img.types import ValueRange

FEATHER = 16  # pixels
_SIDE = 64  # of the pictures in training at least, where the model does not say
_CROSSED = 1 / 6  # of that side: holes whose middle is so far from their edge are learned well


def fills_holes(generator: Generator) -> bool:
    """Returns whether a network takes a picture and a mask, and its result is like the picture."""
    conditions = generator.conditions
    same = generator.scale == 1 and generator.in_channels == generator.out_channels
    return same and list(conditions) == ["mask"] and isinstance(conditions["mask"], Mask)


def network_inpainter(
    model: Path,
    holes: Literal["mask", "alpha"] | Colour = "mask",
    invert: bool = False,
    device: str = "auto",
    precision: str = "auto",
    memory: int | None = None,
    feather: int | None = None,
    mark: bool = True,
) -> tuple[Inpainter, dict[str, Any]]:
    """Opens a model that fills holes, and returns it as a batch processor with what identifies it.

    Args:
        model: Its file.
        holes, invert: See `Inpainter`.
        device, precision, memory, feather, mark: See `NetworkFill`; None of feather takes `FEATHER`.

    Raises:
        ModelError: It cannot be opened.
        ConfigError: It does not fill holes, or a number makes no sense.
    """
    feather = FEATHER if feather is None else feather
    fill = NetworkFill(*open_checkpoint(model), device, precision, memory, feather, mark)
    settings: dict[str, Any] = {
        "inpaint": fill.fingerprint,
        "precision": fill.precision,
        "feather": feather,
    }
    if fill.source_type is not None:
        settings["mark"] = fill.source_type
    return Inpainter(fill, holes, invert), settings


class NetworkFill:
    """Fills holes with a network that takes a picture and a mask; a `HoleFiller`.

    Parts of a hole that are thicker than the network has learned to cross are filled in a reduced picture
    and enlarged, thinner ones before them at full size. What is too large for the memory goes through in
    tiles that overlap. At the edge of a hole the result is corrected by how far the network is from the
    known pixels there, and less and less so inwards: the seam is feathered within the hole.

    Black and white are those of the model (`ModelInfo.range`). A model that has none takes those of the
    depth; of floats that go beyond 0 and 1 it takes the least and the largest near the holes.

    Args:
        generator: The network; it is moved to `device`.
        info: What its file says.
        device, precision, memory: See `load_model`.
        feather: Pixels from the edge of a hole inwards over which the seam is corrected.
        mark: Whether results say so in their files where the model's file says that they are synthetic.

    Attributes:
        source_type: What results say of themselves, `EDITED`; None where they do not.
        fingerprint: SHA-256 of the weights.
        precision: What 8-bit pictures are computed in.

    Raises:
        ConfigError: The network does not take a picture and a mask, or takes label maps.
    """

    def __init__(
        self,
        generator: Generator,
        info: ModelInfo | None = None,
        device: str = "auto",
        precision: str = "auto",
        memory: int | None = None,
        feather: int = FEATHER,
        mark: bool = True,
    ) -> None:
        if not fills_holes(generator):
            raise ConfigError(
                f"the model ({generator.spec.name}) does not fill holes: one that does takes a picture and "
                "a mask, and its result is like the picture."
            )
        if info is not None and (info.palette or info.nearest):
            raise ConfigError("the model fills holes in label maps, which is not done here; choose another.")
        if feather < 0:
            raise ConfigError(f"feather is {feather} pixels; it must not be negative.")
        self.fingerprint = fingerprint(generator.state_dict())
        self.source_type = EDITED if mark and info is not None and info.synthetic else None
        self._device = choose_device(device)
        chosen = choose_precision(precision, self._device)
        self.precision = chosen if generator.half_precision or precision != "auto" else "fp32"
        self._network = generator.to(self._device).eval()
        half = self.precision != "fp32"
        self._half = in_precision(self._network, DTYPES[self.precision]) if half else self._network
        self._only_uint8 = precision == "auto"
        self._memory, self._feather = memory, feather
        size, self._range = (None, None) if info is None else (info.size, info.range)
        # a U-Net is made for pictures that are a few pixels wide at its innermost level
        self._side = max(2 * generator.multiple_of, _SIDE) if size is None else min(size)

    def __call__(self, image: Image, hole: Hole) -> Image:
        """Returns `image` with the hole filled; alpha is continued by Telea's method.

        Raises:
            ProcessingError: Its channels do not fit the network, its depth does not hold the numbers that
                the model was trained on, or the network fails.
        """
        if image.channels not in (1, self._network.in_channels):
            raise ProcessingError(
                f"the picture has {image.channels} channels and the model fills those with "
                f"{self._network.in_channels}."
            )
        window = self._window(hole)
        part = hole[window]
        made, notes = self._filled(_cut(image, window), part)
        pixels = image.pixels.copy()
        pixels[window] = np.where(part[..., None], made, pixels[window])
        done = image.replace(pixels=pixels, alpha=continued_alpha(image, hole)).warn(*notes)
        if self.source_type is None or done.metadata.source_type is not None:
            return done
        return done.replace(metadata=done.metadata.replace(source_type=self.source_type))

    def _window(self, hole: Hole) -> tuple[slice, slice]:
        """Returns the part of the picture that holds the hole and what the network sees around it."""
        beyond = max(self._side, 4 * math.ceil(float(depth(hole).max())))
        rows, columns = (np.flatnonzero(hole.any(axis)) for axis in (1, 0))
        return tuple(
            slice(max(0, int(found[0]) - beyond), int(found[-1]) + 1 + beyond) for found in (rows, columns)
        )  # type: ignore[return-value]

    def _filled(self, image: Image, hole: Hole) -> tuple[Pixels, list[str]]:
        """Returns pixels like those of `image`, those of the hole new, and sentences about its numbers."""
        opaque = np.full(hole.shape, image.white, image.pixels.dtype) if image.alpha is None else image.alpha
        seen = image.replace(alpha=np.where(hole, 0, opaque).astype(opaque.dtype))
        grey = as_grey(seen).channels == 1
        seen = bleed(seen).replace(alpha=None)  # reduced pictures mix the edge of a hole with what is around
        seen = seen.replace(pixels=with_channels(seen, self._network.in_channels))
        numbers, notes = self._numbers(seen.pixels)
        values: Values = np.nan_to_num(to_unit(seen, numbers).pixels)
        if self._range is not None:
            notes = misfits([values], self._range)
        values = np.clip(values, 0, 1)
        network = self._network if self._only_uint8 and image.pixels.dtype != np.uint8 else self._half

        middle = np.maximum(thickness(hole) / (self._side * _CROSSED), 1)
        factors = np.exp2(np.ceil(np.log2(middle))).astype(int)
        unknown = hole.copy()
        for factor in np.unique(factors[hole]):
            wanted = hole & (factors == factor)
            made = self._at(int(factor), network, values, unknown)
            made += self._correction(made, values, unknown)
            values[wanted] = made[wanted]
            unknown &= ~wanted

        if grey:
            values = values.mean(2, keepdims=True)
        made = from_unit(Image(values), numbers, image.pixels.dtype).pixels
        return np.broadcast_to(made, (*hole.shape, image.channels)), notes

    def _numbers(self, pixels: Pixels) -> tuple[ValueRange, list[str]]:
        """Returns black and white in `pixels`, and a sentence if these are not those of the model."""
        if self._range is not None:
            return self._range, []
        usual = ValueRange(0, white_of(pixels.dtype))
        if pixels.dtype != np.float32:
            return usual, []
        brightness = pixels[np.abs(pixels) <= FARTHEST]  # others stand for "no data"
        low, high = float(brightness.min(initial=0)), float(brightness.max(initial=1))
        if (low, high) == usual:
            return usual, []
        found = ValueRange(low, high)
        return found, [
            f"the values near its holes are {words(found)}, where black to white is 0 to 1; the model was "
            "shown them as black to white"
        ]

    def _at(self, factor: int, network: Generator, values: Values, hole: Hole) -> Values:
        """Returns what the network makes of a picture reduced by `factor`, enlarged again."""
        if factor == 1:
            return self._in_tiles(network, values, hole)
        height, width = hole.shape
        room = ((0, -height % factor), (0, -width % factor))
        values, hole = np.pad(values, (*room, (0, 0)), "edge"), np.pad(hole, room, "edge")
        rows, columns = (side // factor for side in hole.shape)
        few = np.asarray(hole.reshape(rows, factor, columns, factor).any((1, 3)))
        small = self._in_tiles(network, resize(values, rows, columns), few)
        return resize(small, rows * factor, columns * factor)[:height, :width]

    def _correction(self, made: Values, truth: Values, hole: Hole) -> Values:
        """Returns what brings `made` to the known pixels at the edge of the hole, fading out inwards."""
        if self._feather == 0:
            return np.zeros_like(made)
        known = (~hole)[..., None].astype(np.float32)
        reach = self._feather / 2
        weight = gaussian(known, reach)
        off = gaussian((truth - made) * known, reach) / np.maximum(weight, 1e-3)
        inwards = depth(hole)[..., None] / (self._feather + 1)
        return np.asarray(off * np.clip(1 - inwards, 0, 1), np.float32)

    def _in_tiles(self, network: Generator, values: Values, hole: Hole) -> Values:
        """Returns what the network makes of a picture, in tiles that are laid over each other softly.

        What no tile with a hole covers stays as it is.
        """
        each = 4 * (network.live_features + 4 * network.in_channels)
        overlap = self._side // 2
        most = math.isqrt(budget(self._device, self._memory).most // each)
        side = max(2 * overlap, most)
        height, width = hole.shape
        if height * width <= side * side:
            return self._run(network, values, hole)
        total, weights = np.zeros_like(values), np.zeros((height, width, 1), np.float32)
        for top in _starts(height, side, overlap):
            for left in _starts(width, side, overlap):
                tile = (slice(top, top + side), slice(left, left + side))
                if hole[tile].any():
                    made = self._run(network, values[tile], hole[tile])
                    share = np.minimum.outer(*(_ramp(length, overlap) for length in made.shape[:2]))
                    total[tile] += made * share[..., None]
                    weights[tile] += share[..., None]
        return np.where(weights > 0, total / np.maximum(weights, 1e-9), values)

    def _run(self, network: Generator, values: Values, hole: Hole) -> Values:
        """Returns what the network makes of a picture; what is beyond its border is a hole for it."""
        height, width = hole.shape
        unit, least = network.multiple_of, network.minimum_size
        room = [(0, -(-max(side, least) // unit) * unit - side) for side in (height, width)]
        x = to_tensor(np.pad(values, (*room, (0, 0))), network.input_range, device=self._device)
        mask = torch.from_numpy(np.pad(hole, room, constant_values=True)).to(self._device)
        with torch.inference_mode():
            y = network.infer(x, mask=mask[None, None].float()).float()
        low, high = network.output_range
        made = ((y[0] - low) / (high - low)).permute(1, 2, 0)[:height, :width].cpu().numpy()
        if not np.isfinite(made).all():
            if network is not self._network:
                return self._run(self._network, values, hole)
            raise ProcessingError("the model answered with values that are not finite numbers, in fp32 too.")
        return np.array(made)


def _cut(image: Image, window: tuple[slice, slice]) -> Image:
    alpha = image.alpha
    return image.replace(pixels=image.pixels[window], alpha=None if alpha is None else alpha[window])


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Returns where tiles begin along one axis."""
    last = max(0, length - side)
    return [*range(0, last, side - overlap), last]


def _ramp(length: int, overlap: int) -> Values:
    """Returns weights that rise from both ends."""
    index = np.arange(length, dtype=np.float32)
    return np.minimum(np.minimum(index + 1, length - index) / overlap, 1)
