"""What a metric is, the list of them, and the checks that they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from img2img import __version__
from img2img.errors import ConfigError
from img2img.keys import closest
from img2img.metrics.files import WeightFile, package_version
from img2img.registry import Registry
from img2img.types import ValueRange

_SLACK = 1e-3  # of the range: what rounding and half precision add to black and white


class Measure(Protocol):
    """Compares two batches (N, C, H, W) image by image."""

    def __call__(self, a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
        """Returns (N,) float64."""


@dataclass(frozen=True)
class Metric:
    """One entry of the list.

    Attributes:
        measure: The function. One without reference looks at its first batch alone.
        higher_is_better: Which way is up.
        decimals: How many are worth printing.
        title: What people call it.
        perfect: Its value for equal pictures; None where there is no such thing.
        smallest: Pixels of the shortest side that it needs.
        channels: The numbers of channels that it takes; empty for any.
        needs: Whether it compares a picture with another one, or looks at it alone.
        package: The package that computes it; empty where img2img does.
        files: The weights that it needs.
        resize: What it does to the size of pictures before it looks at them.
    """

    measure: Measure
    higher_is_better: bool
    decimals: int
    title: str
    perfect: float | None = None
    smallest: int = 1
    channels: tuple[int, ...] = ()
    needs: Literal["pair", "picture"] = "pair"
    package: str = ""
    files: tuple[WeightFile, ...] = ()
    resize: str = "none"

    def prepare(self, allow_download: bool = False) -> None:
        """Makes sure that what it needs is there.

        Args:
            allow_download: Whether weights may be downloaded.

        Raises:
            ConfigError: A package or a file of weights is not there; the sentence says how to get it.
            DownloadError: The download failed.
        """
        if self.package:
            package_version(self.package, self.title)
        for file in self.files:
            file.find(allow_download)

    def origin(self) -> dict[str, Any]:
        """Returns what is stored with a number: who computed it, with which weights, at which size."""
        backend = f"img2img {__version__}"
        if self.package:
            backend = f"{self.package} {package_version(self.package, self.title)}"
        weights = {file.name: file.checksum() for file in self.files}
        return {"title": self.title, "backend": backend, "resize": self.resize, "weights": weights}


metrics: Registry[Metric] = Registry("metric")


def metric_of(column: str) -> Metric:
    """Returns the metric of a column of a table: of "psnr_y" PSNR, of "ms_ssim" MS-SSIM.

    Raises:
        ConfigError: There is none; the message offers the nearest names.
    """
    words = column.split("_")
    for length in range(len(words), 0, -1):
        if (name := "_".join(words[:length])) in metrics:
            return metrics[name]
    near = closest(column, metrics)
    raise ConfigError(
        f"there is no metric {column[:80]!r}; "
        + (f"did you mean {near!r}?" if near else f"known are: {', '.join(metrics)}.")
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread of the CPU; also a decorator, `@one_thread()`.

    Metrics are many short steps. On a machine that has other work, too, threads that wait for each other at
    the end of each step make them tens of times slower, and at best little is gained.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def unit(a: Tensor, b: Tensor, value_range: ValueRange, border: int) -> tuple[Tensor, Tensor]:
    """Returns the part of both batches that counts, in float64, black as 0 and white as 1.

    Raises:
        ValueError: The shapes differ, the border leaves nothing, or values are not in the range.
    """
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.shape != b.shape:
        raise ValueError(
            f"a comparison needs two batches (N, C, H, W) of one shape, not {shape_of(a)} and {shape_of(b)}"
        )
    return unit_of(a, value_range, border), unit_of(b, value_range, border)


def unit_of(images: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the part of a batch that counts, in float64, black as 0 and white as 1.

    Raises:
        ValueError: It is no batch, the border leaves nothing, or values are not in the range.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape or images.is_complex():
        raise ValueError(f"pictures are a batch (N, C, H, W) of real numbers, not {shape_of(images)}")
    height, width = images.shape[-2:]
    if not hasattr(border, "__index__") or border < 0:  # NumPy has whole numbers of its own
        raise ValueError(f"a border is a whole number of pixels from 0 on, not {border!r}")
    if min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} pixels leaves nothing of {width}x{height} pixels")
    low, high = ends(value_range)
    inner = images[..., border : height - border, border : width - border].double()
    found = [float(value) for value in inner.detach().aminmax()]
    slack = _SLACK * (high - low)
    if not (found[0] >= low - slack and found[1] <= high + slack):
        if not torch.isfinite(inner).all():
            raise ValueError("the pictures hold values that are not finite numbers (NaN or infinite)")
        raise ValueError(
            f"the pictures hold values from {found[0]:.4g} to {found[1]:.4g}, outside the range from {low:g} "
            f"to {high:g}; give the range that they are in, or clamp them to it"
        )
    return (inner - low) / (high - low)


def ends(value_range: ValueRange) -> tuple[float, float]:
    """Returns the numbers for black and white.

    Raises:
        ValueError: They are no range.
    """
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        raise ValueError(f"a range is two numbers, black and white, not {value_range!r}") from None
    if not -1e30 < low < high < 1e30:
        raise ValueError(f"a range goes from black to the greater number white, not from {low:g} to {high:g}")
    return low, high


def require_size(title: str, images: Tensor, smallest: int, why: str = "") -> None:
    """Raises ValueError where a picture of a batch (N, C, H, W) is too small for a metric."""
    height, width = images.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(f"{title} needs at least {smallest}x{smallest} pixels, not {width}x{height}{why}")


def require_channels(title: str, images: Tensor) -> None:
    """Raises ValueError where a batch (N, C, H, W) is neither grey nor RGB."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{title} sees grey or RGB pictures, not {images.shape[1]} channels")


def rgb(title: str, images: Tensor) -> Tensor:
    """Returns a batch with three channels; grey becomes three equal ones.

    Raises:
        ValueError: There are neither one nor three channels.
    """
    require_channels(title, images)
    return images.expand(-1, 3, -1, -1)


def shape_of(images: object) -> str:
    """Returns the shape of a tensor for a message, and of anything else what it is."""
    return str(tuple(images.shape)) if isinstance(images, Tensor) else type(images).__name__
