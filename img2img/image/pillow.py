"""Pillow, for the few things that OpenCV does wrong or not at all."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from img2img.errors import ImageLimitError, ImageReadError
from img2img.image.image import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from img2img.image.formats.base import Raster


class _Quiet:
    """Hushes Python's warnings while at least one thread is inside.

    Their filters are one list for all threads: the first one sets it, and the last one puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved is not None:
                self._saved.__exit__(None, None, None)


quiet = _Quiet()


def decode_with(plugin: Callable[..., Any], data: bytes) -> Raster:
    """Returns the first picture in `data` as the Pillow file class `plugin` sees it.

    The class is called by its name, so that no other format and no global limit of Pillow has a say.

    Raises:
        ImageReadError: It is truncated or broken.
    """
    from PIL.Image import DecompressionBombError

    with quiet:
        try:
            with plugin(io.BytesIO(data)) as picture:
                picture.load()
                return raster_of(picture)
        except (ImageReadError, MemoryError):
            raise
        except DecompressionBombError as error:
            raise ImageLimitError("the picture is larger than can be decoded safely") from error
        except Exception as error:
            raise ImageReadError(f"the image data is truncated or broken ({error})") from error


def raster_of(picture: PillowImage) -> Raster:
    """Returns a loaded Pillow picture as pixels.

    Raises:
        ImageReadError: Its mode has no place here.
    """
    from img2img.image.formats.base import Raster

    mode = picture.mode
    if mode in ("P", "PA"):
        has_alpha = mode == "PA" or "transparency" in picture.info
        picture = picture.convert("RGBA" if has_alpha else "RGB")
    elif mode == "1" or (mode == "L" and "transparency" in picture.info):
        picture = picture.convert("L" if mode == "1" else "LA")
    elif mode == "RGB" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        picture = picture.convert("RGB")
    elif mode in ("La", "RGBa"):
        picture = picture.convert("LA" if mode == "La" else "RGBA")
    elif mode not in ("L", "LA", "RGB", "RGBA", "F", "I;16", "I;16L", "I;16B"):
        raise ImageReadError(f"pixels of the kind {mode!r} are not read")
    array: Pixels = np.asarray(picture)
    if array.ndim == 2:
        array = array[:, :, None]
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if array.shape[2] in (2, 4):
        return Raster(np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1]))
    return Raster(array)
