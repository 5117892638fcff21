"""Bytes to Image and back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from img2img.errors import ImageError, ImageFitError, ImageLimitError, ImageReadError, ImageWriteError
from img2img.image import isolation
from img2img.image.colour import ADOBE_RGB
from img2img.image.exif import is_adobe_rgb, payload
from img2img.image.formats import BY_EXTENSION, READABLE, WRITABLE, recognise
from img2img.image.formats.base import EncodeOptions, Format, Header
from img2img.image.image import Image, Pixels
from img2img.image.limits import Limits
from img2img.image.metadata import for_format, orientation, with_true_metadata
from img2img.image.opencv import flipped, transposed

DEFAULT_LIMITS = Limits()
DEFAULT_OPTIONS = EncodeOptions()

_LOSSY = ("AVIF", "JPEG")  # whatever is chosen
_CONCERN_ALL = {"strip_metadata", "strip_gps"}
_CONCERN = {  # which options change files of which formats
    "AVIF": {"quality", "lossless"},
    "JPEG": {"quality", "jpeg_sampling"},
    "PNG": {"png_level"},
    "WebP": {"quality", "lossless"},
}
_ON_ITS_SIDE = (5, 6, 7, 8)  # orientations that exchange width and height
_BROKEN_HEADER = (ValueError, IndexError, KeyError, OverflowError, struct.error)


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS, name: Path | None = None) -> Image:
    """Returns the first picture in `data`, upright, with its depth, alpha, ICC profile and EXIF block.

    Its first bytes decide what kind of file it is. The header is held against `limits` before anything is
    decoded. The pixels are C-contiguous.

    Args:
        data: A whole image file.
        limits: What is refused.
        name: Where it came from, for the error.

    Raises:
        ImageFormatError: It is a kind of file that is not read.
        ImageLimitError: It is larger than `limits`, or than the memory; then nothing was kept.
        ImageReadError: It is empty, truncated or broken. There are no half pictures.
    """
    try:
        return _decode(data, limits)
    except ImageError as error:
        error.path = name
        raise


def _decode(data: bytes, limits: Limits) -> Image:
    if not data:
        raise ImageReadError("the file is empty")
    if len(data) > limits.max_file_size:
        raise ImageLimitError(f"the file has {len(data):,} bytes; at most {limits.max_file_size:,} are read")
    source = recognise(data)
    try:
        header = source.probe(data)
    except _BROKEN_HEADER as error:
        raise ImageReadError(f"the header of the {source.name} file is truncated or broken") from error
    check(header, len(data), limits)
    try:
        if source.isolated(header):
            raster = isolation.decode(data, source, header, limits)
        else:
            raster = source.decode(data, header)
    except MemoryError as error:
        raise ImageLimitError(
            f"there is not enough memory for {header.width} x {header.height} pixels"
        ) from error
    except _BROKEN_HEADER as error:
        raise ImageReadError(f"the {source.name} file is truncated or broken") from error
    if raster.pixels.shape[:2] != (header.height, header.width):
        raise ImageReadError(f"the {source.name} file is broken: its header and its picture differ in size")
    turn = header.orientation or orientation(header.exif, header.xmp)
    alpha = None if raster.alpha is None else upright(raster.alpha, turn)
    warnings = header.warnings
    if header.frames > 1:
        warnings = [f"the file holds {header.frames} pictures; only the first was used", *warnings]
    space = header.space
    if space is None and header.exif and is_adobe_rgb(payload(header.exif)):
        space = ADOBE_RGB
    metadata = header.metadata
    if turn in _ON_ITS_SIDE and metadata.resolution is not None:
        metadata = metadata.replace(resolution=metadata.resolution[::-1])
    image = Image(
        upright(raster.pixels, turn),
        alpha,
        header.icc,
        header.exif,
        tuple(warnings),
        None if header.icc else space,
        metadata,
        header.lossless,
        jpeg_quality=header.jpeg_quality,
    )
    return with_true_metadata(image)


def check(header: Header, file_size: int, limits: Limits) -> None:
    """Compares a header with the limits, before anything is decoded.

    Raises:
        ImageReadError: A side is empty.
        ImageLimitError: The picture is too large, or too large for so small a file.
    """
    limits.check(header.width, header.height, header.channels, header.frames, header.sample_bytes, file_size)


def upright(pixels: Pixels, turn: int) -> Pixels:
    """Returns `pixels` (H, W) or (H, W, C) turned so that EXIF orientation `turn` becomes 1, C-contiguous."""
    if turn in _ON_ITS_SIDE:
        pixels = transposed(pixels)
    rows, columns = turn in (3, 4, 7, 8), turn in (2, 3, 6, 7)
    return flipped(pixels, rows, columns) if rows or columns else np.ascontiguousarray(pixels)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why the format that `extension` names (".jpg") cannot hold `image`, or None when it can."""
    extension = extension.lower()
    if extension not in WRITABLE:
        name = repr(extension) if extension else "a name without extension"
        return f"{name} is no format that is written; there are {', '.join(sorted(WRITABLE))}"
    if image.palette is not None and _target(extension).name in _LOSSY:
        return f"{_target(extension).name} mixes colours, and those of a label map stand for classes"
    check = _target(extension).fit_reason
    return None if check is None else check(image, extension)


