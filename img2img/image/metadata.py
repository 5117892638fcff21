"""What of a picture's metadata is kept, and what is rewritten so that it stays true."""

from __future__ import annotations

import re

from img2img.image import exif as _exif
from img2img.image.formats.base import EncodeOptions, Format
from img2img.image.ifd import BrokenDirectoryError
from img2img.image.image import NO_METADATA, Image

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
    """Returns `image` with what a file of the format `target` is going to hold of its metadata.

    One warning names everything that does not fit.
    """
    if options.strip_metadata:
        return image.replace(exif=None, icc=None, space=None, metadata=NO_METADATA)
    image = with_true_metadata(image)
    if options.strip_gps and image.exif is not None:
        image = image.replace(exif=_exif.without_gps(image.exif))
    kept, lost = image.metadata, []
    for name, block, most in (
        ("the EXIF block", image.exif, target.max_exif),
        ("the colour profile", image.icc, target.max_icc),
        ("XMP", kept.xmp, target.max_xmp),
        ("IPTC", kept.iptc, target.max_iptc),
    ):
        if block is not None and len(block) > most:
            lost.append(name)
    image = image.replace(
        exif=None if "the EXIF block" in lost else image.exif,
        icc=None if "the colour profile" in lost else image.icc,
    )
    kept = kept.replace(xmp=None if "XMP" in lost else kept.xmp, iptc=None if "IPTC" in lost else kept.iptc)
    if kept.resolution is not None and "resolution" not in target.holds:
        kept, lost = kept.replace(resolution=None), [*lost, "the resolution"]
    if "text" not in target.holds:
        comments = [pair for pair in kept.text if pair[0] == "Comment"]
        fitting = tuple(comments[:1]) if "comment" in target.holds else ()
        gone = dict.fromkeys(keyword for keyword, _ in kept.text if (keyword, _) not in fitting)
        if gone:
            lost.append(f"the text {', '.join(map(repr, gone))}")
        kept = kept.replace(text=fitting)
    if kept.geo and "geo" not in target.holds:
        kept, lost = kept.replace(geo={}), [*lost, "the GeoTIFF tags"]
    if lost:
        verb = "was" if len(lost) == 1 and lost[0] != "the GeoTIFF tags" else "were"
        image = image.warn(
            f"{_listed(lost)} {verb} dropped: a {target.name} file does not hold so much of it"
        )
    return image.replace(metadata=kept)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _profile_misfit(icc: bytes, channels: int) -> str | None:
    """Returns why a profile does not belong to a picture with so many channels, or None when it does."""
    if len(icc) < 132 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") > len(icc):
        return "is broken"
    space = icc[16:20]
    if space in _SPACES and channels not in _SPACES[space]:
        return f"is one for {space.decode().strip()} while the picture has {channels} channels"
    return None
