"""Label maps: colours that stand for classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError, ProcessingError
from img2img.image.channels import as_grey, with_channels
from img2img.image.image import Image, Pixels
from img2img.registry import unknown

Palette = tuple[tuple[int, ...], ...]
MOST = 65536  # classes: an index has at most 16 bits
MOST_COLOURS = 256  # that are collected from files in colour: those with more are blurred
_SEEN = 0.01  # of the pixels: a class, and no blur
_AT_ONCE = 2**20  # distances of colours in one array


def indices(count: int) -> Palette:
    """Returns the palette of label maps whose one channel holds the numbers of `count` classes, from 0 on."""
    return tuple((number,) for number in range(count))


def is_numbered(palette: Palette) -> bool:
    """Returns whether `palette` has the numbers from 0 on, with or without one more that is ignored."""
    last = len(palette) - 1
    return palette == indices(last + 1) or (last > 1 and palette[:last] == indices(last))


def with_levels(image: Image) -> Image:
    """Returns a label map with integers where it holds whole numbers as floats; any other as it is.

    Raises:
        ProcessingError: It holds fractions, or numbers that are none of a class.
    """
    pixels, alpha = image.pixels, image.alpha
    if pixels.dtype != np.float32:
        return image
    if not ((np.rint(pixels) == pixels) & (pixels >= 0) & (pixels < MOST)).all():
        raise ProcessingError(
            f"label maps hold whole numbers from 0 to {MOST - 1}, and this picture holds others (fractions, "
            "negative ones or NaN)"
        )
    levels = None if alpha is None else np.rint(alpha * (MOST - 1)).astype(np.uint16)
    return image.replace(pixels=pixels.astype(np.uint16), alpha=levels)


def require_classes(image: Image, pixels: Pixels, palette: Palette) -> None:
    """Makes sure that label maps of numbers hold those of `palette` alone; a near number is another class.

    Of a palette that is not numbered other colours may be blurred ones, and pass.

    Args:
        image: The label map as it is stored.
        pixels: (H, W, C) of integers, what is taken of it.
        palette: Colours of C values.

    Raises:
        ProcessingError: There is a number beyond the last, or there are colours in place of numbers.
    """
    if len(palette[0]) == 1 and as_grey(image).channels == 3:
        raise ProcessingError(
            "the label map has colours, and numbers in one channel are needed; convert each colour to the "
            "number of its class"
        )
    last = len(palette) - 1
    if is_numbered(palette) and (beyond := ~np.isin(pixels, palette)).any():
        known = last + (palette[last] == (last,))  # the last may be the one that is ignored
        raise ProcessingError(
            f"the label map holds the class {pixels[beyond].max()}, and there are {known}, 0 to {known - 1} "
            f"({float(beyond.mean()):.1%} of the pixels lie beyond); set them to one of these, or give "
            "data.palette all numbers that there are before training"
        )


@dataclass(frozen=True)
class LabelSet:
    """The classes that label maps tell apart.

    Attributes:
        palette: Their colours, 1 or 3 levels each. The number of a class is its place.
        names: What they are called, in the same order; empty where nobody said.
        ignore: The colour of what is of no class, or of one that nobody knows.
    """

    palette: Palette
    names: tuple[str, ...] = ()
    ignore: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.palette)

    def name(self, number: int) -> str:
        """Returns what a class is called: its name, or its colour."""
        return self.names[number] if self.names else " ".join(map(str, self.palette[number]))

    def number(self, name: str) -> int:
        """Returns the number of the class that `name` tells: its name, its colour, or the number itself.

        Raises:
            ConfigError: There is none.
        """
        known = {self.name(place): place for place in range(len(self))}
        colours = {" ".join(map(str, colour)): place for place, colour in enumerate(self.palette)}
        word = " ".join(name.replace(",", " ").split())
        found = known.get(name.strip(), colours.get(word))
        if found is None and word.isdigit() and self.names and int(word) < len(self):
            found = int(word)
        if found is None:
            raise ConfigError(unknown("class", name, known))
        return found

    def painted(self, numbers: NDArray[np.integer]) -> Image:
        """Returns a map of the numbers of classes (H, W) as a picture in their colours.

        It is stored without loss, in a PNG file as the numbers with their palette.
        """
        deep = max(level for colour in self.palette for level in colour) > np.iinfo(np.uint8).max
        colours = np.asarray(self.palette, np.uint16 if deep else np.uint8)
        return Image(colours[numbers], lossless=True, palette=self.palette)

    def numbers(self, image: Image) -> tuple[NDArray[np.int32], str]:
        """Returns the number of the class of each pixel (H, W), and what `stranger` says.

        What is ignored is -1. Foreign colours count as the nearest one. Where classes have colours and the
        picture has levels of grey that are none of these, its levels are the numbers of the classes, and 255
        is what is ignored, if anything is; beside more classes than that it is 65535.

        Raises:
            ProcessingError: The picture is no label map.
        """
        width = len(self.palette[0])
        image = with_levels(image)
        colours = self.palette if self.ignore is None else (*self.palette, self.ignore)
        pixels = with_channels(image, width, unmixed=True)
        require_classes(image, pixels, colours)
        if width == 3 and image.channels == 1:
            levels = image.pixels[..., 0].astype(np.int32)
            none = np.iinfo(np.uint8 if len(self) < MOST_COLOURS else np.uint16).max
            void = (levels == none) & (self.ignore is not None)
            if (void | (levels < len(self))).all() and foreign(pixels, colours):
                return np.where(void, -1, levels), ""
        found = classes(pixels, colours)[..., 0].astype(np.int32)
        found[found == len(self)] = -1
        return found, stranger(pixels, colours)


def collect(
    maps: Iterable[Pixels], key: str = "data.palette, or say that there are none (data.source_labels)"
) -> Palette:
    """Returns the colours of some label maps, sorted. Numbers in one channel may be as many as there are.

    Args:
        maps: Arrays (H, W, C) of integers, C the same in all.
        key: Where true colours are given, for the message.

    Raises:
        ConfigError: There are more than 256 colours, as in maps that were stored as JPEG.
    """
    colours: set[tuple[int, ...]] = set()
    for pixels in maps:
        flat = pixels.reshape(-1, pixels.shape[2])
        colours.update(tuple(int(v) for v in colour) for colour in np.unique(flat, axis=0))
        if len(colours) > MOST_COLOURS and pixels.shape[2] > 1:
            raise ConfigError(
                f"the label maps have more than {MOST_COLOURS} colours, so these cannot stand for classes "
                f"(JPEG blurs colours into one another); give the true ones as {key}."
            )
    return tuple(sorted(colours))


def foreign(pixels: Pixels, palette: Palette) -> float:
    """Returns the share of the pixels (H, W, C) whose colour is not in `palette`, 0 to 1."""
    known = np.asarray(palette, np.int32)[classes(pixels, palette)[..., 0]]
    return float((known != pixels).any(2).mean())


def stranger(pixels: Pixels, palette: Palette) -> str:
    """Returns a clause about a colour that stands for a class which `palette` lacks; "" for none.

    JPEG blurs colours into many others, few of each: what is nearer to a colour of the palette than another
    one of these could be does not count, and nor does what less than a hundredth of the pixels have.

    Args:
        pixels: (H, W, C) of integers.
        palette: As of `classes`.
    """
    known = np.asarray(palette, np.float64)
    off = ((known[classes(pixels, palette)[..., 0]] - pixels) ** 2).sum(2)
    if not off.any():
        return ""
    reach = 0.0
    if len(palette) > 1:
        apart = (_distances(part, known) for part in _parts(known, len(known)))
        reach = min(some[some > 0].min(initial=np.inf) for some in apart) / 4
    far = pixels[off > reach]
    if not len(far):
        return ""
    colours, counts = np.unique(far, axis=0, return_counts=True)
    share = counts.max() / off.size
    if share <= _SEEN:
        return ""
    colour = " ".join(map(str, colours[counts.argmax()]))
    return f"{share:.1%} of the pixels have the colour {colour}, which is none of the palette"


def classes(pixels: Pixels, palette: Palette) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Returns which colour of `palette` each pixel has, or is nearest to.

    Args:
        pixels: (H, W, C) of integers.
        palette: Up to 65,536 colours of C values.

    Returns:
        (H, W, 1), the place in the palette, in 8 bits where they hold all places.

    Raises:
        ValueError: The colours have another number of values than the pixels.
    """
    channels = pixels.shape[2]
    if len(palette[0]) != channels:
        raise ValueError(f"a palette of {len(palette[0])} values cannot tell {channels} channels apart")
    flat = pixels.reshape(-1, channels)
    known = np.asarray(palette, np.float64)
    if channels <= 3:  # one number each is much faster to sort
        base = 65536 ** np.arange(channels)
        codes, first, back = np.unique(flat.astype(np.int64) @ base, return_index=True, return_inverse=True)
        colours, own = flat[first].astype(np.float64), np.asarray(palette, np.int64) @ base
        order = own.argsort(kind="stable")  # of equal colours the first one counts
        closest = order[np.searchsorted(own, codes, sorter=order).clip(max=len(own) - 1)]
        others = np.flatnonzero(own[closest] != codes)
    else:
        unique, back = np.unique(flat, axis=0, return_inverse=True)
        colours, others = unique.astype(np.float64), np.arange(len(unique))
        closest = np.zeros(len(colours), np.int64)
    closest[others] = np.concatenate(
        [_distances(part, known).argmin(1) for part in _parts(colours[others], len(known))] or [others]
    )
    places = closest.astype(np.uint8 if len(palette) <= MOST_COLOURS else np.uint16)
    result: NDArray[np.uint8] | NDArray[np.uint16] = places[back.reshape(-1)].reshape(*pixels.shape[:2], 1)
    return result


def _parts(colours: NDArray[np.float64], count: int) -> Iterator[NDArray[np.float64]]:
    """Yields as many of `colours` at once as may be compared with `count` others."""
    step = max(1, _AT_ONCE // count)
    for start in range(0, len(colours), step):
        yield colours[start : start + step]


def _distances(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the squared distances (M, N) of colours (M, C) and (N, C)."""
    distances: NDArray[np.float64] = ((some[:, None] - others) ** 2).sum(2)
    return distances
