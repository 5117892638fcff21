"""What the file boundary and the batch engine hand around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as _replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2img.image import geo as _geo
from img2img.image.colour import ColourSpace
from img2img.image.ifd import IfdEntry

Pixels = NDArray[Any]
DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
UNTOUCHED = "untouched"
"""What `Image.made_by` says of a picture that was left as it is."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture beside EXIF and colours; formats hold different parts of it.

    Attributes:
        xmp: The XMP packet, without what containers put before it.
        iptc: IPTC-IIM records as they are in a Photoshop resource 0x0404 or TIFF tag 33723.
        resolution: Pixels per inch across and down, where the container says it outside of EXIF.
        text: Pairs of keyword and text, as PNG has them; what JPEG and GIF call a comment has the keyword
            "Comment".
        geo: The GeoTIFF tags, by number, in Intel's byte order.
        source_type: What made the picture, where a file is to say that: a term of `img2img.image.xmp`.
    """

    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    geo: Mapping[int, IfdEntry] = field(default_factory=dict)
    source_type: str | None = None

    def replace(self, **changes: Any) -> Metadata:
        """Returns a copy with some attributes exchanged."""
        return _replace(self, **changes)

    def resized(self, across: float, down: float) -> Metadata:
        """Returns what is true of the picture when it is so many times as wide and as high."""
        return self.replace(geo=_geo.resized(self.geo, across, down)) if self.geo else self


NO_METADATA = Metadata()


@dataclass(frozen=True, eq=False)
class Image:
    """One picture with everything that has to survive the way through a folder.

    Attributes:
        pixels: (H, W, C) with C >= 1, in RGB order; uint8 (0 to 255), uint16 (0 to 65535) or float32
            (0 to 1 is black to white; values outside are kept). H and W are at least 1. What a file was
            decoded to is C-contiguous; what a processor makes may have any strides.
        alpha: (H, W) of the dtype of `pixels`, straight (not premultiplied), or None when there is none.
        icc: The bytes of the ICC profile, or None.
        exif: The bytes of the EXIF block, starting with the TIFF header ("II" or "MM"), or None.
            The pixels already stand upright, and the orientation tag in it says so.
        space: What the numbers mean where the file says it in numbers rather than by a profile; None where
            `icc` says it, or nothing does.
        metadata: Everything else that the file says.
        lossless: Whether it comes from a file without loss of a format that also has a lossy kind, as WebP.
            What becomes of it is stored without loss, too, unless a quality is chosen.
        jpeg_quality: 1 to 100 for a picture from a JPEG file, by its quantization table; else None. It tells
            of the file, not of pictures that were compressed before and stored otherwise since, or resized.
        warnings: Sentences about what could not be kept, for the report.
        palette: The colours of a label map, in the order of the numbers of its classes. A PNG file then holds
            these numbers; None for other pictures.
        name: What it is called among the pictures of a folder: the path below that folder, without extension,
            written with "/". Empty where nobody said. Only what is drawn at random for it depends on it.
        made_by: Where what makes it had a choice for each picture, the name of what it took, or UNTOUCHED.

    Raises:
        ValueError: A shape or dtype breaks the contract above.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    warnings: tuple[str, ...] = ()
    space: ColourSpace | None = None
    metadata: Metadata = NO_METADATA
    lossless: bool = False
    name: str = ""
    jpeg_quality: int | None = None
    made_by: str = ""
    palette: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or 0 in self.pixels.shape:
            raise ValueError(f"pixels must be (H, W, C) with no empty side, not {self.pixels.shape}")
        if self.pixels.dtype not in DTYPES:
            raise ValueError(f"pixels must be uint8, uint16 or float32, not {self.pixels.dtype}")
        if self.alpha is not None and (
            self.alpha.shape != self.pixels.shape[:2] or self.alpha.dtype != self.pixels.dtype
        ):
            raise ValueError(
                f"alpha must be {self.pixels.shape[:2]} {self.pixels.dtype} like the pixels, "
                f"not {self.alpha.shape} {self.alpha.dtype}"
            )

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """Colour channels, alpha not counted."""
        return int(self.pixels.shape[2])

    @property
    def white(self) -> float:
        """The value that stands for white (and for opaque) in this dtype: 255, 65535 or 1."""
        return white_of(self.pixels.dtype)

    def replace(self, **changes: Any) -> Image:
        """Returns a copy with some attributes exchanged."""
        return _replace(self, **changes)

    def moved(self) -> Image:
        """Returns a copy for pixels that lie elsewhere: without GeoTIFF tags, and a warning says so."""
        if not self.metadata.geo:
            return self
        return self.replace(metadata=self.metadata.replace(geo={})).warn(_geo.DROPPED)

    def warn(self, *sentences: str) -> Image:
        """Returns a copy with `sentences` added to the warnings."""
        return _replace(self, warnings=(*self.warnings, *sentences))


def white_of(dtype: np.dtype[Any]) -> float:
    """Returns what stands for white in `dtype`: 255, 65535 or 1.0."""
    return 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
