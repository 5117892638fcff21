"""OpenCV with our settings, behind bytes: `cv2.imread` and `cv2.imwrite` are never used.

OpenCV reads its limit on pixels from the environment once, while it is imported. Our own limit is checked
against the header before decoding, so the one inside OpenCV must only not be the lower of the two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**36))
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_WIDTH", str(2**31 - 1))
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_HEIGHT", str(2**31 - 1))

import cv2
import numpy as np

from img2img.errors import ImageReadError, ImageWriteError
from img2img.image.image import Pixels

# What goes wrong with a file reaches the caller as an exception, not the terminal as a log line.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # 4.x, 5.x
_set_log_level(0)


def let_speak() -> None:
    """Lets what decoders complain of reach the standard error stream, for a process that reads it."""
    _set_log_level(3)  # warnings and errors


AS_STORED = int(cv2.IMREAD_UNCHANGED)
RGB_AS_STORED = int(cv2.IMREAD_COLOR_RGB) | int(cv2.IMREAD_IGNORE_ORIENTATION)

BROKEN = "the image data is truncated or broken; nothing of it was used"


def decode_array(data: bytes | bytearray, flags: int = AS_STORED) -> Pixels:
    """Returns what OpenCV makes of `data`: (H, W, C), colours in BGR order unless `flags` says RGB.

    Raises:
        ImageReadError: OpenCV refused it.
    """
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags=flags)
    except cv2.error as error:
        raise ImageReadError(BROKEN) from error
    if array is None or array.size == 0:
        raise ImageReadError(BROKEN)
    return array if array.ndim == 3 else array[:, :, None]


def encode_array(
    extension: str,
    array: Pixels,
    params: Sequence[int],
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """Returns `array` (BGR order) as a file with the metadata given.

    Raises:
        ImageWriteError: OpenCV refused it.
    """
    kinds: list[int] = []
    blocks: list[Pixels] = []
    for kind, block in (
        (cv2.IMAGE_METADATA_ICCP, icc),
        (cv2.IMAGE_METADATA_EXIF, exif),
        (cv2.IMAGE_METADATA_XMP, xmp),
    ):
        if block:
            kinds.append(int(kind))
            blocks.append(np.frombuffer(block, np.uint8)[None])
    try:
        if kinds:
            ok, buffer = cv2.imencodeWithMetadata(extension, array, kinds, blocks, list(params))
        else:
            ok, buffer = cv2.imencode(extension, array, list(params))
    except cv2.error as error:
        raise ImageWriteError(f"the encoder for {extension} refused the picture: {error.err}") from error
    if not ok or buffer.size == 0:
        raise ImageWriteError(f"the encoder for {extension} gave no result")
    return buffer.tobytes()


def split_bgra(array: Pixels) -> tuple[Pixels, Pixels | None]:
    """Returns RGB colours (or grey) and alpha from (H, W, 1), BGR or BGRA."""
    if array.shape[2] == 4:
        return cv2.cvtColor(array, cv2.COLOR_BGRA2RGB), np.ascontiguousarray(array[:, :, 3])
    if array.shape[2] == 3:
        return cv2.cvtColor(array, cv2.COLOR_BGR2RGB), None
    return array, None


def merge_bgra(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """Returns (H, W, 1), BGR or BGRA from RGB colours or grey, and alpha. Grey with alpha becomes BGRA."""
    pixels = np.ascontiguousarray(pixels)
    if alpha is not None:
        if pixels.shape[2] == 1:
            return cv2.merge([pixels[:, :, 0]] * 3 + [np.ascontiguousarray(alpha)])
        merged = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA)
        merged[:, :, 3] = alpha
        return merged
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.shape[2] == 3 else pixels


def transposed(pixels: Pixels) -> Pixels:
    """Returns (W, H, ...) from (H, W, ...), contiguous."""
    if pixels.ndim == 2 or pixels.shape[2] <= 4:  # several times as fast as numpy
        moved: Pixels = cv2.transpose(np.ascontiguousarray(pixels))
        return moved.reshape(pixels.shape[1], pixels.shape[0], *pixels.shape[2:])
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def flipped(pixels: Pixels, rows: bool, columns: bool) -> Pixels:
    """Returns `pixels` (H, W, ...) with the order of rows, of columns or of both reversed, contiguous."""
    if pixels.ndim == 2 or pixels.shape[2] <= 4:
        return cv2.flip(np.ascontiguousarray(pixels), -1 if rows and columns else int(columns)).reshape(
            pixels.shape
        )
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])
