"""Depths that no array has: 1 to 7 bits become 8, and 9 to 15 become 16."""

from __future__ import annotations

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
