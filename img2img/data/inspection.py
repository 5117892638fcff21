"""What a file shows: facts about its picture that tell whether a network can learn from it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2img.data.pictures import halves
from img2img.data.ranges import Extent, extent_of
from img2img.errors import ImageError, ProcessingError
from img2img.image import Image, read_image, white_of
from img2img.image.alpha import over_white
from img2img.image.channels import with_channels
from img2img.image.conversion import UNTAGGED, meaning, same_colours
from img2img.image.image import Pixels
from img2img.image.palette import MOST_COLOURS, Palette, is_numbered, with_levels
from img2img.image.palette import stranger as strange_colour

GRID = 16  # a thumbnail has GRID x GRID values
FLAT = 2 / 255  # standard deviation, as a part of white, below which a picture shows nothing
_ENOUGH = 1 << 16  # pixels from which colours and contrast are told


@dataclass(frozen=True, eq=False)
class ImageStats:
    """One picture: a file, or one half of a side-by-side file. What is transparent counts as white.

    Attributes:
        height, width, channels: Its size; alpha is not counted.
        depth: "uint8", "uint16" or "float32".
        alpha: Whether it is transparent somewhere.
        stranger: A clause about a colour that seems to stand for a class which that palette lacks, or "".
        space: What its colours are told by, where they are not those of sRGB.
        contrast: The largest standard deviation of its channels, as a part of white.
        digest: Of its pixels: equal for equal pictures, whatever the file.
        thumbnail: (256,) float32, the means over a grid, centred and of length 1; None when it is flat.
        colours: Numbers for the different colours of its pixels (of 65,536 of them if there are more), 257 at
            most; none if nobody asked.
        extent: The numbers in it.
        grey: Whether its channels are equal.
        between: The share of its values that are neither black nor white, nor within a twentieth of them.
        whole: Whether all of its values are whole numbers.
        foreign: The share of the pixels whose colour is not in the palette that was asked about.
    """

    height: int
    width: int
    channels: int
    depth: str
    alpha: bool
    contrast: float
    digest: bytes
    thumbnail: NDArray[np.float32] | None
    colours: NDArray[np.uint64]
    extent: Extent
    grey: bool = True
    between: float = 0.0
    whole: bool = True
    foreign: float = 0.0
    stranger: str = ""
    space: str | None = None


@dataclass(frozen=True)
class Inspection:
    """One file.

    Attributes:
        path: Which.
        images: Its picture, or the left and the right half; empty if there is a problem.
        problem: Why it cannot be used.
        odd: Whether that is an odd width, so that it has no halves.
    """

    path: Path
    images: tuple[ImageStats, ...] = ()
    problem: str | None = None
    odd: bool = False


def inspect_file(
    path: Path, both_halves: bool = False, labels: bool = False, palette: Palette | None = None
) -> Inspection:
    """Reads a file and returns the facts; a file that cannot be read is one of them.

    Args:
        path: The file.
        both_halves: Whether it holds two pictures side by side.
        labels: Whether to count colours.
        palette: Colours that a label map should have.
    """
    try:
        image = read_image(path)
    except ImageError as error:
        return Inspection(path, problem=error.reason)
    if not both_halves:
        return Inspection(path, (_stats(image, labels, palette),))
    if image.width % 2:
        return Inspection(
            path, (_stats(image, labels, palette),), f"its width is {image.width}, which is odd", odd=True
        )
    return Inspection(path, tuple(_stats(half, labels, palette) for half in halves(image, path)))


def inspect_files(
    paths: Sequence[Path],
    aligned: Collection[Path],
    labels: bool,
    palette: Palette | None,
    jobs: int,
    exact: Collection[Path] = (),
) -> Iterator[Inspection]:
    """Yields `inspect_file` of each file, in order, with `jobs` threads.

    Those in `exact` hold no colours, and those in `aligned` two pictures.
    """

    def inspect(path: Path) -> Inspection:
        if path in exact:
            return inspect_file(path, labels=True)
        return inspect_file(path, path in aligned, labels, palette)

    with ThreadPoolExecutor(jobs) as threads:
        yield from threads.map(inspect, paths)


def near_duplicates(
    one: Sequence[ImageStats], other: Sequence[ImageStats], least: float
) -> list[tuple[int, int, float]]:
    """Returns which images of two sets look alike, by the correlation of their thumbnails.

    Brightness and contrast do not count, nor does colour; flat pictures are like nothing.

    Returns:
        (place in `one`, place in `other`, correlation) of the pairs with at least the correlation `least`.
    """
    found = []
    first = [i for i, stats in enumerate(one) if stats.thumbnail is not None]
    second = [i for i, stats in enumerate(other) if stats.thumbnail is not None]
    if not first or not second:
        return []
    wall = np.stack([other[i].thumbnail for i in second])  # type: ignore[misc]
    for start in range(0, len(first), 1024):
        part = first[start : start + 1024]
        likeness = np.stack([one[i].thumbnail for i in part]) @ wall.T  # type: ignore[misc]
        for row, column in zip(*np.nonzero(likeness >= least), strict=True):
            found.append((part[row], second[column], float(likeness[row, column])))
    return found


def _stats(image: Image, labels: bool, palette: Palette | None) -> ImageStats:
    pixels = over_white(image).pixels
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / _ENOUGH)))
    some = pixels[::step, ::step]
    values = some.reshape(-1, some.shape[2]).astype(np.float32) / image.white
    with np.errstate(all="ignore"):  # values may be infinite, or nearly
        contrast = float(np.max(np.std(values, axis=0)))
    extent = extent_of(pixels)
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(repr((pixels.shape, pixels.dtype.str)).encode())
    if image.alpha is not None and contrast < FLAT:  # white on nothing: alpha is all that tells them apart
        digest.update(np.ascontiguousarray(image.alpha).data)
    foreign, stranger = _foreign(image, palette, step)
    return ImageStats(
        height=image.height,
        width=image.width,
        channels=image.channels,
        depth=str(pixels.dtype),
        alpha=image.alpha is not None and bool(image.alpha.min() < image.white),
        contrast=contrast,
        digest=digest.digest(),
        thumbnail=None if contrast < FLAT or extent.broken else _thumbnail(pixels),
        colours=np.unique(_codes(some) if labels else np.empty(0, np.uint64))[: MOST_COLOURS + 1],
        extent=extent,
        grey=bool((pixels == pixels[..., :1]).all()),
        between=float(((values > 0.05) & (values < 0.95)).mean()),
        whole=pixels.dtype != np.float32 or bool((np.rint(pixels) == pixels).all()),
        foreign=foreign,
        stranger=stranger,
        space=_space(image),
    )


def _space(image: Image) -> str | None:
    if image.channels not in (1, 3) or same_colours(meaning(image), UNTAGGED):
        return None
    return str(image.space or "a colour profile")


def _codes(pixels: Pixels) -> NDArray[np.uint64]:
    """Returns one number for the colour of each pixel (of its first four channels)."""
    levels = pixels if pixels.dtype != np.float32 else np.clip(pixels * 65535, 0, 65535).astype(np.uint16)
    codes = np.zeros(levels.shape[:2], np.uint64)
    for channel in range(min(levels.shape[2], 4)):
        codes = codes * np.uint64(65536) + levels[..., channel]
    return codes.reshape(-1)


def _foreign(image: Image, palette: Palette | None, step: int) -> tuple[float, str]:
    """Returns the share of colours that `palette` lacks, and of some pixels a clause on what is strange."""
    if palette is None:
        return 0.0, ""
    try:
        pixels = with_channels(with_levels(image), len(palette[0]), unmixed=True)
    except ProcessingError:  # that is a finding of its own
        return 0.0, ""
    known = _codes(np.array([palette], np.uint16))
    share = float(1 - np.isin(_codes(pixels), known).mean())
    if not share or is_numbered(palette):  # of numbers all others are wrong
        return share, ""
    return share, strange_colour(pixels[:: 2 * step, :: 2 * step], palette)


def _thumbnail(pixels: Pixels) -> NDArray[np.float32] | None:
    rows, columns = ((np.arange(GRID) * side) // GRID for side in pixels.shape[:2])
    counts = [
        np.diff(np.append(e, s)).clip(1) for e, s in zip((rows, columns), pixels.shape[:2], strict=True)
    ]
    sums = np.add.reduceat(pixels[..., :3], rows, axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, columns, axis=1)
    means = sums.mean(axis=2) / (counts[0][:, None] * counts[1][None] * white_of(pixels.dtype))
    means = np.nan_to_num(means - means.mean())
    length = float(np.linalg.norm(means))
    return (means.reshape(-1) / length).astype(np.float32) if length > 1e-3 else None
