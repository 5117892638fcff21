"""PyAV, which holds FFmpeg's libraries: imported when the first video needs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from img2img.errors import ImageFormatError

MISSING = "videos need PyAV, which is not installed; `pip install img2img[video]` does that"


def is_installed() -> bool:
    """Returns whether there is some version of it."""
    return importlib.util.find_spec("av") is not None


def load() -> ModuleType:
    """Returns the package `av`.

    Raises:
        ImageFormatError: It is not installed, or it is too old.
    """
    if not is_installed():
        raise ImageFormatError(MISSING)
    os.environ.setdefault("SVT_LOG", "1")  # errors alone: the encoder of AV1 writes to stderr by itself
    av = importlib.import_module("av")
    if not hasattr(av.VideoStream, "set_display_matrix"):
        raise ImageFormatError(
            f"videos need PyAV 18 or newer, and {av.__version__} is installed; "
            "`pip install -U img2img[video]` does that"
        )
    return av
