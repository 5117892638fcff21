"""Temporal smoothing: where the source stands still, so does the result.

Models that invent detail invent another one for every frame. Each result is mixed with the one before: by
all of `share` where the source has changed by no more than 2 of 255 levels, by nothing from 8 on, around each
pixel. Nothing is followed that moves.
"""

from __future__ import annotations

import numpy as np

from img2img.image import Image
from img2img.image.image import Pixels
from img2img.image.resize import resize

_STILL, _MOVED = 2 / 255, 8 / 255  # differences up to which nothing, and from which everything has changed


class Smoother:
    """Mixes each result with the one before.

    Args:
        share: Of the one before where nothing has changed, 0 to 1.
        state: What `state` was at the frame before; empty at the first.
    """

    def __init__(self, share: float, state: dict[str, Pixels] | None = None) -> None:
        self._share = share
        self._source: Pixels | None = (state or {}).get("source")
        self._result: Pixels | None = (state or {}).get("result")

    @property
    def state(self) -> dict[str, Pixels]:
        """What the next frame depends on."""
        if self._source is None or self._result is None:
            return {}
        return {"source": self._source, "result": self._result}

    def __call__(self, source: Image, result: Image) -> Image:
        """Returns `result`, which was made of `source`, smoothed."""
        seen, pixels = source.pixels, result.pixels
        if self._source is not None and self._result is not None and self._result.shape == pixels.shape:
            change = np.abs(seen.astype(np.float32) - self._source).max(2) / np.float32(source.white)
            still = np.clip((_MOVED - _spread(change)) / (_MOVED - _STILL), 0, 1).astype(np.float32)
            share = resize(still[..., None], *pixels.shape[:2]).clip(0, 1) * np.float32(self._share)
            mixed = pixels + (self._result.astype(np.float32) - pixels) * share
            pixels = mixed if pixels.dtype == np.float32 else np.rint(mixed).astype(pixels.dtype)
        self._source, self._result = seen, pixels
        return result.replace(pixels=pixels)


def _spread(change: Pixels) -> Pixels:
    """Returns the largest of each pixel's 3 x 3 neighbours."""
    padded = np.pad(change, 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    largest: Pixels = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return largest
