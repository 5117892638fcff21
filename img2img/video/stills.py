"""How the frames of a result are stored until an animation is made of them: each as a PNG file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from img2img.errors import ImageFitError
from img2img.image import EncodeOptions, Image, encode, prepare
from img2img.video.clip import Clip
from img2img.video.colour import as_rgb

_FAST = EncodeOptions(png_level=1)


@dataclass(frozen=True)
class StillSettings:
    """As `img2img.video.encoding.EncoderSettings`, for pictures.

    Attributes:
        encoder: What the result is: "gif", "webp" or "apng".
        width, height: Of each.
        bits: Of each number.
        alpha: Whether they have transparency.
        source_type: What made the pictures, where the file is to say that; see `Metadata` of pictures.
        warnings: Sentences about what is stored otherwise than asked for.
    """

    encoder: str
    width: int
    height: int
    bits: int
    alpha: bool
    source_type: str | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns what tells whether pictures of another run fit."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> StillSettings:
        """Returns what `to_json` was made from.

        Raises:
            KeyError, TypeError: It is nothing of the kind.
        """
        return cls(**{**facts, "warnings": tuple(facts["warnings"])})

    def frames(self) -> StillSettings:
        """Returns what turns pictures into frames for the encoder."""
        return self

    def opened(self) -> StillSettings:
        """Returns the encoder of a segment."""
        return self

    def __call__(self, image: Image) -> Image:
        """Returns `image` with three colours, in the depth and with the transparency of all others.

        Raises:
            ProcessingError: It has channels that are no colours.
        """
        dtype = np.uint16 if self.bits > 8 else np.uint8
        both = as_rgb(image, dtype, self.alpha)
        return image.replace(
            pixels=both[..., :3], alpha=both[..., 3] if self.alpha else None, warnings=(), palette=None
        )

    def encode(self, frame: Image, index: int) -> list[tuple[int, bytes, bool]]:
        """Returns the picture as it is stored: (index, bytes, True)."""
        return [(index, encode(prepare(frame, ".png"), ".png", _FAST), True)]

    def flush(self) -> list[tuple[int, bytes, bool]]:
        """Returns what was held back: nothing."""
        return []


def choose_stills(clip: Clip, extension: str, image: Image) -> StillSettings:
    """Returns how results such as `image` are stored for an animation.

    Args:
        clip: The source.
        extension: Of the result: ".gif".
        image: The first of them.

    Raises:
        ImageFitError: They are too large for that kind of file.
    """
    name = {".gif": "gif", ".webp": "webp"}.get(extension, "apng")
    longest = {"gif": 65535, "webp": 16383}.get(name, 2**31 - 1)
    if max(image.width, image.height) > longest:
        raise ImageFitError(
            f"{extension} files hold animations of at most {longest} pixels on a side, and the result has "
            f"{image.width} x {image.height}"
        )
    deep = image.pixels.dtype != np.uint8 and clip.bits > 8
    warnings = [f"{clip.bits} bits became 8, which is all that {extension} files hold"] if deep else []
    if name == "apng":
        deep, warnings = image.pixels.dtype == np.uint16, []
    else:
        deep = False
    bits = 16 if deep else 8
    return StillSettings(
        name, image.width, image.height, bits, image.alpha is not None, warnings=tuple(warnings)
    )
