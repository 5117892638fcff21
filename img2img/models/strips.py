"""Networks on a few rows at a time: each layer says how far it looks, and what it got wrong is cut off.

Nothing here knows how a layer pads. A layer runs as it is on some rows more than are wanted; its padding is
right at the borders of the picture, and inside the picture it spoils only rows that nobody asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from img2img.models.dropout import Dropout
from img2img.models.norm import BatchNorm, InstanceNorm, merged_statistics

Kept = Literal["trunk", "two maps", "one map", "nothing"]
"""What a way through a network keeps whole, all of it at the low resolution of its blocks: everything there,
two maps of features, one, or none."""

POINTWISE = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Tanh, Dropout, BatchNorm, InstanceNorm)


@dataclass(frozen=True)
class StripCost:
    """The most bytes that a way through a network takes, the input included, the finished output not.

    Attributes:
        kept: Which way.
        fixed: Bytes whatever the strip.
        each_row: Bytes for each input row of a strip and around it.
        beyond: Input rows around a strip.
    """

    kept: Kept
    fixed: float
    each_row: float
    beyond: int


@dataclass(frozen=True)
class StripStep:
    """A layer, or several, that see only few rows beyond their own.

    Attributes:
        run: Maps (1, C, H, W) to (1, C', H*up/down, W').
        halo: Rows of its input beyond the wanted ones that a result depends on; a multiple of `down`.
        up, down: The change of resolution; one of them is 1.
        norm: The layer itself, if it normalises each image by its own statistics.
        inside: What a residual branch consists of, so that the statistics within it can be taken.
    """

    run: Callable[[Tensor], Tensor]
    halo: int = 0
    up: int = 1
    down: int = 1
    norm: InstanceNorm | BatchNorm | None = None
    inside: tuple[StripStep, ...] = ()

    def reads(self, start: int, stop: int, height: int) -> tuple[int, int]:
        """Returns which rows of an input with `height` rows make the output rows from `start` to `stop`."""
        low = start // self.up * self.down - self.halo
        high = -(-stop // self.up) * self.down + self.halo
        return max(0, low), min(height, high)


@runtime_checkable
class _KnowsItsStep(Protocol):
    def as_step(self) -> StripStep: ...


def step(layer: nn.Module) -> StripStep:
    """Returns `layer` with what has to be known of it.

    Raises:
        TypeError: It is no layer of torch that is known here, and has no method `as_step` that says it.
    """
    if isinstance(layer, _KnowsItsStep):
        return layer.as_step()
    if isinstance(layer, nn.ConvTranspose2d):
        return StripStep(layer, halo=layer.kernel_size[0] // 2, up=layer.stride[0])
    if isinstance(layer, nn.Conv2d):
        stride = layer.stride[0]
        return StripStep(layer, halo=-(-(layer.kernel_size[0] // 2) // stride) * stride, down=stride)
    if isinstance(layer, nn.MaxPool2d) and layer.kernel_size == layer.stride == 2 and not layer.padding:
        return StripStep(layer, down=2)
    if isinstance(layer, nn.Upsample) and layer.mode == "nearest":
        return StripStep(layer, up=int(layer.scale_factor))  # type: ignore[arg-type]
    if isinstance(layer, InstanceNorm) or (isinstance(layer, BatchNorm) and layer.stats == "image"):
        return StripStep(layer, norm=layer)
    if isinstance(layer, POINTWISE):
        return StripStep(layer)
    raise TypeError(f"{type(layer).__name__} has no known geometry; give it a method as_step")


def steps(*layers: nn.Module) -> list[StripStep]:
    """Returns the layers in a row, those of every `Sequential` among them one by one."""
    found: list[StripStep] = []
    for layer in layers:
        found += steps(*layer) if isinstance(layer, nn.Sequential) else [step(layer)]
    return found


def together(layer: nn.Sequential) -> StripStep:
    """Returns a row of layers at one resolution as one step, for those that a hook holds together."""
    return StripStep(layer, halo=reach(steps(layer)))


def reach(chain: Sequence[StripStep]) -> int:
    """Returns how many rows of the input beyond its own a strip of the output needs, at most."""
    rows = 0
    for part in reversed(chain):
        rows = -(-rows // part.up) * part.down + part.halo
    return rows


def heights(chain: Sequence[StripStep], height: int) -> list[int]:
    """Returns the rows before the first step, after it, and so on."""
    found = [height]
    for part in chain:
        found.append(found[-1] * part.up // part.down)
    return found


def strips(chain: Sequence[StripStep], source: Tensor, rows: int) -> Iterator[tuple[int, Tensor]]:
    """Runs `chain` over `source` from top to bottom.

    Args:
        chain: Steps, one after the other.
        source: (1, C, H, W), H as the network allows it.
        rows: How many rows of `source` one strip stands for, 1 or more.

    Yields:
        The first row of each strip of the result, and the strip (1, C', h, W').
    """
    tall = heights(chain, source.shape[2])
    total, pace = tall[-1], max(1, rows * tall[-1] // tall[0])
    for start in range(0, total, pace):
        wanted = [(start, min(start + pace, total))]
        for part, height in zip(reversed(chain), reversed(tall[:-1]), strict=True):
            wanted.append(part.reads(*wanted[-1], height))
        wanted.reverse()
        first, stop = wanted[0]
        x = source[:, :, first:stop]
        for part, (start_of_output, stop) in zip(chain, wanted[1:], strict=True):
            x = part.run(x)
            first = first * part.up // part.down
            x = x[:, :, start_of_output - first : stop - first]
            first = start_of_output
        yield start, x


def store(found: Iterator[tuple[int, Tensor]], height: int, whole: Tensor | None = None) -> Tensor:
    """Returns the strips as one map (1, C, height, W): `whole`, or a new one."""
    for start, x in found:
        if whole is None:
            whole = _like(x, height)
        whole[:, :, start : start + x.shape[2]] = x
    if whole is None:
        raise ValueError("there are no strips")
    return whole


def overwrite(whole: Tensor, found: Iterator[tuple[int, Tensor]], margin: int) -> None:
    """Replaces the map `whole` by the strips that are made from it, without a second map.

    Args:
        whole: (1, C, H, W).
        found: Strips of the same map after some steps, which read `whole` only when they are asked for.
        margin: The reach of those steps. A strip waits until no later one reads the rows that it replaces.
    """
    waiting: deque[tuple[int, Tensor]] = deque()
    for start, x in found:
        waiting.append((start, x))
        read_next = start + x.shape[2] - margin
        while waiting and waiting[0][0] + waiting[0][1].shape[2] <= read_next:
            store(iter([waiting.popleft()]), whole.shape[2], whole)
    store(iter(waiting), whole.shape[2], whole)


def _like(x: Tensor, height: int) -> Tensor:
    """Returns an empty map as wide and deep as the strip `x`, in its order of memory."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.empty(
        (1, x.shape[1], height, x.shape[3]),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def measure(chain: Sequence[StripStep], source: Tensor, rows: int) -> None:
    """Gives each norm in `chain` the statistics of its input, one pass over `source` after the other."""
    for norm, before in _norms(chain):
        norm.statistics = merged_statistics(strip for _, strip in strips(before, source, rows))


def advance(features: Tensor, chain: Sequence[StripStep], rows: int) -> None:
    """Replaces the map by `chain(features)`, norms included."""
    if chain:
        measure(chain, features, rows)
        overwrite(features, strips(chain, features, rows), reach(chain))


def _norms(chain: Sequence[StripStep]) -> Iterator[tuple[InstanceNorm | BatchNorm, list[StripStep]]]:
    """Yields the norms in the order of computation, each with the steps in front of it."""
    for i, part in enumerate(chain):
        if part.norm is not None:
            yield part.norm, list(chain[:i])
        for norm, before in _norms(part.inside):
            yield norm, [*chain[:i], *before]
