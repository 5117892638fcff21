"""Names of outputs: which extension they get, and when two of them meet."""

from __future__ import annotations

import os

from img2img.image import WRITABLE
from img2img.image.discovery import collision_key as collision_key

FALLBACKS = (".png", ".tif")  # what is appended when a format cannot hold a result, in this order


def output_name(name: str, suffix: str = "", extension: str | None = None) -> str:
    """Returns the name of the output for a source called `name`.

    The name stays as it is when its format can be written. Otherwise ".png" is appended to the whole name
    (`hopper.gif` becomes `hopper.gif.png`), so that `hopper.gif` and `hopper.png` never meet.

    Args:
        name: A bare file name.
        suffix: Goes before the extension: "_x4" makes `a.jpg` into `a_x4.jpg`.
        extension: With its dot; replaces the extension: ".png" makes `a.jpg` into `a.png`.
    """
    stem, own = os.path.splitext(name)  # noqa: PTH122  a Path for each of 100,000 names is slow
    chosen = own if extension is None else extension
    whole = stem + suffix + chosen
    return whole if chosen.lower() in WRITABLE else whole + FALLBACKS[0]
