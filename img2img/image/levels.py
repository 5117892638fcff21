"""Numbers that are no colours yet: levels of depths that no array has, and indices of a palette."""

from __future__ import annotations

import cv2
import numpy as np

from img2img.image.image import Pixels


def spread(levels: Pixels, bits: int) -> Pixels:
    """Returns `levels` of `bits` bits spread over all of uint8 or uint16; black and white stay themselves.

    Args:
        levels: Integers from 0 to 2**bits - 1, of any shape; larger ones become white.
        bits: 1 to 16.

    Returns:
        uint8 for up to 8 bits, otherwise uint16; each level rounded to the nearest.
    """
    dtype, white = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    if bits in (8, 16):
        return levels.astype(dtype, copy=False)
    top = 2**bits - 1
    table = ((np.arange(top + 1, dtype=np.uint32) * white + top // 2) // top).astype(dtype)
    result: Pixels = table[np.minimum(levels, top)]
    return result


def channels_of(palette: Pixels) -> int:
    """Returns 1 when all colours of `palette` (N, 3) are greys, otherwise 3."""
    return 1 if bool((palette == palette[:, :1]).all()) else 3


def looked_up(indices: Pixels, palette: Pixels) -> Pixels:
    """Returns the colours of a picture that is stored as indices of a palette.

    Args:
        indices: (H, W), uint8.
        palette: Up to 256 colours (N, 3), uint8; an index beyond them is black.

    Returns:
        (H, W, 3), or (H, W, 1) when all colours of the palette are greys.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    if channels_of(palette) == 1:
        return cv2.LUT(indices, table[:, 0]).reshape(*indices.shape, 1)
    return cv2.LUT(cv2.merge([indices] * 3), table.reshape(1, 256, 3))


def opacity(indices: Pixels, levels: Pixels) -> Pixels:
    """Returns the alpha (H, W) of `indices` (H, W), of which the first have the opacities `levels`, uint8."""
    table = np.full(256, 255, np.uint8)
    table[: len(levels)] = levels
    return cv2.LUT(indices, table).reshape(indices.shape)


def straight(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Returns colours (H, W, C) that were multiplied with `alpha` (H, W), divided by it again.

    Integers are rounded and stay in their range; where alpha is 0, there is no colour to find.
    """
    if pixels.dtype.kind == "f":
        share = np.where(alpha > 0, alpha, 1)[:, :, None]
        divided: Pixels = (pixels / share).astype(pixels.dtype)
        return divided
    white = int(np.iinfo(pixels.dtype).max)
    weight = np.maximum(alpha, 1).astype(np.uint64)[:, :, None]
    result: Pixels = np.minimum((pixels * np.uint64(white) + weight // 2) // weight, white).astype(
        pixels.dtype
    )
    return result
