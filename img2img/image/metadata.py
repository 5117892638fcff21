"""What of a picture's metadata is kept, and what is rewritten so that it stays true."""

from __future__ import annotations

import re

from img2img.image import exif as _exif
from img2img.image.formats.base import EncodeOptions, Format
from img2img.image.ifd import BrokenDirectoryError
from img2img.image.image import Image

_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")
_SPACES = {b"GRAY": (1,), b"RGB ": (3,), b"CMYK": (4,)}


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Returns how a picture has to be turned, 1 to 8: EXIF says so or, when it does not, XMP."""
    found = _exif.orientation(_exif.payload(exif)) if exif else None
    if found is None and xmp and (match := _XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return found or 1


def with_true_metadata(image: Image) -> Image:
    """Returns `image` with metadata that describes these pixels.

    EXIF gets orientation 1, the true size and no outdated thumbnail. A block that cannot be read goes, and so
    does a colour profile for another kind of picture; a warning says so.
    """
    warnings = []
    exif, icc = image.exif, image.icc
    if exif is not None:
        try:
            exif = _exif.settled(_exif.payload(exif), image.width, image.height)
        except BrokenDirectoryError as error:
            exif = None
            warnings.append(f"the EXIF block is broken ({error}) and was dropped")
    if icc is not None:
        reason = _profile_misfit(icc, image.channels)
        if reason is not None:
            icc = None
            warnings.append(f"the colour profile {reason} and was dropped")
    return image.replace(exif=exif, icc=icc).warn(*warnings)


def for_format(image: Image, target: Format, options: EncodeOptions) -> Image:
    """Returns `image` with the metadata that a file of the format `target` is going to hold."""
    if options.strip_metadata:
        return image.replace(exif=None, icc=None)
    image = with_true_metadata(image)
    if options.strip_gps and image.exif is not None:
        image = image.replace(exif=_exif.without_gps(image.exif))
    lost = []
    if image.exif is not None and len(image.exif) > target.max_exif:
        image, lost = image.replace(exif=None), ["the EXIF block"]
    if image.icc is not None and len(image.icc) > target.max_icc:
        image, lost = image.replace(icc=None), [*lost, "the colour profile"]
    if lost:
        amount = "so much of it" if target.max_exif else "any"
        image = image.warn(f"{' and '.join(lost)} was dropped: a {target.name} file does not hold {amount}")
    return image


def _profile_misfit(icc: bytes, channels: int) -> str | None:
    """Returns why a profile does not belong to a picture with so many channels, or None when it does."""
    if len(icc) < 132 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") > len(icc):
        return "is broken"
    space = icc[16:20]
    if space in _SPACES and channels not in _SPACES[space]:
        return f"is one for {space.decode().strip()} while the picture has {channels} channels"
    return None
