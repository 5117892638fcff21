"""What of a picture's metadata is kept, and what is rewritten so that it stays true."""

from __future__ import annotations

from itertools import islice

from img2img.image import exif as _exif
from img2img.image import xmp as _xmp
from img2img.image.conversion import UNTAGGED, meaning, profile_for, same_colours
from img2img.image.formats.base import EncodeOptions, Format
from img2img.image.icc import profile_of, read_profile
from img2img.image.ifd import BrokenDirectoryError
from img2img.image.image import NO_METADATA, Image

_BROKEN = "is broken"
_SPACES = {b"GRAY": (1,), b"RGB ": (3,), b"CMYK": (4,)}
_MOST_NAMES, _LONGEST = 8, 80  # keywords that a warning shows, and characters of each


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """Returns how a picture has to be turned, 1 to 8: EXIF says so or, when it does not, XMP."""
    found = _exif.orientation(_exif.payload(exif)) if exif else None
    if found is None and xmp:
        found = _xmp.orientation(xmp)
    return found or 1


def with_true_metadata(image: Image) -> Image:
    """Returns `image` with metadata that describes these pixels.

    EXIF and XMP get orientation 1, the true size, the resolution of the container and no outdated thumbnail.
    A colour profile for grey on a picture with colours becomes one for RGB with its curve, and the other way
    round. What cannot be read or fitted goes, with a warning.
    """
    warnings = []
    exif, icc, kept = image.exif, image.icc, image.metadata
    if kept.resolution is not None and not all(0.01 <= value <= 1e6 for value in kept.resolution):
        kept = kept.replace(resolution=None)
        warnings.append("the resolution is no possible one and was dropped")
    if exif is not None:
        try:
            exif = _exif.settled(_exif.payload(exif), image.width, image.height, kept.resolution)
            exif = exif if image.icc or image.space else _exif.in_srgb(exif)
        except BrokenDirectoryError as error:
            exif = None
            warnings.append(f"the EXIF block is broken ({error}) and was dropped")
    if kept.xmp is not None:
        try:
            kept = kept.replace(xmp=_xmp.settled(kept.xmp, image.width, image.height, kept.resolution))
        except _xmp.BrokenPacketError as error:
            kept = kept.replace(xmp=None)
            warnings.append(f"the XMP packet is broken ({error}) and was dropped")
    if icc is not None:
        reason = _profile_misfit(icc, image.channels)
        if reason is not None:
            encoding = read_profile(icc) if image.channels in (1, 3) and reason != _BROKEN else None
            icc = None if encoding is None else profile_for(encoding, image.channels)
            if encoding is None:
                warnings.append(f"the colour profile {reason} and was dropped")
    return image.replace(exif=exif, icc=icc, metadata=kept).warn(*warnings)


def for_format(image: Image, target: Format, options: EncodeOptions) -> Image:
    """Returns `image` with what a file of the format `target` is going to hold of its metadata.

    A colour space that the format cannot name becomes a profile. One warning names everything that does not
    fit. Without its metadata a picture keeps what its colours mean, unless that is sRGB, and that a network
    made it.
    """
    if options.strip_metadata:
        made_by = image.metadata.source_type  # nothing personal, and somebody else's to know
        image = image.replace(exif=None, metadata=NO_METADATA.replace(source_type=made_by))
        if same_colours(meaning(image), UNTAGGED):
            image = image.replace(icc=None, space=None)
    image = with_true_metadata(image)
    image, lost = _with_colours_told(image, target)
    if options.strip_gps and image.exif is not None:
        image = image.replace(exif=_exif.without_gps(image.exif))
    if options.strip_gps:
        image = image.replace(metadata=image.metadata.replace(geo={}))
    kept = image.metadata
    if kept.source_type is not None:
        if target.max_xmp:
            kept = kept.replace(xmp=_xmp.with_source_type(kept.xmp, kept.source_type))
        else:
            lost.append("the mark of what a network made")
        if not options.strip_metadata or not target.max_xmp:  # else XMP goes when this is called again
            kept = kept.replace(source_type=None)
    if options.strip_gps and kept.xmp is not None:
        kept = kept.replace(xmp=_xmp.without_gps(kept.xmp))
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
        if image.exif is None or _exif.resolution(image.exif) is None:  # what EXIF says of it is the same
            lost.append("the resolution")
        kept = kept.replace(resolution=None)
    if "text" not in target.holds:
        held = ("Comment",) if "comment" in target.holds else ()
        fitting = tuple(pair for pair in kept.text if pair[0] in held)
        gone = dict.fromkeys(keyword for keyword, _ in kept.text if keyword not in held)
        if gone:
            names = [repr(keyword[:_LONGEST]) for keyword in islice(gone, _MOST_NAMES)]
            more = len(gone) - len(names)
            lost.append(f"the text {', '.join([*names, *([f'{more} more'] if more else [])])}")
        kept = kept.replace(text=fitting)
    if kept.geo and "geo" not in target.holds:
        kept, lost = kept.replace(geo={}), [*lost, "the GeoTIFF tags"]
    if lost:
        verb = "was" if len(lost) == 1 and lost[0] != "the GeoTIFF tags" else "were"
        article = "an" if target.name[0] in "AEIOU" else "a"
        image = image.warn(
            f"{_listed(lost)} {verb} dropped: {article} {target.name} file does not hold so much of it"
        )
    return image.replace(metadata=kept)


def _with_colours_told(image: Image, target: Format) -> tuple[Image, list[str]]:
    """Returns `image` with a profile where `target` cannot name its colour space, and what gets lost."""
    space = image.space
    if space is None or ("cicp" if space.by_code_points else "gamma") in target.holds:
        return image, []
    image = image.replace(space=None)
    if same_colours((None, space), UNTAGGED):  # which a file without a word means
        return image, []
    icc = profile_of(space, image.channels)
    if icc is None or len(icc) > target.max_icc:
        return image, [f"the colour space ({space})"]
    return image.replace(icc=icc), []


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _profile_misfit(icc: bytes, channels: int) -> str | None:
    """Returns why a profile does not belong to a picture with so many channels, or None when it does."""
    if len(icc) < 132 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") > len(icc):
        return _BROKEN
    space = icc[16:20]
    if space in _SPACES and channels not in _SPACES[space]:
        return f"is one for {space.decode().strip()} while the picture has {channels} channels"
    return None
