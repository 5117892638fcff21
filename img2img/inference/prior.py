"""Deep Image Prior for pictures of any kind and size: one fit for each, or for each of its tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from img2img.errors import ConfigError, ProcessingError
from img2img.image import Image, white_of
from img2img.image.alpha import Values, bleed
from img2img.image.channels import as_grey
from img2img.image.image import Pixels
from img2img.image.numbers import from_unit, require_sound, to_unit, words
from img2img.image.resize import resize, taps
from img2img.image.tensor import to_pixels, to_tensor
from img2img.inference.early_stopping import WINDOW, StoppingRule, stopping
from img2img.inference.memory import budget
from img2img.inference.precision import choose_device
from img2img.inference.prior_fit import FitState, FittedPicture, fit, network_for, padded
from img2img.inference.prior_tasks import RECIPES, HoleForm, PriorRecipe, PriorTask, form_of, recipe_for
from img2img.inference.tiling import BLEND_MARGIN, BLEND_RAMP, Blender, TileGrid, spans
from img2img.models.hourglass import Hourglass
from img2img.processors.inpaint import Hole, continued_alpha
from img2img.types import UNIT, ValueRange

TIMED = 4  # steps after which it is known how long one takes
FEWEST = 100  # steps below which nothing is recognised
LONGEST = 24 * 3600.0  # seconds for one picture that nobody asked to take a while
_UNIT = 32  # pixels of which a side has a whole number in the network, at most
_PROBE = 64  # side of the picture that tells what a step takes


@dataclass(frozen=True)
class PriorEstimate:
    """How long one picture takes, before it begins.

    Attributes:
        name: Of the picture, as in `Image`.
        steps: Of each fit, at most.
        tiles: How many fits there are.
        pace: Seconds a step, from steps of a small picture.
        seconds: In all, at most.
    """

    name: str
    steps: int
    tiles: int
    pace: float
    seconds: float


@dataclass(frozen=True)
class PriorProgress:
    """How far the work on one picture is.

    Attributes:
        name: Of the picture, as in `Image`.
        fit: Of the tile at work.
        tile, tiles: Which one it is, from 1, and how many there are.
        left: Seconds that it may take at most.
    """

    name: str
    fit: FitState
    tile: int
    tiles: int
    left: float

    def picture(self) -> Image:
        """Returns what the tile at work has become so far, in 8 bits."""
        (pixels,) = to_pixels(self.fit.average[:1, : 3 if self.fit.average.shape[1] >= 3 else 1])
        return Image(pixels)


class DeepPrior:
    """Restores each picture by fitting an untrained network to it; a batch processor.

    The result depends on nothing but the picture and the seed. Depth, alpha, grey and profile stay: levels
    are fitted as they are, from black to white of the depth, those under alpha 0 are those around them, and
    alpha is carried over (enlarged, by bicubic). Floats that go beyond 0 and 1 are fitted between their least
    and their largest.

    A picture that takes more memory than there is becomes tiles that overlap by 64 pixels, each with a fit
    of its own. How long it takes is estimated before: a picture that would take more than a day is refused
    unless it has `minutes`, and one whose minutes are too short is after four steps.

    Args:
        task: "denoise", "dejpeg" or "upscale"; "inpaint" is done by `fill` in an `Inpainter`. "upscale"
            looks for a picture that becomes the given one by `img2img.image.resize` (the paper: by Lanczos).
        factor: Of "upscale", 2 to 8.
        holes: What is missing, which decides about the recipe of "inpaint"; "auto" goes by the mask.
        minutes: For each picture, at most.
        steps: For each fit, at most; by default those of the recipe.
        channels: Of the network at its widest, 128 as the authors have it: half of them take a quarter of
            the time.
        stop: Which variance ends a fit: "windowed", "moving", or "none".
        seed: Of the network and its input.
        device: See `load_model`.
        memory: Bytes that a fit may use; by default a share of what is free.
        on_estimate: Called before each picture.
        on_progress: Called after each step from the fourth on. What it raises ends the work on the picture.

    Raises:
        ConfigError: An argument makes no sense.
    """

    def __init__(
        self,
        task: PriorTask,
        *,
        factor: int = 4,
        holes: HoleForm = "auto",
        minutes: float | None = None,
        steps: int | None = None,
        channels: int = 128,
        stop: StoppingRule = "windowed",
        seed: int = 0,
        device: str = "auto",
        memory: int | None = None,
        on_estimate: Callable[[PriorEstimate], None] = lambda estimate: None,
        on_progress: Callable[[PriorProgress], None] = lambda progress: None,
    ) -> None:
        numbers: dict[str, float | None] = {"minutes": minutes, "steps": steps, "channels": channels}
        for name, number in numbers.items():
            if number is not None and not 0 < number < math.inf:
                raise ConfigError(f"{name} must be a number above 0, not {number}.")
        if not 0 <= seed < 2**63:
            raise ConfigError(f"seed must be a whole number from 0 to 2**63 - 1, not {seed}.")
        self.task, self.factor = task, factor if task == "upscale" else 1
        self._recipe = None if task == "inpaint" else recipe_for(task, factor)
        self._holes, self._minutes, self._steps, self._channels = holes, minutes, steps, channels
        stopping(stop)
        self._stop, self._seed, self._memory = stop, seed, memory
        self._device = choose_device(device)
        self._costs: dict[tuple[PriorRecipe, int], StepCost] = {}
        self.on_estimate, self.on_progress = on_estimate, on_progress

    def group_key(self, image: Image) -> Hashable:
        """Returns None: each picture is fitted by itself."""
        return None

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the pictures restored, in order.

        Raises:
            ProcessingError: One holds no numbers to compute with, would take too long, or a single tile
                takes more memory than there is.
        """
        return [self._restored(image) for image in images]

    def fill(self, image: Image, hole: Hole) -> Image:
        """Returns `image` with the hole filled, for an `Inpainter`, which keeps the rest as it is.

        Raises:
            ProcessingError: As above.
        """
        form = form_of(hole) if self._holes == "auto" else self._holes
        opaque = np.full(hole.shape, image.white, image.pixels.dtype) if image.alpha is None else image.alpha
        seen = image.replace(alpha=np.where(hole, 0, opaque).astype(opaque.dtype))
        pixels, notes = self._made(seen, RECIPES[form], hole)
        made = image.replace(pixels=pixels, alpha=continued_alpha(image, hole), jpeg_quality=None)
        return made.replace(made_by=form).warn(*notes)

    def _restored(self, image: Image) -> Image:
        if self._recipe is None:
            raise ProcessingError("inpainting takes a mask beside the picture.")
        pixels, notes = self._made(image, self._recipe, None)
        alpha = image.alpha
        if alpha is not None and self.factor > 1:
            alpha = resize(alpha[..., None], *pixels.shape[:2])[..., 0]
        metadata = image.metadata.resized(self.factor, self.factor)
        return image.replace(pixels=pixels, alpha=alpha, metadata=metadata, jpeg_quality=None).warn(*notes)

    def _made(self, image: Image, recipe: PriorRecipe, hole: Hole | None) -> tuple[Pixels, list[str]]:
        """Returns pixels like those of `image` that are fitted to it, and sentences about them."""
        grey = as_grey(image)
        seen = bleed(grey).replace(alpha=None)
        require_sound(seen.pixels)
        numbers, notes = _numbers(seen.pixels)
        recipe = replace(recipe.narrowed(self._channels), steps=self._steps or recipe.steps)
        values, ends = self._in_tiles(to_unit(seen, numbers).pixels, recipe, hole, image.name)
        made = from_unit(Image(values), numbers, image.pixels.dtype).pixels
        if grey.channels != image.channels:
            made = np.repeat(made, image.channels, 2)
        if cut := [end.steps for end in ends if end.ended == "time"]:
            notes.append(
                f"its time was over after {min(cut):,} of {recipe.steps:,} steps; another run or machine may "
                "come farther"
            )
        return made, notes

    def _in_tiles(
        self, values: Values, recipe: PriorRecipe, hole: Hole | None, name: str
    ) -> tuple[Values, list[FittedPicture]]:
        """Returns what is fitted to `values` (H, W, C), and how each fit came to its end."""
        height, width, channels = values.shape
        cost = self._cost(recipe, channels)
        grid = self._grid(height, width, channels, cost)
        windows = [
            (slice(row.start, row.start + grid.height), slice(column.start, column.start + grid.width))
            for row, column in grid
        ]
        work = [hole is None or bool(hole[window].any()) for window in windows]
        clock = _PriorClock(name, sum(work), None if self._minutes is None else self._minutes * 60)
        area = math.prod(padded((grid.height * self.factor, grid.width * self.factor), _UNIT))
        if clock.tiles:
            self.on_estimate(clock.estimate(recipe.steps, cost.seconds * area))
        blender = Blender(grid, self.factor)
        result = np.empty((height * self.factor, width * self.factor, channels), np.float32)
        ends = []
        for (row, column), window, works in zip(grid, windows, work, strict=True):
            known = to_tensor(values[window], device=self._device)
            if works:
                fitted = self._fitted(known, recipe, None if hole is None else hole[window], clock)
                ends.append(fitted)
                known = fitted.picture
            top, left, part = blender.add(row, column, known)
            (pixels,) = to_pixels(part, UNIT, np.float32)
            result[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
        return result, ends

    def _fitted(
        self, known: Tensor, recipe: PriorRecipe, hole: Hole | None, clock: _PriorClock
    ) -> FittedPicture:
        height, width = (side * self.factor for side in known.shape[-2:])
        if hole is not None:
            there = torch.from_numpy(~hole).to(known)
            known = known * there

            def observe(output: Tensor) -> Tensor:
                return output * there

        elif self.factor > 1:
            rows, columns = (_reducing(side * self.factor, side, known) for side in known.shape[-2:])

            def observe(output: Tensor) -> Tensor:
                return rows @ output @ columns.mT

        else:

            def observe(output: Tensor) -> Tensor:
                return output

        def on_step(state: FitState) -> None:
            if state.step >= TIMED or clock.tile > 1:
                self.on_progress(clock.seen(state))

        fitted = fit(
            recipe,
            known,
            observe,
            (height, width),
            seed=self._seed,
            rule=stopping(self._stop),
            seconds=clock.share(),
            on_step=on_step,
        )
        if fitted.ended == "time":
            clock.require(fitted.steps, recipe.steps)
        clock.tile += 1
        return fitted

    def _cost(self, recipe: PriorRecipe, channels: int) -> StepCost:
        if (recipe, channels) not in self._costs:
            network = network_for(recipe, channels, 0).to(self._device)
            self._costs[recipe, channels] = step_cost(network, recipe.inputs or 2, self._device)
        return self._costs[recipe, channels]

    def _grid(self, height: int, width: int, channels: int, cost: StepCost) -> TileGrid:
        """Returns the tiles that a picture becomes: one, where the memory is enough."""
        each = cost.bytes + (WINDOW * channels * 4 if self._stop == "windowed" else 0)
        fitting = budget(self._device, self._memory).most // each
        high, wide = padded((height * self.factor, width * self.factor), _UNIT)
        if high * wide <= fitting:
            rows, columns = (spans(length, length, 0)[0] for length in (height, width))
            return TileGrid(rows, columns, height, width, 0)
        side = math.isqrt(fitting) // _UNIT * _UNIT // self.factor
        margin, ramp = (math.ceil(length / self.factor) for length in (BLEND_MARGIN, BLEND_RAMP))
        (rows, tall), (columns, broad) = (spans(length, side, margin, ramp) for length in (height, width))
        grid = TileGrid(rows, columns, tall, broad, ramp)
        high, wide = padded((tall * self.factor, broad * self.factor), _UNIT)
        if high * wide > fitting:
            takes, there = (pixels * each / 2**20 for pixels in (high * wide, fitting))
            raise ProcessingError(
                f"a tile of {broad * self.factor} x {tall * self.factor} pixels takes {takes:,.0f} MiB, and "
                f"{there:,.0f} are there; give it more `memory` or fewer `channels`"
            )
        return grid


class _PriorClock:
    """How long a picture takes, and whether that is too long.

    Args:
        name: Of the picture.
        tiles: How many fits there are.
        seconds: For all of them, or None.
    """

    def __init__(self, name: str, tiles: int, seconds: float | None) -> None:
        self.name, self.tiles, self.tile = name, tiles, 1
        self._end = None if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._of_tiles = f" for each of {tiles} tiles" if tiles > 1 else ""

    def share(self) -> float | None:
        """Returns the seconds for the next tile."""
        if self._end is None:
            return None
        return max(0.0, self._end - time.monotonic()) / (self.tiles - self.tile + 1)

    def estimate(self, steps: int, pace: float) -> PriorEstimate:
        """Returns how long all of it takes at most, with `pace` seconds a step.

        Raises:
            ProcessingError: That is too long for something that nobody gave a time.
        """
        seconds = steps * pace * self.tiles
        if self._seconds is None and seconds > LONGEST:
            raise ProcessingError(
                f"it takes up to {steps:,} steps of {pace:.2g} s{self._of_tiles}, about "
                f"{seconds / 86400:.2g} days; give it `minutes`, fewer `steps` or `channels`, a faster "
                "`device`, or a smaller picture"
            )
        return PriorEstimate(self.name, steps, self.tiles, pace, min(seconds, self._seconds or math.inf))

    def seen(self, state: FitState) -> PriorProgress:
        """Returns how far the work is.

        Raises:
            ProcessingError: Its time is too short.
        """
        left = state.seconds * (state.steps - state.step + state.steps * (self.tiles - self.tile))
        if self._end is not None and self._seconds is not None:
            left = min(left, max(0.0, self._end - time.monotonic()))
            if state.step == TIMED:
                self.require(int(self._seconds / self.tiles / state.seconds), state.steps)
        return PriorProgress(self.name, state, self.tile, self.tiles, left)

    def require(self, possible: int, steps: int) -> None:
        """Makes sure that the time of the first tile, and so of all, is enough for a picture.

        Raises:
            ProcessingError: It is not.
        """
        if self.tile == 1 and self._seconds is not None and possible < min(FEWEST, steps):
            raise ProcessingError(
                f"in {self._seconds / 60:.3g} minutes it comes to {possible:,} of {steps:,} steps"
                f"{self._of_tiles}, and before {FEWEST} there is nothing to recognise; give it more "
                "`minutes`, fewer `channels`, a faster `device`, or a smaller picture"
            )


def _numbers(pixels: Pixels) -> tuple[ValueRange, list[str]]:
    """Returns black and white in `pixels`, and a sentence if these are not the usual ones."""
    usual = ValueRange(0, white_of(pixels.dtype))
    if pixels.dtype != np.float32:
        return usual, []
    found = ValueRange(min(0.0, float(pixels.min())), max(1.0, float(pixels.max())))
    if found == usual:
        return usual, []
    return found, [f"its values are {words(found)}, and were fitted as black to white"]


def _reducing(length: int, new_length: int, like: Tensor) -> Tensor:
    """Returns the matrix (new_length, length) that reduces one axis as `resize` does, without rounding."""
    index, weights = taps(length, new_length)
    matrix = np.zeros((new_length, length), np.float32)
    np.add.at(matrix, (np.arange(new_length)[:, None], index), weights.astype(np.float32))
    return torch.from_numpy(matrix).to(like)


class StepCost(NamedTuple):
    """What one step takes for each pixel that the network draws."""

    bytes: int
    seconds: float


def step_cost(network: Hourglass, inputs: int, device: torch.device) -> StepCost:
    """Returns what a step takes, found out by three of a small picture: one to warm up, two to measure.

    The memory is twice what a step keeps for its gradients; 1.8 times was measured.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    side = max(_PROBE, 2 * network.multiple_of)
    still = torch.zeros(1, inputs, side, side, device=device)

    def run() -> float:
        began = time.monotonic()
        error = network(still).square().mean()
        error.backward()
        error.item()  # waits for it
        return time.monotonic() - began

    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    total = sum(size for place, size in kept.items() if place not in weights)
    return StepCost(math.ceil(2 * total / side**2), min(run(), run()) / side**2)
