"""Bytes to Image and back."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**31))  # read once, when cv2 is imported
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np

from img2img.errors import ImageError, ImageFitError, ImageFormatError, ImageReadError, ImageWriteError
from img2img.image.image import Image, Pixels
from img2img.image.limits import Limits

READABLE = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .tif .tiff .bmp .dib .gif .jp2 .j2k .j2c .jpc .jpx .jpf "
    ".pbm .pgm .ppm .pnm .pam .pfm".split()
)
WRITABLE = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .tif .tiff .bmp .dib .jp2 .j2k .pgm .ppm .pnm .pam .pfm".split()
)


@dataclass(frozen=True)
class EncodeOptions:
    """How pictures are stored.

    Attributes:
        quality: 1 to 100, for the lossy formats JPEG, WebP and AVIF.
        png_level: zlib effort for PNG, 0 to 9.
        strip_metadata: Store neither EXIF nor ICC profile.
        strip_gps: Store EXIF without the place.
    """

    quality: int = 95
    png_level: int = 3
    strip_metadata: bool = False
    strip_gps: bool = False


def decode(data: bytes, limits: Limits = Limits(), name: Path | None = None) -> Image:  # noqa: B008
    """Returns the picture in `data`."""
    try:
        return _decode(data, limits)
    except ImageError as error:
        error.path = name
        raise


def _decode(data: bytes, limits: Limits) -> Image:
    from PIL import Image as PIL

    if not data:
        raise ImageReadError("the file is empty")
    try:
        with PIL.open(io.BytesIO(data)) as header:
            limits.check(*header.size)
            kind = header.format
            mode = header.mode
            orientation = header.getexif().get(0x0112, 1)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001
        raise ImageFormatError("this is not an image of a kind that is read") from error
    try:
        raw, kinds, blocks = cv2.imdecodeWithMetadata(
            np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED
        )
    except cv2.error as error:
        raise ImageReadError("the image data is broken") from error
    if raw is None:
        raise ImageReadError("the image data is broken or truncated")
    metadata = {int(k): bytes(np.asarray(b).tobytes()) for k, b in zip(kinds, blocks, strict=True)}
    pixels: Pixels = raw if raw.ndim == 3 else raw[:, :, None]
    alpha = None
    if pixels.shape[2] == 4:
        alpha = np.ascontiguousarray(pixels[:, :, 3])
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    elif pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if mode in ("LA", "L") and pixels.shape[2] == 3:
        pixels = np.ascontiguousarray(pixels[:, :, :1])
    if kind != "TIFF":
        pixels = upright(pixels, orientation)
        alpha = None if alpha is None else upright(alpha, orientation)
    return Image(pixels, alpha, metadata.get(cv2.IMAGE_METADATA_ICCP), metadata.get(cv2.IMAGE_METADATA_EXIF))


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Returns `pixels` (H, W, ...) turned so that EXIF `orientation` 1 to 8 becomes 1."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why the format that `extension` names cannot hold `image`, or None when it can."""
    extension = extension.lower()
    if extension not in WRITABLE:
        return f"{extension or 'a name without extension'} is not a format that is written"
    depth = image.pixels.dtype.name
    family = extension[1:]
    if family in ("jpg", "jpeg", "jpe", "jfif"):
        if depth != "uint8":
            return f"JPEG holds 8 bits, the picture is {depth}"
        if image.alpha is not None:
            return "JPEG holds no alpha"
    if family in ("webp", "avif", "bmp", "dib") and depth != "uint8":
        return f"{family.upper()} holds 8 bits, the picture is {depth}"
    if family not in ("tif", "tiff", "pfm") and depth == "float32":
        return f"{family.upper()} holds no floating point numbers"
    if family in ("ppm", "pgm", "pnm") and image.alpha is not None:
        return f"{family.upper()} holds no alpha"
    if image.channels not in (1, 3):
        return f"{family.upper()} holds 1 or 3 channels, the picture has {image.channels}"
    return None


def encode(image: Image, extension: str, options: EncodeOptions = EncodeOptions()) -> bytes:  # noqa: B008
    """Returns `image` as a file of the format that `extension` names."""
    reason = fit_reason(image, extension)
    if reason is not None:
        raise ImageFitError(reason)
    pixels = image.pixels
    if image.alpha is not None:
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        pixels = np.dstack((pixels[:, :, ::-1], image.alpha))
    elif pixels.shape[2] == 3:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    kinds, blocks = [], []
    if not options.strip_metadata:
        if image.icc:
            kinds.append(int(cv2.IMAGE_METADATA_ICCP))
            blocks.append(np.frombuffer(image.icc, np.uint8)[None])
        if image.exif:
            kinds.append(int(cv2.IMAGE_METADATA_EXIF))
            blocks.append(np.frombuffer(image.exif, np.uint8)[None])
    params = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, options.quality],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, options.quality],
        ".avif": [cv2.IMWRITE_AVIF_QUALITY, options.quality],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, options.png_level],
    }
    extension = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg"}.get(extension.lower(), extension.lower())
    try:
        ok, buffer = cv2.imencodeWithMetadata(extension, pixels, kinds, blocks, params.get(extension, []))
    except cv2.error as error:
        raise ImageWriteError(f"the encoder refused the picture: {error.err}") from error
    if not ok or len(buffer) == 0:
        raise ImageWriteError("the encoder gave no result")
    return bytes(buffer.tobytes())
