"""Pictures too large for a network at once, exactly: what is kept as a whole, and what is made in strips.

RRDBNet has no layer that looks at the whole picture, but 349 pixels of reach: its trunk is kept whole, at low
resolution, and only its tail, where the memory goes, runs in strips. Networks that normalise by the
statistics of the picture take these in one pass over all strips for each such layer, and keep no map of
features above the low resolution of their blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.errors import ProcessingError
from img2img.inference.strips import (
    Step,
    heights,
    overwrite,
    reach,
    statistics,
    step,
    steps,
    store,
    strips,
    together,
)
from img2img.models import Generator, Resnet, RRDBNet
from img2img.models.dropout import Dropout
from img2img.models.norm import BatchNorm, InstanceNorm

Kept = Literal["trunk", "two maps", "one map", "nothing"]

MOST_INDEXED = 2**31 - 1
"""Values that kernels with 32-bit indices reach in one tensor."""


@dataclass(frozen=True)
class Scheme:
    """One way through a network. All are exact; each needs less memory than the one before, and more time.

    Attributes:
        kept: What is whole in memory, all of it at the low resolution of the blocks: everything there
            ("trunk", RRDBNet only), two maps of features, one, or none.
        rows: Rows of the input that one strip stands for.
        peak: Estimated bytes at most, the input included, the finished output not.
    """

    kept: Kept
    rows: int
    peak: int


def choose_scheme(
    generator: Generator, height: int, width: int, budget: int, element_size: int = 4
) -> Scheme | None:
    """Returns the fastest scheme that fits into `budget` bytes; None if none does or none is known.

    Args:
        generator: Any.
        height, width: Of the input, multiples of `multiple_of`.
        budget: Bytes.
        element_size: Bytes of one activation: 4 in fp32, 2 in bf16 and fp16.
    """
    unit = generator.multiple_of
    costs = _costs(generator, height, width, element_size)
    for thrifty in (False, True):  # strips thinner than what they read around them only if nothing else fits
        for cost in costs:
            most = int((budget - cost.fixed) / cost.each_row) - cost.beyond
            rows = min(most, max(64, 4 * cost.beyond), height) // unit * unit
            if rows >= (unit if thrifty else min(height, max(unit, cost.beyond))):
                return cost.scheme(rows)
    return None


def schemes(generator: Generator, height: int, width: int, rows: int, element_size: int = 4) -> list[Scheme]:
    """Returns every scheme for `generator`, fastest first, with strips of `rows` rows; few have any."""
    return [cost.scheme(min(rows, height)) for cost in _costs(generator, height, width, element_size)]


@dataclass(frozen=True)
class _Cost:
    """The peak of a scheme in bytes: something fixed, and something for each row of a strip and around it."""

    kept: Kept
    fixed: float
    each_row: float
    beyond: int

    def scheme(self, rows: int) -> Scheme:
        return Scheme(self.kept, rows, int(self.fixed + self.each_row * (rows + self.beyond)))


def _costs(generator: Generator, height: int, width: int, size: int) -> list[_Cost]:
    """Returns what each scheme takes, fastest first.

    A strip counts in fp32 whatever the maps are in: the last convolution and the norms compute in it. The
    factors were fitted to the allocations of a run; a test compares.
    """
    image = 4 * generator.in_channels * height * width
    if isinstance(generator, RRDBNet):
        low_width, low_pixels = width // generator.unshuffle, height * width // generator.unshuffle**2
        features, growth = (int(generator.spec.arguments[name]) for name in ("features", "growth"))
        dense = features + 4 * growth  # what the last convolution of a dense block sees
        trunk, beyond = 3 * features + 2 * dense, 2 * 15 * generator.unshuffle
        each_row = 4 * 1.3 * trunk * low_width / generator.unshuffle
        enlarged = 4**generator.upsamplings
        around = 4 * 4 * (2 * enlarged + enlarged // 4) * features * low_width  # four rows in the tail
        costs = [_Cost("one map", image + size * features * low_pixels + around, each_row, beyond)]
        if dense * low_pixels <= MOST_INDEXED:
            whole = image + size * trunk * low_pixels
            costs.insert(0, _Cost("trunk", whole, each_row, 4 * generator.unshuffle))
        return costs
    if isinstance(generator, Resnet):
        head, blocks, tail = _parts(generator)
        low_map = size * _low_channels(generator) * height * width // generator.multiple_of**2
        beyond = 2 * max(reach(head), reach(tail) * generator.multiple_of)
        each_row = 4 * 1.4 * generator.live_features * width
        return [
            _Cost("two maps", image + 2 * low_map, each_row, beyond),
            _Cost("one map", image + low_map, each_row, beyond),
            _Cost("nothing", image, each_row, 2 * reach([*head, *blocks, *tail])),
        ]
    return []


def no_tiles(generator: Generator) -> str | None:
    """Returns the sentence why `generator` can only take a picture whole, or None if it can be divided."""
    if generator.tiling != "none":
        return None
    return (
        f"{generator.spec.name} halves the picture until one value sees all of it, so no part of it can "
        "be translated by itself without seams. Take --size with the side the model was trained at (the "
        "result is brought back to the picture's size), or more memory for --size native."
    )


@torch.no_grad()
def in_strips(generator: Generator, x: Tensor, scheme: Scheme) -> Iterator[tuple[int, Tensor]]:
    """Runs `generator` on one large picture and hands out finished rows from top to bottom.

    While it runs, the normalisation layers hold the statistics of this picture: one picture at a time.

    Args:
        generator: A `Resnet` (`CutResnet`) or `RRDBNet` in evaluation mode.
        x: (1, in_channels, H, W) in `input_range`, H and W multiples of `multiple_of`.
        scheme: From `choose_scheme` or `schemes`.

    Yields:
        The first row of a strip in the output, and the strip (1, out_channels, h, W*scale), not clamped.

    Raises:
        ProcessingError: Dropout is on, whose mask belongs to a whole picture.
        TypeError: There is no scheme for this kind of network.
    """
    if generator.training:
        raise ValueError("strips are for evaluation: call generator.eval() first")
    if any(isinstance(layer, Dropout) and layer.seed is not None for layer in generator.modules()):
        raise ProcessingError(
            "dropout is on, and its mask belongs to the picture as a whole: a picture too large for memory "
            "cannot have it. Turn dropout off, or take a smaller --size."
        )
    if isinstance(generator, RRDBNet):
        yield from _rrdbnet(generator, x, scheme)
    elif isinstance(generator, Resnet):
        try:
            yield from _resnet(generator, x, scheme)
        finally:
            for layer in generator.modules():
                if isinstance(layer, InstanceNorm | BatchNorm):
                    layer.statistics = None
    else:
        raise TypeError(f"there is no scheme for {type(generator).__name__}")


def _rrdbnet(generator: RRDBNet, x: Tensor, scheme: Scheme) -> Iterator[tuple[int, Tensor]]:
    folding, factor = generator.unshuffle, 2**generator.upsamplings
    low = max(1, scheme.rows // folding)
    if scheme.kept == "trunk":
        features = generator.trunk(x)
    else:
        unfold = Step(lambda image: F.pixel_unshuffle(image, folding), down=folding)
        first = [unfold, step(generator.conv_first)]
        features = store(strips(first, x, low * folding), x.shape[2] // folding)
        for block in generator.body:
            dense = Step(block, halo=15)  # three times five convolutions
            overwrite(features, strips([dense], features, low), dense.halo)
        residual = strips([step(generator.conv_body)], features, low)
        skipped = strips(first, x, low * folding)
        sums = ((row, skip + part) for (row, part), (_, skip) in zip(residual, skipped, strict=True))
        overwrite(features, sums, 1)
    tail = Step(generator.tail, halo=2, up=factor)
    thin = max(1, min(low, 4 * low // factor**2))  # about as large as a strip of the trunk
    yield from strips([tail], features, thin)


def _resnet(generator: Resnet, x: Tensor, scheme: Scheme) -> Iterator[tuple[int, Tensor]]:
    head, blocks, tail = _parts(generator)
    if scheme.kept == "nothing":
        chain = [*head, *blocks, *tail]
        measure(chain, x, scheme.rows)
        yield from strips(chain, x, scheme.rows)
        return
    low = max(1, scheme.rows // generator.multiple_of)
    features = _low_map(head, x, scheme.rows, low)
    spare: Tensor | None = None
    for block in blocks:
        if scheme.kept == "one map":
            _advance(features, [block], 2 * low)  # of a block, a row takes half as much as of head and tail
        else:
            spare = _block(features, block, 2 * low, spare)
    del spare
    measure(tail, features, low)
    yield from strips(tail, features, low)


def _parts(generator: Resnet) -> tuple[list[Step], list[Step], list[Step]]:
    """Returns what stands before, at and behind the low resolution."""
    blocks = [step(block) for block in generator.blocks]
    return steps(generator.head), blocks, [*steps(generator.tail), together(generator.last)]


def _low_channels(generator: Resnet) -> int:
    """Returns the channels at low resolution."""
    return max(layer.out_channels for layer in generator.head.modules() if isinstance(layer, nn.Conv2d))


def _low_map(chain: list[Step], x: Tensor, rows: int, low: int) -> Tensor:
    """Returns `chain(x)`; a norm that already stands at low resolution takes its statistics from the map."""
    last_change = max(i for i, part in enumerate(chain) if part.down > 1)
    cut = next((i for i, part in enumerate(chain) if part.norm and i > last_change), len(chain))
    measure(chain[:cut], x, rows)
    features = store(strips(chain[:cut], x, rows), heights(chain, x.shape[2])[-1])
    _advance(features, chain[cut:], low)
    return features


def _block(features: Tensor, block: Step, rows: int, spare: Tensor | None) -> Tensor:
    """Adds a residual block's branch to the map `features` through a second map, which it returns."""
    first, *middle, norm = block.inside
    branch = store(strips([first], features, rows), features.shape[2], spare)
    _advance(branch, middle, rows)
    measure([norm], branch, rows)
    for start, x in strips([norm], branch, rows):
        features[:, :, start : start + x.shape[2]] += x
    return branch


def _advance(features: Tensor, chain: Sequence[Step], rows: int) -> None:
    """Replaces the map by `chain(features)`."""
    if chain:
        measure(chain, features, rows)
        overwrite(features, strips(chain, features, rows), reach(chain))


def measure(chain: Sequence[Step], source: Tensor, rows: int) -> None:
    """Gives each norm in `chain` the statistics of its input, one pass over `source` after the other."""
    for norm, before in _norms(chain):
        norm.statistics = statistics(strips(before, source, rows))


def _norms(chain: Sequence[Step]) -> Iterator[tuple[InstanceNorm | BatchNorm, list[Step]]]:
    """Yields the norms in the order of computation, each with the steps in front of it."""
    for i, part in enumerate(chain):
        if part.norm is not None:
            yield part.norm, list(chain[:i])
        for norm, before in _norms(part.inside):
            yield norm, [*chain[:i], *before]
