"""From samples to batches on the device: stacked in a worker, cut and scaled where they are used."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from img2img.data.datasets import Dataset, Part, Sample, Window
from img2img.data.pictures import deepest
from img2img.data.sampler import Positions
from img2img.errors import ConfigError, ImageError, Img2ImgError
from img2img.fields import Ids, Mask, Vector
from img2img.image.tensor import one_hot, scale_levels
from img2img.types import Batch, ValueRange

_logger = logging.getLogger(__name__)
_STOPS = (signal.SIGINT, signal.SIGTERM)
_AHEAD = 4  # batches that each worker prepares before they are asked for


class Stack(NamedTuple):
    """One field of a batch as it leaves a worker.

    Attributes:
        levels: (N, H, W, C), unscaled; uint16 travels as the int16 of the same bits. (N, K) for vectors.
        windows: For each picture what to take of it; None takes all.
        turns: For each how to mirror and turn it, see `Part`.
        deep: Whether the levels are of 16 bits.
    """

    levels: Tensor
    windows: Sequence[Window | None]
    turns: Sequence[int]
    deep: bool


class Stacked(NamedTuple):
    """A batch as it leaves a worker."""

    fields: Mapping[str, Stack]
    keys: Sequence[str]
    problems: Sequence[str]


def batches(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    device: torch.device | str = "cpu",
    ranges: Mapping[str, ValueRange],
    rank: int = 0,
    world: int = 1,
    report: Callable[[str], None] = _logger.warning,
) -> Iterator[Batch]:
    """Yields the batches of a training, endlessly; they do not depend on the number of workers.

    No random number is taken from torch's global generator. Workers ignore SIGINT and SIGTERM, so that a
    training that is asked to stop still gets the batches of its last steps; they end with the iterator.

    Args:
        dataset: Where samples come from.
        batch_size: Samples in one batch of this process.
        seed: Of the order of the samples.
        start: How many samples all processes together have seen already: all that resuming needs.
        workers: Processes that prepare batches; 0 prepares them in this one.
        device: Where the batches are wanted.
        ranges: What black and white become in each picture.
        rank: Of this process among `world`, which share each global batch of `world * batch_size` samples.
        world: Number of processes.
        report: Called once with each sentence about a file that could not be read. The next sample that can
            be read has taken its place.

    Yields:
        Batches of fp32 tensors on `device`, all of one size.

    Raises:
        ProcessingError: A hundred samples in a row cannot be read.
        ConfigError: A transform fails, or the pictures of a batch differ in size because nothing crops them.
    """
    stream = _batches(
        dataset,
        Positions(len(dataset), seed, batch_size, start, rank, world),
        workers,
        torch.device(device),
        ranges,
        report,
    )
    if workers:
        _close_at_exit(stream)
    return stream


def _batches(
    dataset: Dataset,
    positions: Positions,
    workers: int,
    device: torch.device,
    ranges: Mapping[str, ValueRange],
    report: Callable[[str], None],
) -> Generator[Batch, None, None]:
    loader: DataLoader[Any] = DataLoader(
        _Guarded(dataset),  # type: ignore[arg-type]
        batch_sampler=positions,
        num_workers=min(workers, _cores()),
        collate_fn=_collate_guarded,
        pin_memory=device.type == "cuda",
        prefetch_factor=_AHEAD if workers else None,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # it would draw from the global one, and a resumed run would differ
    )
    told: set[str] = set()
    iterator = _started(loader)  # endless, so its workers stay as long as it does
    try:
        while True:
            stacked = next(iterator)
            if isinstance(stacked, Exception):
                raise stacked
            for problem in stacked.problems:
                if problem not in told:
                    told.add(problem)
                    report(f"{problem}. Another sample takes its place.")
            yield _finish(stacked, dataset, device, ranges)
    finally:
        del iterator  # ends the workers now: in a traceback it would live on, and in the next forked worker


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """Returns the iterator; what stops a run cannot reach its workers before they ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return iter(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_order(
    dataset: Dataset,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    ranges: Mapping[str, ValueRange],
    report: Callable[[str], None] = _logger.warning,
) -> Iterator[Batch]:
    """Yields each sample once, in order and with nothing random; what cannot be read is left out.

    Args:
        dataset: Where samples come from.
        batch_size: At most so many samples in one batch; neighbours of different sizes never share one.
        device: Where the batches are wanted.
        ranges: What black and white become in each picture.
        report: Called with a sentence about each file that cannot be read.
    """
    device = torch.device(device)
    group: list[Sample] = []
    shape: object = None
    for index in range(dataset.count):
        try:
            sample = dataset.validation_sample(index)
        except ImageError as error:
            report(f"{error}. It is left out.")
            continue
        sample = replace(sample, fields={name: part.cut() for name, part in sample.fields.items()})
        own = [part.pixels.shape for part in sample.fields.values()]
        if group and (own != shape or len(group) == batch_size):
            yield _finish(collate(group), dataset, device, ranges)
            group = []
        group.append(sample)
        shape = own
    if group:
        yield _finish(collate(group), dataset, device, ranges)


def collate(samples: Sequence[Sample]) -> Stacked:
    """Returns samples as one batch, still unscaled.

    Whole pictures of one size are stacked whole, and cut on the device. If their sizes differ they are cut
    here.

    Raises:
        ConfigError: Their sizes differ even then.
    """
    return Stacked(
        {name: _stack([sample[name] for sample in samples]) for name in samples[0].fields},
        tuple(sample.key for sample in samples),
        tuple(problem for sample in samples for problem in sample.problems),
    )


class _Guarded:
    """A data set that returns its errors: one that is raised in a worker arrives as a traceback in words."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: tuple[int, int]) -> Sample | Img2ImgError:
        try:
            return self.dataset[place]
        except Img2ImgError as error:
            return error


def _collate_guarded(samples: Sequence[Sample | Img2ImgError]) -> Stacked | Img2ImgError:
    good = []
    for sample in samples:
        if isinstance(sample, Img2ImgError):
            return sample
        good.append(sample)
    try:
        return collate(good)
    except Img2ImgError as error:
        return error


def _cores() -> int:
    """Returns how many processes can run at once here; torch warns of more workers than that."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def _ignore_signals(worker: int) -> None:
    """Leaves Ctrl-C, and a signal to the whole group, to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _close_at_exit(stream: Generator[Batch, None, None]) -> None:
    """Ends the workers before Python waits for them: it would ask them to by SIGTERM, which they ignore."""
    reference = weakref.ref(stream)

    def close() -> None:
        living = reference()
        if living is not None:
            living.close()

    atexit.register(close)


def _stack(parts: list[Part]) -> Stack:
    vectors = parts[0].pixels.ndim == 1
    if len({part.pixels.shape for part in parts}) > 1:
        parts = [part.cut() for part in parts]
    arrays = [part.pixels for part in parts] if vectors else deepest([part.pixels for part in parts])
    if len({array.shape for array in arrays}) > 1:
        sizes = sorted({f"{array.shape[1]} x {array.shape[0]}" for array in arrays})
        raise ConfigError(
            f"the pictures of a batch have the sizes {', '.join(sizes)}; set data.crop_size, or a batch_size "
            "of 1."
        )
    stacked = np.stack(arrays)
    deep = stacked.dtype == np.uint16
    levels = torch.from_numpy(stacked.view(np.int16) if deep else stacked)
    return Stack(levels, tuple(part.window for part in parts), tuple(part.turn for part in parts), deep)


def _finish(
    stacked: Stacked, dataset: Dataset, device: torch.device, ranges: Mapping[str, ValueRange]
) -> Batch:
    """Returns the batch on the device: cut, mirrored and scaled as the kind of each field says."""
    done = {}
    for name, stack in stacked.fields.items():
        levels = _placed(stack, device)
        if classes := dataset.classes.get(name):
            done[name] = one_hot(levels, classes, ranges[name])
            continue
        match dataset.fields[name]:
            case Vector():
                done[name] = levels.float()
            case Ids():
                done[name] = levels.to(torch.int32).permute(0, 3, 1, 2).contiguous()
            case Mask():
                done[name] = (levels > 127).float().permute(0, 3, 1, 2).contiguous()
            case _:
                done[name] = scale_levels(levels, ranges[name])
    return Batch(done, tuple(stacked.keys))


def _placed(stack: Stack, device: torch.device) -> Tensor:
    """Returns the levels (N, h, w, C) on the device, cut and turned."""
    levels = stack.levels.to(device, non_blocking=True)
    if any(window is not None for window in stack.windows) or any(stack.turns):
        pictures = []
        for picture, window, turn in zip(levels, stack.windows, stack.turns, strict=True):
            if window is not None:
                top, left, height, width = window
                picture = picture[top : top + height, left : left + width]
            axes = [axis for axis, bit in ((1, 1), (0, 2)) if turn & bit]
            picture = picture.flip(axes) if axes else picture
            pictures.append(picture.transpose(0, 1) if turn & 4 else picture)
        levels = torch.stack(pictures)
    return levels.view(torch.uint16) if stack.deep else levels
