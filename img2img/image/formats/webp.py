"""WebP; of an animation the first picture."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import cv2

from img2img.errors import ImageLimitError, ImageReadError
from img2img.image.conversion import as_rgb
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image
from img2img.image.opencv import encode_array, merge_bgra
from img2img.image.pillow import decode_with

_LOSSLESS = 101  # a quality above 100 is how OpenCV is told
_BYTES_PER_PIXEL = 20  # of memory while Pillow decodes
_FREE_BYTES, _PER_BYTE = 950 * 2**20, 400  # of it for every file, and for each byte above a MiB


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a WebP file does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = struct.unpack_from("<I", data, 4)
    stop = size + 8
    if stop > len(data):
        raise ImageReadError(f"the WebP file is truncated: it says {stop:,} bytes and has {len(data):,}")
    return _chunks_between(data, 12, stop)


def _chunks_between(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(MAX_PARTS):
        if at + 8 > stop:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        if not kind.isascii() or not kind.decode().isprintable():
            raise ImageReadError("the WebP file is broken: something else stands where a chunk has its name")
        if at + 8 + length > stop:
            raise ImageReadError("the WebP file is truncated or broken: a chunk goes on behind its end")
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise ImageReadError(f"the WebP file has more than {MAX_PARTS:,} chunks")


def probe(data: bytes) -> Header:
    """Walks the chunks."""
    canvas: tuple[int, int] | None = None
    first: Header | None = None
    blocks: dict[bytes, bytes] = {}
    frames, has_alpha = 0, False
    for kind, body in _chunks(data):
        if kind == b"VP8X" and canvas is None:
            canvas = _size(body, 4)
            has_alpha = bool(body[0] & 0x10)
        elif kind == b"ANMF":
            frames += 1
            if first is None:
                first = _first_frame(body, canvas)
        elif kind in _PICTURES and first is None:
            first = _PICTURES[kind](body)
        elif kind in (b"ICCP", b"EXIF", b"XMP "):
            blocks.setdefault(kind, body)
    if first is None:
        raise ImageReadError("the WebP file holds no picture")
    return Header(
        max(first.width, canvas[0] if canvas else 0),
        max(first.height, canvas[1] if canvas else 0),
        channels=4 if has_alpha else first.channels,
        frames=max(1, frames),
        icc=blocks.get(b"ICCP"),
        exif=blocks.get(b"EXIF"),
        xmp=blocks.get(b"XMP "),
        lossless=first.lossless,
        details=frames > 0 or canvas in (None, (first.width, first.height)),  # whether both sizes agree
    )


def _size(body: bytes, at: int) -> tuple[int, int]:
    if len(body) < at + 6:
        raise ImageReadError("the WebP file is broken: a chunk is too short")
    return 1 + int.from_bytes(body[at : at + 3], "little"), 1 + int.from_bytes(
        body[at + 3 : at + 6], "little"
    )


def _lossy(body: bytes) -> Header:
    width, height = struct.unpack_from("<HH", body, 6)
    return Header(width & 0x3FFF, height & 0x3FFF)


def _lossless(body: bytes) -> Header:
    (bits,) = struct.unpack_from("<I", body, 1)
    return Header(
        1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), channels=4 if bits >> 28 & 1 else 3, lossless=True
    )


_PICTURES = {b"VP8 ": _lossy, b"VP8L": _lossless}


def _first_frame(body: bytes, canvas: tuple[int, int] | None) -> Header:
    """Returns what the first frame of an animation is; it has to lie within the canvas."""
    width, height = _size(body, 6)
    left, top = (2 * int.from_bytes(body[at : at + 3], "little") for at in (0, 3))
    if canvas is None or left + width > canvas[0] or top + height > canvas[1]:
        raise ImageReadError("the WebP file is broken: its first frame lies outside of the picture")
    for kind, content in _chunks_between(body, 16, len(body)):
        if kind in _PICTURES:
            frame = _PICTURES[kind](content)
            if (frame.width, frame.height) == (width, height):
                return frame
            break
    raise ImageReadError("the WebP file is broken: its first frame holds no picture of its size")


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the first picture, with Pillow: OpenCV returns one also where libwebp gave up half way."""
    if not header.details:
        raise ImageReadError("the WebP file is broken: its header and its picture differ in size")
    size = _BYTES_PER_PIXEL * header.width * header.height
    if size > _FREE_BYTES + _PER_BYTE * max(0, len(data) - 2**20):
        raise ImageLimitError(
            f"the file has {len(data):,} bytes and takes {size:,} to decode, as files do that are made to "
            "fill the memory; save it again as PNG if you trust it"
        )
    from PIL.WebPImagePlugin import WebPImageFile

    return decode_with(WebPImageFile, data)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a WebP file. Grey fits, and comes back as three equal channels."""
    return misfit(image, "WebP", alpha=True, max_side=16383)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    image = as_rgb(image)  # as grey is stored here; so its profile has to be one for RGB
    names = image.palette is not None  # of classes: none may become another
    lossless = image.lossless if names or options.lossless is None else options.lossless
    if lossless and image.alpha is not None and not image.alpha.all():
        data = _exact(image)
    else:
        params = [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS if lossless else options.quality]
        data = encode_array(".webp", merge_bgra(image.pixels, image.alpha), params)
    return _with_metadata(data, image) if image.icc or image.exif or image.metadata.xmp else data


def _exact(image: Image) -> bytes:
    """Stores without loss also the colours that cannot be seen; OpenCV's encoder makes them black."""
    from PIL.Image import fromarray

    merged = merge_bgra(image.pixels, image.alpha)
    buffer = io.BytesIO()
    fromarray(cv2.cvtColor(merged, cv2.COLOR_BGRA2RGBA)).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def _with_metadata(data: bytes, image: Image) -> bytes:
    """Returns a WebP file in the extended form: the profile before the picture, EXIF and XMP after it."""
    xmp = image.metadata.xmp
    flags = 0x20 * bool(image.icc) | 0x08 * bool(image.exif) | 0x04 * bool(xmp)
    size = (image.width - 1).to_bytes(3, "little") + (image.height - 1).to_bytes(3, "little")
    pictures = [(kind, body) for kind, body in _chunks(data) if kind in (b"ALPH", *_PICTURES)]
    if any(kind == b"ALPH" or (kind == b"VP8L" and _lossless(body).channels == 4) for kind, body in pictures):
        flags |= 0x10
    chunks = [(b"VP8X", bytes((flags, 0, 0, 0)) + size)]
    chunks += [(b"ICCP", image.icc)] if image.icc else []
    chunks += pictures
    chunks += [(b"EXIF", image.exif)] if image.exif else []
    chunks += [(b"XMP ", xmp)] if xmp else []
    content = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks
    )
    return struct.pack("<4sI", b"RIFF", len(content)) + content


FORMAT = Format(
    name="WebP",
    extensions=(".webp",),
    writes=(".webp",),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    max_exif=2**31 - 1,
    max_icc=2**31 - 1,
    max_xmp=2**31 - 1,
)
