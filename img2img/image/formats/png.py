"""PNG, and the still picture of APNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image, Pixels, white_of
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT"))
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_AFTER_HEADER = 33
_MAX_TEXT = 16 * 2**20  # a profile that inflates to more is a bomb
_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass
class _Chunk:
    kind: bytes
    start: int  # of the length before the kind
    stop: int  # after the checksum
    body: slice


@dataclass
class _Layout:
    pixels: list[_Chunk]  # those that the decoder needs
    colour: int
    depth: int
    palette: bytes
    transparent: bytes


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yields the complete chunks up to the end chunk; the file ends early when that is not among them."""
    at = len(_SIGNATURE)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, at)
        stop = at + 12 + length
        kind = data[at + 4 : at + 8]
        if stop > len(data):
            if kind == b"IEND" or kind not in _PIXELS:
                return
            raise ImageReadError("the PNG file is truncated: it ends within the picture data")
        yield _Chunk(kind, at, stop, slice(at + 8, stop - 4))
        if kind == b"IEND":
            return
        at = stop
    raise ImageReadError(f"the PNG file has more than {MAX_PARTS:,} chunks")


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a PNG file does."""
    return data[:8] == _SIGNATURE


def probe(data: bytes) -> Header:
    """Walks the chunks, without inflating the picture."""
    header: Header | None = None
    pixels: list[_Chunk] = []
    colour, depth, animated = 0, 8, 0
    palette, transparent, kind = b"", b"", b""
    warnings: list[str] = []
    for chunk in _chunks(data):
        kind, body = chunk.kind, data[chunk.body]
        if header is None and kind != b"IHDR":
            raise ImageReadError("the PNG file does not begin with a header")
        if kind in _PIXELS:
            pixels.append(chunk)
        if kind == b"IHDR" and header is None:
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            header = Header(width, height, _CHANNELS.get(colour, 4))
            continue
        assert header is not None
        if kind == b"PLTE":
            palette = body
        elif kind == b"tRNS":
            transparent = body
        elif kind == b"fcTL":
            animated += 1
        elif kind == b"iCCP":
            _, _, rest = body.partition(b"\0")
            header.icc = _inflate(rest[1:], "colour profile", warnings)
        elif kind == b"eXIf":
            header.exif = body
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            _read_text(kind, body, header, warnings)
    if header is None or not any(chunk.kind == b"IDAT" for chunk in pixels):
        raise ImageReadError("the PNG file is truncated: it ends before the picture data")
    if kind != b"IEND":
        warnings.append("the PNG file ends early, after its picture data")
    header.warnings = warnings
    header.frames = max(1, animated)
    header.details = _Layout(pixels, colour, depth, palette, transparent)
    return header


def _inflate(data: bytes, what: str, warnings: list[str]) -> bytes | None:
    """Returns inflated `data`, or None with a warning when it is broken or far too large."""
    try:
        inflater = zlib.decompressobj()
        result = inflater.decompress(data, _MAX_TEXT)
        if inflater.eof:
            return result
    except zlib.error:
        pass
    warnings.append(f"the {what} in the PNG file is broken and was dropped")
    return None


def _read_text(kind: bytes, body: bytes, header: Header, warnings: list[str]) -> None:
    """Takes EXIF and XMP from the text chunks in which older programs keep them."""
    key, _, text = body.partition(b"\0")
    if key not in (b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp"):
        return
    value: bytes | None = text
    if kind == b"iTXt":
        packed, (_, _, rest) = text[:1] == b"\x01", text[2:].partition(b"\0")
        value = rest.partition(b"\0")[2]
        if packed:
            value = _inflate(value, "XMP", warnings)
    elif kind == b"zTXt":
        value = _inflate(text[1:], "text", warnings)
    if value is None:
        return
    if key == b"XML:com.adobe.xmp":
        header.xmp = value
    elif header.exif is None:
        try:  # "\nexif\n<length>\n<hexadecimal digits in lines>"
            header.exif = bytes.fromhex("".join(value.decode("ascii").split("\n")[3:])) or None
        except ValueError:
            warnings.append("the EXIF text in the PNG file is broken and was dropped")


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the still picture.

    The decoder gets nothing but the chunks that make pixels. So it cannot take an animation's frame for
    the picture, nor stumble over a broken profile.
    """
    layout: _Layout = header.details
    by_key = layout.colour == _GREY and len(layout.transparent) >= 2
    chunks = (
        data[chunk.start : chunk.stop] for chunk in layout.pixels if not (by_key and chunk.kind == b"tRNS")
    )
    pixels, alpha = split_bgra(decode_array(b"".join((_SIGNATURE, *chunks, _END))))
    palette = np.frombuffer(layout.palette[: len(layout.palette) // 3 * 3], np.uint8).reshape(-1, 3)
    grey_palette = layout.colour == _PALETTE and bool((palette == palette[:, :1]).all())
    if pixels.shape[2] == 3 and (layout.colour in (_GREY, _GREY_ALPHA) or grey_palette):
        pixels = np.ascontiguousarray(pixels[:, :, :1])
    if by_key:  # one level of grey is transparent; OpenCV does not look for it
        white = int(white_of(pixels.dtype))
        top = (1 << layout.depth) - 1
        key = (int.from_bytes(layout.transparent[:2], "big") & top) * white // top
        alpha = np.where(pixels[:, :, 0] == key, 0, white).astype(pixels.dtype)
    return Raster(pixels, alpha)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a PNG file."""
    return misfit(image, "PNG", dtypes=("uint8", "uint16"), alpha=True, max_side=1_000_000)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    if image.channels == 1 and image.alpha is not None:
        return _encode_grey_alpha(image, image.alpha, options.png_level)
    params = [cv2.IMWRITE_PNG_COMPRESSION, options.png_level]
    data = encode_array(".png", merge_bgra(image.pixels, image.alpha), params)
    return b"".join((data[:_AFTER_HEADER], _metadata(image), data[_AFTER_HEADER:]))


def _metadata(image: Image) -> bytes:
    """Returns the chunks for profile and EXIF; libpng would refuse a profile over its smallest fault."""
    icc = b"" if image.icc is None else _stored(b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc))
    exif = b"" if image.exif is None else _stored(b"eXIf", image.exif)
    return icc + exif


def _stored(kind: bytes, body: bytes) -> bytes:
    """Returns a chunk with its length and checksum."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _encode_grey_alpha(image: Image, alpha: Pixels, level: int) -> bytes:
    """Stores grey with alpha as such, which OpenCV cannot: it would come back with three channels."""
    both = np.dstack((image.pixels, alpha))
    samples = both.astype(both.dtype.newbyteorder(">"), order="C")
    rows = samples.view(np.uint8).reshape(image.height, -1)
    filtered = np.full(
        (image.height, rows.shape[1] + 1), 2, np.uint8
    )  # filter 2: the difference to the row above
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8 * both.dtype.itemsize, _GREY_ALPHA, 0, 0, 0)
    body = _stored(b"IDAT", zlib.compress(filtered.data, level))
    return b"".join((_SIGNATURE, _stored(b"IHDR", header), _metadata(image), body, _END))


FORMAT = Format(
    name="PNG",
    extensions=(".png", ".apng"),
    writes=(".png",),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    max_exif=2**31 - 1,
    max_icc=_MAX_TEXT,
)
