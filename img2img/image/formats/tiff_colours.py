"""What the numbers in a TIFF file mean: depth, palette, alpha, inks."""

from __future__ import annotations

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import Header, Raster
from img2img.image.formats.tiff_samples import (
    COLOUR_MAP,
    FLOAT,
    GREY,
    ICC_LAB,
    INK_SET,
    LAB,
    PALETTE,
    RGB,
    SEPARATED,
    SIGNED,
    WHITE_IS_ZERO,
    TiffLayout,
)
from img2img.image.image import Pixels, white_of
from img2img.image.levels import spread
from img2img.image.pillow import raster_of

ASSOCIATED, STRAIGHT = 1, 2
_EXACT = 2**24  # up to which float32 holds every whole number


def interpret(samples: Pixels, header: Header, layout: TiffLayout) -> Raster:
    """Returns colours and alpha from stored samples."""
    samples = _standard_depth(samples, header, layout)
    colours = {PALETTE: 1, RGB: 3, SEPARATED: 4, LAB: 3, ICC_LAB: 3, WHITE_IS_ZERO: 1, GREY: 1}.get(
        layout.photometric
    )
    if colours is None:
        raise ImageFormatError(f"colours of the kind {layout.photometric} in a TIFF file are not read")
    channels = header.channels
    if channels < colours:
        raise ImageReadError(f"the TIFF file is broken: {channels} channels cannot hold its colours")
    extra = layout.extra[: channels - colours]
    if not extra and channels - colours == 1:
        extra = (STRAIGHT,)  # one more channel that says nothing of itself is alpha
    alpha = None
    for i, meaning in enumerate(extra):
        if meaning in (ASSOCIATED, STRAIGHT):
            at = channels - len(extra) + i
            alpha = np.ascontiguousarray(samples[:, :, at])
            samples = np.delete(samples, at, axis=2)
            if meaning == ASSOCIATED:
                samples = _straight(samples, alpha)
            break
    if layout.photometric == PALETTE:
        return Raster(_paletted(samples, layout), alpha)
    if layout.photometric == SEPARATED:
        if layout.directory.number(INK_SET, 1) != 1 or samples.dtype == np.float32:
            raise ImageFormatError("this TIFF file has inks other than CMYK, which are not read")
        header.warnings.append("the CMYK picture was converted to RGB without its colour profile")
        return Raster(_from_cmyk(samples[:, :, :4]), alpha)
    if layout.photometric in (LAB, ICC_LAB):
        return Raster(_from_lab(samples[:, :, :3], header, layout), alpha)
    if layout.photometric == WHITE_IS_ZERO:
        samples = samples.dtype.type(white_of(samples.dtype)) - samples
    return Raster(np.ascontiguousarray(samples), alpha)


def _standard_depth(samples: Pixels, header: Header, layout: TiffLayout) -> Pixels:
    """Returns the samples as uint8, uint16 or float32."""
    if layout.kind == FLOAT:
        if layout.bits == 64:
            header.warnings.append("floating point numbers of 64 bits were rounded to 32")
        return samples.astype(np.float32)
    if layout.photometric == PALETTE:
        return samples.astype(np.uint16 if layout.bits > 8 else np.uint8)
    if layout.bits > 16 or layout.kind == SIGNED:
        low, high = int(samples.min()), int(samples.max())
        name = f"{'signed ' if layout.kind == SIGNED else ''}{layout.bits}-bit"
        if low < 0 or high > 65535:
            if max(-low, high) > _EXACT:
                raise ImageFormatError(
                    f"this TIFF file holds whole numbers from {low} to {high}; {-_EXACT} to {_EXACT} "
                    "are read, convert it to 16 bits or floating point first"
                )
            header.warnings.append(
                f"{name} numbers ({low} to {high}) were taken as floating point, each as it is"
            )
            return samples.astype(np.float32)
        header.warnings.append(f"{name} numbers were taken as unsigned 16-bit ones")
        return samples.astype(np.uint16)
    return spread(samples.astype(samples.dtype.newbyteorder("="), copy=False), layout.bits)


def _paletted(indices: Pixels, layout: TiffLayout) -> Pixels:
    """Returns the colours of a palette, as grey when it has only greys."""
    entries = layout.directory.numbers(COLOUR_MAP)
    size = 1 << layout.bits
    if len(entries) < 3 * size:
        raise ImageReadError("the TIFF file is broken: its palette is too short")
    table = np.array(entries[: 3 * size], np.uint32).reshape(3, size).T
    if int(table.max()) > 255:  # some old programs wrote 8 bits where 16 belong
        table >>= 8  # right for files that hold v * 256 and for those that hold v * 257
    palette = table.astype(np.uint8)
    if bool((palette == palette[:, :1]).all()):
        palette = palette[:, :1]
    return palette[indices[:, :, 0]]


def _straight(colours: Pixels, alpha: Pixels) -> Pixels:
    """Returns colours that were multiplied with alpha without it; they are black where nothing shows."""
    white = white_of(colours.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        divided = colours.astype(np.float64) * white / alpha[:, :, None]
    divided = np.where(alpha[:, :, None] > 0, divided, 0.0)
    if colours.dtype == np.float32:
        return divided.astype(np.float32)
    return np.clip(divided + 0.5, 0, white).astype(colours.dtype)


def _from_cmyk(inks: Pixels) -> Pixels:
    """Returns RGB as simple arithmetic gives it: what light the inks leave."""
    white = np.uint32(white_of(inks.dtype))
    light = white - inks.astype(np.uint32)
    return ((light[:, :, :3] * light[:, :, 3:] + white // 2) // white).astype(inks.dtype)


def _from_lab(samples: Pixels, header: Header, layout: TiffLayout) -> Pixels:
    """Returns 8-bit RGB; littleCMS knows what white Lab is relative to."""
    from PIL import Image

    if samples.dtype == np.float32:
        raise ImageFormatError("CIE L*a*b* in floating point is not read")
    if samples.dtype == np.uint16:
        header.warnings.append("CIE L*a*b* of 16 bits was cut to 8 and converted to RGB")
        samples = (samples >> 8).astype(np.uint8)
    if layout.photometric == ICC_LAB:
        samples = samples ^ np.array((0, 128, 128), np.uint8)  # a* and b* are signed in the other kind
    height, width = samples.shape[:2]
    return raster_of(Image.frombytes("LAB", (width, height), samples.tobytes())).pixels
