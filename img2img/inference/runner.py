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
from img2img.image.tensor import one_hot, to_pixels, to_tensor
from img2img.inference.backends import Backend, Eager, choose_backend, require_precision
from img2img.inference.conditions import Planes, stacked
from img2img.inference.memory import budget, free_memory, keep_freed_memory
from img2img.inference.precision import DTYPES, choose_precision
from img2img.inference.schemes import Scheme, choose_scheme, in_strips, no_tiles
from img2img.inference.tiling import Blender, TileGrid, layout
from img2img.models import Generator

CACHED_BYTES = 40 * 2**20  # activations beyond this slow a CPU down (measured with RRDBNet and compact)
MOST_VALUES = 2**31 - 1  # many GPU kernels index with 32 bits
NOT_FINITE = "the model answered with values that are not finite numbers, in fp32 too."
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
        classes: Of label maps; where there are any, a picture holds one for each pixel, and gets its channels
            on the device.
    """

    def __init__(
        self,
        generator: Generator,
        device: torch.device,
        precision: str = "auto",
        tile: int | None = None,
        memory: int | None = None,
        backend: str = "auto",
        classes: int = 0,
    ) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self.classes = classes
        self.generator = generator.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device, self.tile, self.memory = device, tile, memory
        half = generator.half_precision and backend != "onnxruntime"
        safe = precision if half or precision != "auto" else "fp32"
        self.precision = choose_precision(safe, device)
        require_precision(generator, self.precision, backend)
        self._only_uint8 = precision == "auto"
        self._choice = backend
        self._backends: dict[str, Backend] = {}  # by precision
        self._networks: dict[str, Generator] = {}  # by precision, for pictures in strips
        self._shrunk: int | None = None  # pixels in one call, after the device ran out of memory

    def forget(self) -> None:
        """Drops what was made of the network, which has changed."""
        self._backends.clear()
        self._networks.clear()

    def batch_pixels(self, dtype: np.dtype[Any]) -> int:
        """Returns how many input pixels of pictures of `dtype` are worth computing in one call."""
        return self._batch_pixels(dtype, budget(self.device, self.memory).usual)

    def _batch_pixels(self, dtype: np.dtype[Any], room: int) -> int:
        worth = self._cached(dtype) if self.device.type == "cpu" else GPU_BATCH
        return min(self._affordable(dtype, room), worth)

    def backend(self, dtype: np.dtype[Any]) -> Backend:
        """Returns what computes pictures of `dtype`; it is prepared when it is first asked for.

        Raises:
            ConfigError: See `choose_backend`.
        """
        precision = self._precision(dtype)
        if precision not in self._backends:
            self._backends[precision] = choose_backend(
                self.generator, precision, self._choice, self.batch_pixels(dtype)
            )
        return self._backends[precision]

    def __call__(
        self,
        pictures: Sequence[Pixels],
        to_grey: Sequence[bool],
        notes: list[str],
        planes: Sequence[Planes] = (),
    ) -> list[Pixels]:
        """Runs the network over pictures of one shape and dtype.

        Args:
            pictures: (H, W, in_channels), any H and W; of `classes` (H, W, 1).
            to_grey: For each of them whether the result's channels are averaged into one.
            notes: Receives a sentence about everything unusual.
            planes: For each of them its conditions, all of one shape and dtype, if the network has any; the
                spatial ones have the size of the picture.

        Returns:
            (H*scale, W*scale, out_channels or 1) for each, of the same dtype; uint8 for integers of classes.

        Raises:
            ProcessingError: It does not fit into memory in the smallest tiles, or the network answers
                with values that are not finite numbers.
        """
        height, width, _ = pictures[0].shape
        dtype = self._depth(pictures[0])
        usual, most = budget(self.device, self.memory)
        while True:
            scheme = self._scheme(height, width, dtype, usual, most)
            pixels = self._affordable(dtype, usual)
            grid = self._layout(height, width, pixels, dtype, checked=scheme is None)
            count = max(1, min(self._batch_pixels(dtype, usual) // (grid.height * grid.width), 64))
            try:
                if scheme is None:
                    return self._in_tiles(pictures, planes, to_grey, grid, count, notes)
                pairs = zip(pictures, to_grey, strict=True)
                return [self._in_strips(picture, grey, scheme, notes) for picture, grey in pairs]
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
            self._forget()
            usual = budget(self.device, self.memory).usual  # others may have taken what was free
            used = grid.height * grid.width * count
            most = min(most, used * self._each(dtype) if scheme is None else scheme.peak) // 2
            if scheme is not None or self._scheme(height, width, dtype, usual, most) is not None:
                continue
            smaller = self._layout(height, width, used // 4, dtype)
            if count == 1 and smaller.height * smaller.width >= used:
                raise ProcessingError(
                    f"{self.device} has too little memory for {grid.width}x{grid.height} pixels at once, and "
                    "this model and tile size allow no less; free some memory, or take a smaller picture."
                )
            self._shrunk = used // 4

    def _forget(self) -> None:
        """Gives back what the failed call took of the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _scheme(self, height: int, width: int, dtype: np.dtype[Any], usual: int, most: int) -> Scheme | None:
        """Returns how a picture goes through in strips, or None if whole or in exact tiles is better.

        Strips take more than the `usual` share of the memory, up to `most` bytes, only where nothing else
        would be exact. They know nothing of conditions.
        """
        if self.generator.conditions:
            return None
        if self.tile is not None and self.generator.tiling == "local":
            return None
        room = most
        if self.generator.tiling == "local":
            room = min(usual, most)
            if self._layout(height, width, self._affordable(dtype, room), dtype).ramp == 0:
                return None
        height, width = padded(self.generator, height, width)
        if height * width <= self._affordable(dtype, room):
            return None
        while True:
            scheme = choose_scheme(self.generator, height, width, room, self._dtype(dtype).itemsize)
            if scheme is not None or room >= most:
                return scheme
            room = min(2 * room, most)

    def _in_strips(self, picture: Pixels, grey: bool, scheme: Scheme, notes: list[str]) -> Pixels:
        """Runs the network over one picture by `scheme`; in fp32 again if half precision overflows."""
        precision = self._precision(self._depth(picture))
        for name in dict.fromkeys((precision, "fp32")):
            if name not in self._networks:
                self._networks[name] = Eager(self.generator, name).generator
            result = self._strips(self._networks[name], picture, grey, scheme)
            if result is not None:
                return result
            notes.append(f"{name} overflowed; the picture was computed again in fp32")
        raise ProcessingError(NOT_FINITE)

    def _strips(self, network: Generator, picture: Pixels, grey: bool, scheme: Scheme) -> Pixels | None:
        """Returns the result, or None if it is not finite."""
        height, width = (side * network.scale for side in picture.shape[:2])
        dtype = self._depth(picture)
        result = np.empty((height, width, 1 if grey else network.out_channels), dtype)
        window = _window(picture, 0, 0, *padded(self.generator, *picture.shape[:2]))
        x = self._tensor([window])
        for top, strip in in_strips(network, x, scheme):
            if not _is_finite(strip):
                return None
            strip = strip.float()[..., : max(0, height - top), :width]
            if strip.numel():
                strip = strip.mean(1, keepdim=True) if grey else strip
                (done,) = to_pixels(strip, network.output_range, dtype)
                result[top : top + done.shape[0]] = done
        return result

    def _affordable(self, dtype: np.dtype[Any], room: int) -> int:
        """Returns how many input pixels fit at once into `room` bytes."""
        pixels = min(room // self._each(dtype), MOST_VALUES // self.generator.live_features)
        return int(max(1, pixels if self._shrunk is None else min(pixels, self._shrunk)))

    def _each(self, dtype: np.dtype[Any]) -> int:
        """Returns how many bytes an input pixel takes."""
        generator = self.generator
        results = generator.in_channels + generator.out_channels * generator.scale**2
        results += sum(field.spatial for field in generator.conditions.values())
        each = generator.live_features * self._dtype(dtype).itemsize
        return int(each + 12 * results)  # scaled, checked, rounded

    def _cached(self, dtype: np.dtype[Any]) -> int:
        return int(CACHED_BYTES / self.generator.live_features / self._dtype(dtype).itemsize)

    def _dtype(self, pixels: np.dtype[Any]) -> torch.dtype:
        return DTYPES[self._precision(pixels)]

    def _precision(self, pixels: np.dtype[Any]) -> str:
        return "fp32" if self._only_uint8 and pixels != np.uint8 else self.precision

    def _layout(
        self, height: int, width: int, pixels: int, dtype: np.dtype[Any], checked: bool = True
    ) -> TileGrid:
        """Returns the tiles; `checked`: raises ProcessingError if a picture that must stay whole cannot."""
        generator = self.generator
        height, width = padded(self.generator, height, width)
        radius = generator.receptive_field if generator.tiling == "local" else None
        if checked and radius is None and height * width > pixels and self.device.type == "cpu":
            needed = height * width * self._each(dtype)
            if needed > 0.9 * free_memory():
                raise ProcessingError(
                    f"{width}x{height} pixels need about {needed / 2**30:.1f} GiB with this model, and so "
                    f"much is not free. {no_tiles(generator) or 'Make the picture smaller.'}"
                )
        cached = self._cached(dtype) if self.device.type == "cpu" else None
        unit = generator.multiple_of
        return layout(height, width, pixels, radius=radius, unit=unit, tile=self.tile, cached=cached)

    def _in_tiles(
        self,
        pictures: Sequence[Pixels],
        planes: Sequence[Planes],
        to_grey: Sequence[bool],
        grid: TileGrid,
        count: int,
        notes: list[str],
    ) -> list[Pixels]:
        generator, scale, dtype = self.generator, self.generator.scale, self._depth(pictures[0])
        height, width = (side * scale for side in pictures[0].shape[:2])
        results = [
            np.empty((height, width, 1 if grey else generator.out_channels), dtype) for grey in to_grey
        ]
        blenders = [Blender(grid, scale) for _ in pictures]
        work = ((index, row, column) for index in range(len(pictures)) for row, column in grid)
        while batch := list(islice(work, count)):
            windows = [
                _window(pictures[index], row.start, column.start, grid.height, grid.width)
                for index, row, column in batch
            ]
            given = (
                [_windows(planes[index], row.start, column.start, grid) for index, row, column in batch]
                if planes
                else []
            )
            placed = [
                generator.placed(row.start, column.start, grid.height, grid.width) for _, row, column in batch
            ]
            outputs = self._forward(windows, given, placed, notes)
            for (index, row, column), output in zip(batch, torch.split(outputs, 1), strict=True):
                part = output.mean(1, keepdim=True) if to_grey[index] else output
                top, left, part = blenders[index].add(row, column, part)
                part = part[..., : height - top, : width - left]  # what was padded goes
                if part.numel():
                    (done,) = to_pixels(part, generator.output_range, dtype)
                    results[index][top : top + done.shape[0], left : left + done.shape[1]] = done
        return results

    def _depth(self, picture: Pixels) -> np.dtype[Any]:
        """Returns the depth in which a picture is answered; numbers of classes have none of their own."""
        of_numbers = self.classes and picture.dtype != np.float32
        return np.dtype(np.uint8) if of_numbers else picture.dtype

    def _tensor(self, windows: list[Pixels]) -> Tensor:
        """Returns windows (H, W, C) as the network takes them, (N, in_channels, H, W) on the device."""
        numbers = self.generator.input_range
        if self.classes:
            x = one_hot(torch.from_numpy(np.stack(windows)).to(self.device), self.classes, numbers)
        else:
            x = to_tensor(windows, numbers, device=self.device)
        return x.contiguous(memory_format=torch.channels_last)

    def _forward(
        self,
        windows: list[Pixels],
        planes: list[Planes],
        placed: list[dict[str, Tensor]],
        notes: list[str],
    ) -> Tensor:
        x = self._tensor(windows)
        conditions = stacked(self.generator, planes, self.device)
        for name in placed[0]:
            conditions[name] = torch.stack([each[name] for each in placed]).to(self.device)
        backend = self.backend(self._depth(windows[0]))
        if backend.note:
            notes.append(backend.note)
            backend.note = ""  # once is enough
        with torch.inference_mode():
            result = backend(x, **conditions)
            if _is_finite(result):
                return result
            if (backend.name, backend.precision) != ("eager", "fp32"):
                notes.append(f"{backend.precision} overflowed; the part was computed again in fp32")
                result = self.generator.infer(x, **conditions)
            if not _is_finite(result):
                raise ProcessingError(NOT_FINITE)
        return result


def _is_finite(x: Tensor) -> bool:
    """Returns whether all values are finite; a sum of such values nearly always is, and is read off once."""
    return bool(x.sum(dtype=torch.float32).isfinite() or x.isfinite().all())


def _window(picture: Pixels, top: int, left: int, rows: int, columns: int) -> Pixels:
    """Cuts a window out; what lies right of or below the picture is its mirror image."""
    height, width = picture.shape[:2]
    bottom, right = top + rows, left + columns
    if bottom <= height and right <= width:
        return picture[top:bottom, left:right]
    return picture[np.ix_(mirrored(top, bottom, height), mirrored(left, right, width))]


def _windows(planes: Planes, top: int, left: int, grid: TileGrid) -> Planes:
    """Cuts the window out of every condition of a picture that has places."""
    return {
        name: _window(plane, top, left, grid.height, grid.width) if plane.ndim == 3 else plane
        for name, plane in planes.items()
    }


def padded(generator: Generator, height: int, width: int) -> tuple[int, int]:
    """Returns the size (height, width) at which `generator` takes a picture of this one."""
    unit, least = generator.multiple_of, generator.minimum_size
    return -(-max(height, least) // unit) * unit, -(-max(width, least) // unit) * unit


def mirrored(start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Returns start to stop - 1 reflected at the ends of `length`, without repeating the ends."""
    period = max(1, 2 * (length - 1))
    index = np.arange(start, stop) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros_like(index)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
