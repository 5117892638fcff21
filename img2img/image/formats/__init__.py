"""Every kind of image file that is known, one module each.

Magic bytes decide what a file is; its name only says what a new file shall be.
"""

from __future__ import annotations

from img2img.errors import ImageFormatError
from img2img.files import LFS_POINTER
from img2img.image.formats import avif, bmp, gif, heic, jpeg, jpeg2000, jpegxl, png, pnm, tiff, webp
from img2img.image.formats.base import Format

FORMATS: tuple[Format, ...] = (
    jpeg.FORMAT,
    png.FORMAT,
    webp.FORMAT,
    avif.FORMAT,
    heic.FORMAT,
    tiff.FORMAT,
    bmp.FORMAT,
    gif.FORMAT,
    jpeg2000.FORMAT,
    jpegxl.FORMAT,
    pnm.FORMAT,
)
BY_EXTENSION: dict[str, Format] = {extension: f for f in FORMATS for extension in f.extensions}
READABLE = frozenset(BY_EXTENSION)
WRITABLE = frozenset(extension for f in FORMATS for extension in f.writes)

# What people have in their folders and may expect to work, by its first bytes: they get its name.
_STRANGERS: tuple[tuple[bytes, int, str], ...] = (
    (b"8BPS", 0, "a Photoshop document"),
    (b"gimp xcf", 0, "a GIMP document"),
    (b"%PDF", 0, "a PDF document"),
    (b"%!PS", 0, "a PostScript document"),
    (b"\x00\x00\x01\x00", 0, "a Windows icon"),
    (b"icns", 0, "an Apple icon"),
    (b"DDS ", 0, "a DirectDraw texture"),
    (b"v/1\x01", 0, "an OpenEXR picture"),
    (b"#?RADIANCE", 0, "a Radiance picture"),
    (b"qoif", 0, "a QOI picture"),
    (b"II\xbc", 0, "a JPEG XR picture"),
    (b"BA", 0, "an OS/2 bitmap array"),
    (b"PK\x03\x04", 0, "a zip archive"),
    (b"\x1f\x8b", 0, "a gzip archive"),
)


def recognise(data: bytes) -> Format:
    """Returns the format whose magic bytes `data` starts with.

    Raises:
        ImageFormatError: There is none; the message names the kind of file where it is known.
    """
    for f in FORMATS:
        if f.matches(data):
            return f
    known = ", ".join(f.name for f in FORMATS)
    for magic, at, name in _STRANGERS:
        if data[at : at + len(magic)] == magic:
            raise ImageFormatError(f"this is {name}, which is not read; convert it to one of {known} first")
    if data.startswith(LFS_POINTER):
        raise ImageFormatError("this is a pointer of Git LFS; fetch the picture itself: git lfs pull")
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise ImageFormatError("this is a web page, as servers send in place of a picture; download it again")
    if head.startswith((b"<?xml", b"<svg")):
        raise ImageFormatError(
            f"this is an SVG drawing, which is not read; render it to one of {known} first"
        )
    raise ImageFormatError(f"this is not an image of a kind that is read ({known}), whatever its name says")
