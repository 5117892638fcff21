"""Label maps: colours that stand for classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError, ProcessingError
from img2img.image.channels import as_grey, with_channels
from img2img.image.image import Image, Pixels
from img2img.registry import unknown

Palette = tuple[tuple[int, ...], ...]
MOST = 256  # classes: an index is one byte
_SEEN = 0.01  # of the pixels: a class, and no blur
_VOID = 255  # in maps of numbers, what is of no class
_AT_ONCE = 4096  # colours that are compared with the palette in one array


def indices(count: int) -> Palette:
    """Returns the palette of label maps whose one channel holds the numbers of `count` classes, from 0 on."""
    return tuple((number,) for number in range(count))


def is_numbered(palette: Palette) -> bool:
    """Returns whether `palette` has the numbers from 0 on, with or without one more that is ignored."""
    last = len(palette) - 1
    return palette == indices(last + 1) or (last > 1 and palette[:last] == indices(last))


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

    def numbers(self, image: Image) -> tuple[NDArray[np.int16], str]:
        """Returns the number of the class of each pixel (H, W), and what `stranger` says.

        What is ignored is -1. Foreign colours count as the nearest one. Where classes have colours and the
        picture has levels of grey that are none of these, its levels are the numbers of the classes, and 255
        is what is ignored, if anything is.

        Raises:
            ProcessingError: The picture is no label map.
        """
        width = len(self.palette[0])
        if image.pixels.dtype == np.float32:
            raise ProcessingError("label maps hold whole numbers, and this picture holds fractions")
        colours = self.palette if self.ignore is None else (*self.palette, self.ignore)
        pixels = with_channels(image, width, unmixed=True)
        require_classes(image, pixels, colours)
        if width == 3 and image.channels == 1:
            levels = image.pixels[..., 0]
            void = (levels == _VOID) & (self.ignore is not None)
            if (void | (levels < len(self))).all() and foreign(pixels, colours):
                return np.where(void, -1, levels.astype(np.int16)), ""
        found = classes(pixels, colours)[..., 0].astype(np.int16)
        found[found == len(self)] = -1
        return found, stranger(pixels, colours)


def collect(maps: Iterable[Pixels], key: str = "data.palette") -> Palette:
    """Returns the colours of some label maps, sorted.

    Args:
        maps: Arrays (H, W, C) of integers, C the same in all.
        key: Where true colours are given, for the message.

    Raises:
        ConfigError: There are more than 256, as in maps that were stored as JPEG.
    """
    colours: set[tuple[int, ...]] = set()
    for pixels in maps:
        flat = pixels.reshape(-1, pixels.shape[2])
        colours.update(tuple(int(v) for v in colour) for colour in np.unique(flat, axis=0))
        if len(colours) > MOST:
            raise ConfigError(
                f"the label maps have more than {MOST} colours, so these cannot stand for classes (JPEG "
                f"blurs colours into one another); give the true ones as {key}, or say that there are none "
                "(data.source_labels)."
            )
    return tuple(sorted(colours))


def one_hot(pixels: Pixels, palette: Palette) -> Pixels:
    """Returns label maps as a network takes them: one channel for each colour, white where it is.

    Args:
        pixels: (H, W, C) of integers.
        palette: Up to 256 colours of C values, in the depth of `pixels`.

    Returns:
        (H, W, colours) in uint8, 0 or 255.

    Raises:
        ValueError: The colours have another number of values than the pixels.
    """
    indices = classes(pixels, palette)
    return np.where(indices == np.arange(len(palette)), np.uint8(255), np.uint8(0))


def foreign(pixels: Pixels, palette: Palette) -> float:
    """Returns the share of the pixels (H, W, C) whose colour is not in `palette`, 0 to 1."""
    known = np.asarray(palette, pixels.dtype)[classes(pixels, palette)[..., 0]]
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
    apart = ((known[:, None] - known) ** 2).sum(2)
    reach = apart[apart > 0].min(initial=np.inf) / 4 if len(palette) > 1 else 0.0
    off = ((known[classes(pixels, palette)[..., 0]] - pixels) ** 2).sum(2)
    far = pixels[off > reach]
    if not len(far):
        return ""
    colours, counts = np.unique(far, axis=0, return_counts=True)
    share = counts.max() / off.size
    if share <= _SEEN:
        return ""
    colour = " ".join(map(str, colours[counts.argmax()]))
    return f"{share:.1%} of the pixels have the colour {colour}, which is none of the palette"


def classes(pixels: Pixels, palette: Palette) -> NDArray[np.uint8]:
    """Returns which colour of `palette` each pixel has, or is nearest to.

    Args:
        pixels: (H, W, C) of integers.
        palette: Up to 256 colours of C values, in the depth of `pixels`.

    Returns:
        (H, W, 1), the place in the palette.

    Raises:
        ValueError: The colours have another number of values than the pixels.
    """
    channels = pixels.shape[2]
    if len(palette[0]) != channels:
        raise ValueError(f"a palette of {len(palette[0])} values cannot tell {channels} channels apart")
    flat = pixels.reshape(-1, channels)
    if channels <= 3:  # one number each is much faster to sort
        codes = flat.astype(np.int64) @ 65536 ** np.arange(channels)
        _, first, back = np.unique(codes, return_index=True, return_inverse=True)
        colours = flat[first].astype(np.float64)
    else:
        unique, back = np.unique(flat, axis=0, return_inverse=True)
        colours = unique.astype(np.float64)
    known = np.asarray(palette, np.float64)
    closest = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), _AT_ONCE):
        some = colours[start : start + _AT_ONCE, None]
        closest[start : start + _AT_ONCE] = ((some - known) ** 2).sum(2).argmin(1)
    result: NDArray[np.uint8] = closest[back.reshape(-1)].reshape(*pixels.shape[:2], 1)
    return result