def prepare(image: Image, extension: str, options: EncodeOptions = DEFAULT_OPTIONS) -> Image:
    """Returns `image` with just the metadata that `encode` is going to store, and warnings for what it drops.

    `encode` does this itself; who wants to report the warnings calls it before.

    Raises:
        ImageFitError: The format is not written.
    """
    return for_format(image, _target(extension.lower()), options)


def encode(image: Image, extension: str, options: EncodeOptions = DEFAULT_OPTIONS) -> bytes:
    """Returns `image` as a file of the format that `extension` names (".jpg").

    Raises:
        ImageFitError: The format cannot hold this depth, alpha or number of channels.
        ImageWriteError: The encoder failed.
    """
    reason = fit_reason(image, extension)
    if reason is not None:
        raise ImageFitError(reason)
    extension = extension.lower()
    target = _target(extension)
    assert target.encode is not None
    try:
        data = target.encode(for_format(image, target, options), extension, options)
    except MemoryError as error:
        raise ImageWriteError("there is not enough memory to encode the picture") from error
    if not data:
        raise ImageWriteError(f"the encoder for {extension} gave no result")
    return data


def is_copy(data: bytes, extension: str, options: EncodeOptions = DEFAULT_OPTIONS) -> bool:
    """Returns whether a file may stand, byte by byte, for the picture that was decoded from it.

    Then it need not be compressed once more, and keeps what is not read of it, such as further pages.

    Args:
        data: The file.
        extension: Of the format that is wanted.
        options: Any that concern this format and are not the usual ones ask for a new file.
    """
    source = recognise(data)
    asked = {each.name for each in fields(options) if getattr(options, each.name) != each.default}
    if options.lossless is False:  # a quality was chosen, and may be the usual one
        asked.add("quality")
    as_it_is = asked.isdisjoint(_CONCERN_ALL | _CONCERN.get(source.name, set()))
    return extension.lower() in source.writes and as_it_is


def of_copy(warnings: Sequence[str]) -> tuple[str, ...]:
    """Returns what is said of a file that was copied, of what was said when it was read."""
    return tuple(f"the file was copied as it is; of what was read of it: {each}" for each in warnings)


def _target(extension: str) -> Format:
    if extension not in WRITABLE:
        raise ImageFitError(f"{extension!r} is no format that is written")
    return BY_EXTENSION[extension]


__all__ = [
    "READABLE",
    "WRITABLE",
    "EncodeOptions",
    "decode",
    "encode",
    "fit_reason",
    "is_copy",
    "of_copy",
    "prepare",
    "upright",
]
