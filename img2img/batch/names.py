"""Names of outputs: which extension they get, and when two of them meet."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache

from img2img.image import WRITABLE

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


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


def collision_key(path: str) -> str:
    """Returns a string that is equal for paths which some file system takes for the same one.

    Letter case and Unicode normal form do not count. Folding goes character by character as file systems do
    it: `ß` and `ss` stay different, because they are different files everywhere.
    """
    if path.isascii():
        return path.lower()
    folded = "".join(map(_folded, unicodedata.normalize("NFD", path)))
    return unicodedata.normalize("NFC", folded)
