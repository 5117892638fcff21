"""Pairs from single pictures: the picture is the target, what an operation makes of it the source."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import ProcessingError, display_path
from img2img.files import write_bytes
from img2img.image import Image
from img2img.image.alpha import over_white
from img2img.image.conversion import converted, meaning
from img2img.image.image import Pixels
from img2img.processors import Chain


@dataclass(frozen=True)
class SideBySide:
    """A batch processor that puts what `chain` makes of a picture to the left of that picture.

    This is the layout of the original pix2pix. Transparent pictures are laid over white, and grey gets the
    channels of its partner.
    """

    chain: Chain

    def group_key(self, image: Image) -> Hashable:
        """Returns None: pictures are processed one at a time."""
        return None

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the pairs, in order.

        Raises:
            ProcessingError: An operation failed, or its result has another size than the picture.
        """
        return [self._pair(image) for image in images]

    def settings(self) -> list[dict[str, Any]]:
        """Returns what identifies the results, JSON-able."""
        return [{"operation": "pair", "layout": "aligned"}, *self.chain.settings()]

    def _pair(self, image: Image) -> Image:
        made = converted(self.chain.apply(image), meaning(image))
        if (made.height, made.width) != (image.height, image.width):
            raise ProcessingError(
                f"the operations made {made.width} x {made.height} pixels of {image.width} x {image.height}; "
                "the two sides of a pair need one size."
            )
        channels = max(made.channels, image.channels)
        left, right = (_opaque(side, channels) for side in (made, image))
        if left.dtype != right.dtype:
            raise ProcessingError(f"the operations changed the depth from {right.dtype} to {left.dtype}.")
        pair = Image(np.concatenate((left, right), axis=1), icc=image.icc, space=image.space)
        return pair.warn(*made.warnings)


def place_original(source: Path, target: Path) -> bool:
    """Copies `source` to `target` byte for byte, completely or not at all; an equal file may stand there.

    Returns:
        Whether it was copied now.

    Raises:
        ProcessingError: Another file stands there, which is not replaced, or it cannot be stored.
    """
    if target.exists():
        if target.samefile(source) or _equal(source, target):
            return False
        raise ProcessingError(
            f"{display_path(target)} is there already and is another file; it is not replaced."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(source.read_bytes(), target)
    except OSError as error:
        raise ProcessingError(
            f"{display_path(target)} cannot be written: {error.strerror or error}."
        ) from error
    return True


def _opaque(image: Image, channels: int) -> Pixels:
    pixels = over_white(image).pixels
    if pixels.shape[2] not in (1, channels):
        raise ProcessingError(
            f"one side has {pixels.shape[2]} channels and the other {channels}; only grey can become more."
        )
    return pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, 2)


def _equal(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while block := a.read(1 << 20):
            if block != b.read(1 << 20):
                return False
    return True
