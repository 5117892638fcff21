"""Runs a generator over pictures of any size, within the memory there is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img2img.errors import ProcessingError
from img2img.image.image import Pixels
from img2img.image.tensor import to_pixels, to_tensor
from img2img.inference.backends import Backend, choose_backend
from img2img.inference.memory import budget, free_memory
from img2img.inference.precision import DTYPES, choose_precision
from img2img.inference.tiling import Blender, Layout, Span, layout
from img2img.models import Generator

CACHED_BYTES = 40 * 2**20  # activations beyond this slow a CPU down (measured with RRDBNet and compact)
MOST_VALUES = 2**31 - 1  # many GPU kernels index with 32 bits
GPU_BATCH = 2**20  # input pixels in one call: enough to fill a large GPU


class Runner:
    """Pads, tiles, batches, runs, and puts the results together.

    Args:
        generator: The network; it is moved to `device` and into channels_last.
        device: Where it runs.
        precision: "auto", "fp32", "bf16" or "fp16". Under "auto" only uint8 pictures are computed in half
            precision, because its 8 or 11 bits do not hold more.
        tile: Side of a tile in input pixels, without its margins; None chooses.
        memory: Bytes that activations may take; None takes a safe share of what is free.
        backend: See `choose_backend`.
    """

    def __init__(
        self,
        generator: Generator,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
        memory: int | None = None,
        backend: str = "auto",
    ) -> None:
        self.generator = generator.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device, self.tile, self.memory = device, tile, memory
        self.precision = choose_precision(precision, device)
        self._only_uint8 = precision == "auto"
        self._choice = backend
        self._backends: dict[str, Backend] = {}  # by precision
        self._shrunk: int | None = None  # pixels in one call, after the device ran out of memory

    def batch_pixels(self, dtype: np.dtype[Any]) -> int:
        """Returns how many input pixels of pictures of `dtype` are worth computing in one call."""
        if self.device.type == "cpu":
            return min(self._affordable(dtype), self._cached(dtype))
        return min(self._affordable(dtype), GPU_BATCH)

    def backend(self, dtype: np.dtype[Any]) -> Backend:
        """Returns what computes pictures of `dtype`; it is prepared when it is first asked for.

        Raises:
            ConfigError: See `choose_backend`.
        """
        precision = self._precision(dtype)
        if precision not in self._backends:
            self._backends[precision] = choose_backend(self.generator, precision, self._choice)
        return self._backends[precision]

    def __call__(self, pictures: Sequence[Pixels], to_grey: Sequence[bool], notes: list[str]) -> list[Pixels]:
        """Runs the network over pictures of one shape and dtype.

        Args:
            pictures: (H, W, in_channels), any H and W.
            to_grey: For each of them whether the result's channels are averaged into one.
            notes: Receives a sentence about everything unusual.

        Returns:
            (H*scale, W*scale, out_channels or 1) for each, of the same dtype.

        Raises:
            ProcessingError: It does not fit into memory in the smallest tiles, or the network answers
                with values that are not finite numbers.
        """
        height, width, _ = pictures[0].shape
        dtype = pictures[0].dtype
        while True:
            grid = self._layout(height, width, self._affordable(dtype), dtype)
            count = max(1, min(self.batch_pixels(dtype) // (grid.height * grid.width), 64))
            try:
                return self._run(pictures, to_grey, grid, count, notes)
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
            used = grid.height * grid.width * count
            smaller = self._layout(height, width, used // 4, dtype)
            if count == 1 and smaller.height * smaller.width >= used:
                raise ProcessingError(
                    f"{self.device} has too little memory for {grid.width}x{grid.height} pixels at once, and "
                    "this model and tile size allow no less; free some memory, or take a smaller picture."
                )
            self._shrunk = used // 4
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _affordable(self, dtype: np.dtype[Any]) -> int:
        """Returns how many input pixels fit into the memory at once."""
        generator = self.generator
        results = generator.in_channels + generator.out_channels * generator.scale**2
        each = (
            generator.live_features * self._dtype(dtype).itemsize + 12 * results
        )  # scaled, checked, rounded
        pixels = min(budget(self.device, self.memory) // each, MOST_VALUES // generator.live_features)
        return int(max(1, pixels if self._shrunk is None else min(pixels, self._shrunk)))

    def _cached(self, dtype: np.dtype[Any]) -> int:
        return int(CACHED_BYTES / self.generator.live_features / self._dtype(dtype).itemsize)

    def _dtype(self, pixels: np.dtype[Any]) -> torch.dtype:
        return DTYPES[self._precision(pixels)]

    def _precision(self, pixels: np.dtype[Any]) -> str:
        return "fp32" if self._only_uint8 and pixels != np.uint8 else self.precision

    def _layout(self, height: int, width: int, pixels: int, dtype: np.dtype[Any]) -> Layout:
        generator = self.generator
        unit = generator.multiple_of
        height, width = (-(-max(side, generator.minimum_size) // unit) * unit for side in (height, width))
        radius = generator.receptive_field if generator.tiling == "local" else None
        if radius is None and height * width > pixels and self.device.type == "cpu":
            needed = int(height * width / pixels * budget(self.device, self.memory))
            if needed > 0.9 * free_memory():
                raise ProcessingError(
                    f"{width}x{height} pixels need about {needed / 2**30:.1f} GiB with this model, which "
                    "cannot work in tiles, and so much is not free; make the picture smaller."
                )
        cached = self._cached(dtype) if self.device.type == "cpu" else None
        return layout(height, width, pixels, radius=radius, unit=unit, tile=self.tile, cached=cached)

    def _run(
        self,
        pictures: Sequence[Pixels],
        to_grey: Sequence[bool],
        grid: Layout,
        count: int,
        notes: list[str],
    ) -> list[Pixels]:
        generator, scale, dtype = self.generator, self.generator.scale, pictures[0].dtype
        height, width = (side * scale for side in pictures[0].shape[:2])
        results = [
            np.empty((height, width, 1 if grey else generator.out_channels), dtype) for grey in to_grey
        ]
        blenders = [Blender(grid, scale) for _ in pictures]
        work = ((index, row, column) for index in range(len(pictures)) for row, column in grid)
        while batch := list(islice(work, count)):
            windows = [_window(pictures[index], row, column, grid) for index, row, column in batch]
            outputs = self._forward(windows, notes)
            for (index, row, column), output in zip(batch, torch.split(outputs, 1), strict=True):
                part = output.mean(1, keepdim=True) if to_grey[index] else output
                top, left, part = blenders[index].add(row, column, part)
                part = part[..., : height - top, : width - left]  # what was padded goes
                if part.numel():
                    (done,) = to_pixels(part, generator.output_range, dtype)
                    results[index][top : top + done.shape[0], left : left + done.shape[1]] = done
        return results

    def _forward(self, windows: list[Pixels], notes: list[str]) -> Tensor:
        x = to_tensor(windows, self.generator.input_range, device=self.device)
        x = x.contiguous(memory_format=torch.channels_last)
        backend = self.backend(windows[0].dtype)
        if backend.note:
            notes.append(backend.note)
            backend.note = ""  # once is enough
        with torch.inference_mode():
            result = backend(x)
            if torch.isfinite(result).all():
                return result
            if (backend.name, backend.precision) != ("eager", "fp32"):
                notes.append(f"{backend.precision} overflowed; the part was computed again in fp32")
                result = self.generator.infer(x)
            if not torch.isfinite(result).all():
                raise ProcessingError(
                    "the model answered with values that are not finite numbers, in fp32 too."
                )
        return result


def _window(picture: Pixels, row: Span, column: Span, grid: Layout) -> Pixels:
    """Cuts a window out; what lies right of or below the picture is its mirror image."""
    height, width = picture.shape[:2]
    bottom, right = row.start + grid.height, column.start + grid.width
    if bottom <= height and right <= width:
        return picture[row.start : bottom, column.start : right]
    return picture[np.ix_(_mirrored(row.start, bottom, height), _mirrored(column.start, right, width))]


def _mirrored(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Returns start to stop - 1 reflected at the ends of `length`, without repeating the ends."""
    period = max(1, 2 * (length - 1))
    index = np.arange(start, stop) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros_like(index)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "not enough memory"))
