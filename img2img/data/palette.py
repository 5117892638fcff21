"""Label maps: colours that stand for classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from img2img.errors import ConfigError
from img2img.image.image import Pixels

Palette = tuple[tuple[int, ...], ...]
MOST = 256  # classes: an index is one byte
_TABLE = 2**24  # the largest number of colours for which a table beats a search


def collect(maps: Iterable[Pixels]) -> Palette:
    """Returns the colours of some label maps, sorted.

    Args:
        maps: Arrays (H, W, C) of integers, C the same in all.

    Raises:
        ConfigError: There are more than 256, as in maps that were stored as JPEG.
    """
    colours: set[tuple[int, ...]] = set()
    for pixels in maps:
        flat = pixels.reshape(-1, pixels.shape[2])
        colours.update(tuple(int(v) for v in colour) for colour in np.unique(flat, axis=0))
        if len(colours) > MOST:
            raise ConfigError(
                f"the label maps have more than {MOST} colours, so their classes cannot be told from them (JPEG"
                " blurs colours into one another); give the true ones as data.palette."
            )
    return tuple(sorted(colours))


def classes(pixels: Pixels, palette: Palette) -> NDArray[np.uint8]:
    """Returns which colour of `palette` each pixel has, or is nearest to.

    Args:
        pixels: (H, W, C) of integers.
        palette: Up to 256 colours of C values, in the depth of `pixels`.

    Returns:
        (H, W, 1), the place in the palette.

    Raises:
        ConfigError: The colours have another number of values than the pixels.
    """
    if len(palette[0]) != pixels.shape[2]:
        raise ConfigError(
            f"the colours of the palette have {len(palette[0])} values, and a label map has "
            f"{pixels.shape[2]} channels; the two must agree."
        )
    flat = pixels.reshape(-1, pixels.shape[2])
    codes = np.zeros(len(flat), np.int64)
    for channel in range(flat.shape[1]):
        codes = codes * 65536 + flat[:, channel] if flat.shape[1] <= 3 else codes * 1000003 + flat[:, channel]
    colours, where, back = np.unique(codes, return_index=True, return_inverse=True)
    known = np.asarray(palette, np.float64)
    distinct = flat[where].astype(np.float64)
    nearest = np.empty(len(colours), np.uint8)
    for start in range(0, len(distinct), 4096):
        some = distinct[start : start + 4096, None]
        nearest[start : start + 4096] = ((some - known) ** 2).sum(2).argmin(1)
    return nearest[back].reshape(*pixels.shape[:2], 1)
