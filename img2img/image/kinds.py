"""Kinds of pictures that people have and that are not read, by the extensions of their files."""

from __future__ import annotations

from img2img.image.formats import READABLE

# Most of these begin like a TIFF whose first picture is a thumbnail: their name has to tell.
_CAMERAS = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".iiq", ".kdc", ".mef", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
_OTHERS = (
    ".svg", ".svgz", ".psd", ".psb", ".xcf", ".tga", ".ico", ".icns",
    ".cur", ".dds", ".exr", ".hdr", ".eps", ".ai", ".pdf", ".pcx", ".sgi", ".xbm", ".xpm", ".dng", ".jls",
    ".jxr", ".wdp", ".qoi", ".ora", ".kra", ".dcm", ".fits",
)  # fmt: skip

RAW = frozenset(_CAMERAS) - READABLE
"""The extensions of cameras' own formats, which are refused by name."""

NOT_READ = {
    extension: f"{extension[1:].upper()}{' (camera raw)' if extension in RAW else ''}"
    for extension in (*_CAMERAS, *_OTHERS)
    if extension not in READABLE
}
"""What each kind is called, by extension. What is in a file is told by its first bytes, `RAW` apart."""
