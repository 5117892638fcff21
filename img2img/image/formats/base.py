"""What every file format provides."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from img2img.image.colour import ColourSpace
from img2img.image.ifd import IfdEntry
from img2img.image.image import Image, Metadata, Pixels

MAX_PARTS = 1_000_000
"""Chunks, segments or blocks that a header may take: far above any real file, and soon counted."""


@dataclass(frozen=True)
class EncodeOptions:
    """How pictures are stored.

    Attributes:
        quality: 1 to 100, for the lossy formats JPEG, WebP and AVIF.
        lossless: True stores WebP without loss, and AVIF with the least that the encoder knows; False goes by
            `quality`; None, when neither was chosen, stores without loss what was stored so before (see
            `Image.lossless`), and goes by `quality` otherwise.
        jpeg_sampling: How JPEG stores colour: "4:2:0" (half the resolution each way, as cameras and other
            programs do), "4:2:2" or "4:4:4" (full resolution; half as slow again and about a tenth larger).
        png_level: zlib effort for PNG, 0 to 9.
        strip_metadata: Store no metadata but that a network made the picture; of colours only what they mean,
            and nothing where that is sRGB.
        strip_gps: Store EXIF without the place.
    """

    quality: int = 95
    lossless: bool | None = None
    jpeg_sampling: str = "4:2:0"
    png_level: int = 3
    strip_metadata: bool = False
    strip_gps: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be 1 to 100, not {self.quality}")
        if not 0 <= self.png_level <= 9:
            raise ValueError(f"png_level must be 0 to 9, not {self.png_level}")
        if self.jpeg_sampling not in ("4:2:0", "4:2:2", "4:4:4"):
            raise ValueError(f"jpeg_sampling must be 4:2:0, 4:2:2 or 4:4:4, not {self.jpeg_sampling!r}")


@dataclass
class Header:
    """What is known of a file before anything is decoded.

    Attributes:
        width: Of the stored picture, before it is turned upright.
        height: Of the same.
        channels: Colour channels and alpha together, as far as the limits need it.
        frames: Pictures in the file.
        icc: The ICC profile.
        exif: The EXIF block, with or without "Exif\\0\\0" before it.
        space: The colour space, where the file names it without a profile.
        xmp: The XMP packet.
        iptc: See `Metadata`, as the next three.
        resolution: Pixels per inch.
        text: Keywords and texts.
        geo: GeoTIFF tags.
        sample_bytes: Bytes of one decoded number.
        lossless, jpeg_quality: See `Image`.
        orientation: 1 to 8 when the container itself says how to turn the picture; it then wins.
        warnings: Sentences about what is unusual in this file.
        details: What `decode` of the same format wants to know again.
    """

    width: int
    height: int
    channels: int = 3
    frames: int = 1
    icc: bytes | None = None
    exif: bytes | None = None
    space: ColourSpace | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    text: list[tuple[str, str]] = field(default_factory=list)
    geo: dict[int, IfdEntry] = field(default_factory=dict)
    sample_bytes: int = 1
    lossless: bool = False
    jpeg_quality: int | None = None
    orientation: int | None = None
    warnings: list[str] = field(default_factory=list)
    details: Any = None

    @property
    def metadata(self) -> Metadata:
        """Everything beside EXIF and colours."""
        return Metadata(self.xmp, self.iptc, self.resolution, tuple(self.text), dict(self.geo))


@dataclass(frozen=True)
class Raster:
    """Decoded pixels as stored, not yet upright: colours in RGB order (H, W, C), and alpha (H, W)."""

    pixels: Pixels
    alpha: Pixels | None = None


@dataclass(frozen=True)
class Format:
    """One kind of image file.

    Attributes:
        name: For people.
        extensions: Lower case with the dot; every name under which such files are found.
        writes: Those of them under which it is written.
        matches: Whether bytes start as such a file does.
        probe: Reads the header, allocating nothing that grows with the picture. Raises ImageReadError; a
            ValueError, IndexError, KeyError or struct.error from it means a broken header as well.
        decode: Decodes the first picture; called only after the limits were checked.
        encode: Stores a picture that `fit_reason` accepts, with the metadata in it.
        fit_reason: Why a picture cannot be stored in this format under this extension, or None.
        isolated: Whether a file with this header is decoded in a process of its own: its decoder may take
            time or memory that do not follow from the size of file and picture, may crash, or says only on
            the standard error stream what is wrong (see `img2img.image.isolation`).
        harmless: What a decoder may write there about an intact picture; anything else is a failure.
        max_exif: Bytes of EXIF that fit in; 0 when the format holds none.
        max_icc: Bytes of ICC profile that fit in; 0 when the format holds none.
        max_xmp: Bytes of XMP that fit in; 0 when the format holds none.
        max_iptc: Bytes of IPTC records that fit in; 0 when the format holds none.
        holds: Which of "cicp", "gamma", "resolution", "text", "comment" and "geo" fit in; "comment" is text
            with the keyword "Comment" alone.
    """

    name: str
    extensions: tuple[str, ...]
    matches: Callable[[bytes], bool]
    probe: Callable[[bytes], Header]
    decode: Callable[[bytes, Header], Raster]
    writes: tuple[str, ...] = ()
    encode: Callable[[Image, str, EncodeOptions], bytes] | None = None
    fit_reason: Callable[[Image, str], str | None] | None = None
    isolated: Callable[[Header], bool] = lambda header: False
    harmless: re.Pattern[str] | None = None
    max_exif: int = 0
    max_icc: int = 0
    max_xmp: int = 0
    max_iptc: int = 0
    holds: frozenset[str] = frozenset()


def misfit(
    image: Image,
    name: str,
    *,
    dtypes: tuple[str, ...] = ("uint8",),
    channels: tuple[int, ...] | None = (1, 3),
    alpha: bool = False,
    grey_alpha: bool = True,
    max_side: int | None = None,
) -> str | None:
    """Returns the sentence for the first thing about `image` that a format cannot hold, or None.

    Args:
        image: The picture.
        name: The format, for the sentence.
        dtypes: Pixel types that it holds.
        channels: Numbers of colour channels that it holds; None for any.
        alpha: Whether it holds alpha.
        grey_alpha: Whether it holds alpha beside one grey channel.
        max_side: The largest width or height.
    """
    depth = image.pixels.dtype.name
    if depth not in dtypes:
        return f"{name} holds {' or '.join(dtypes)}, and the picture is {depth}"
    if channels is not None and image.channels not in channels:
        return (
            f"{name} holds {' or '.join(map(str, channels))} channels, and the picture has {image.channels}"
        )
    if image.alpha is not None and not (alpha and (grey_alpha or image.channels != 1)):
        return f"{name} holds no alpha{' beside grey' if alpha else ''}"
    if max_side is not None and max(image.width, image.height) > max_side:
        size = f"{image.width} x {image.height}"
        return f"{name} holds at most {max_side} pixels a side, and the picture is {size}"
    return None
