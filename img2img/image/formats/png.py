"""PNG, and the still picture of APNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from img2img.errors import ImageReadError
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.png_metadata import BUDGET, MetadataReader, chunk_of, metadata_chunks
from img2img.image.image import Image, Pixels, white_of
from img2img.image.levels import channels_of, looked_up, opacity
from img2img.image.opencv import decode_array, encode_array, merge_bgra, split_bgra

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT"))
_HARMLESS = frozenset(
    (b"acTL", b"bKGD", b"hIST", b"sBIT", b"sPLT", b"tIME")
)  # not read, nothing of the pixels
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_AFTER_HEADER = 33
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 3, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}


@dataclass
class _Chunk:
    kind: bytes
    start: int  # of the length before the kind
    stop: int  # after the checksum

    def body(self, data: bytes) -> bytes:
        return data[self.start + 8 : self.stop - 4]

    def is_intact(self, data: bytes) -> bool:
        """Returns whether its checksum is right."""
        told = int.from_bytes(data[self.stop - 4 : self.stop], "big")
        return zlib.crc32(memoryview(data)[self.start + 4 : self.stop - 4]) == told


@dataclass
class _PngLayout:
    samples: list[_Chunk]  # the picture data
    head: bytes
    colour: int
    depth: int
    palette: Pixels = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    transparent: bytes | None = None


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
            if kind not in _PIXELS:
                return
            raise ImageReadError("the PNG file is truncated: it ends within the picture data")
        yield _Chunk(kind, at, stop)
        if kind == b"IEND":
            return
        at = stop
    raise ImageReadError(f"the PNG file has more than {MAX_PARTS:,} chunks")


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a PNG file does."""
    return data[:8] == _SIGNATURE


def probe(data: bytes) -> Header:
    """Walks the chunks, without inflating the picture."""
    chunks = _chunks(data)
    header, layout = _start(data, next(chunks, None))
    metadata = MetadataReader(header)
    frames, shown, kind = 0, False, b""
    for chunk in chunks:
        kind = chunk.kind
        if kind == b"IDAT":
            layout.samples.append(chunk)
        elif kind == b"fcTL":
            frames += 1
            shown = shown or not layout.samples  # the still picture is the first of the animation
        elif kind in (b"fdAT", b"IEND"):
            continue
        elif not chunk.is_intact(data):
            if kind in _PIXELS or (not layout.samples and kind not in _HARMLESS and not metadata.knows(kind)):
                raise ImageReadError("the PNG file is broken: a checksum before its picture is wrong")
            if metadata.knows(kind):
                metadata.warn("the checksum of some metadata in the PNG file is wrong; they were dropped")
        elif kind == b"IHDR":
            raise ImageReadError("the PNG file is broken: it has two headers")
        elif kind == b"PLTE" and layout.colour == _PALETTE:
            if len(layout.palette) or layout.samples:
                raise ImageReadError("the PNG file is broken: it has two palettes, or one behind its picture")
            layout.palette = _palette(chunk.body(data))
            header.channels = channels_of(layout.palette)
        elif kind == b"tRNS" and layout.transparent is None and not layout.samples:
            layout.transparent = chunk.body(data)
        elif metadata.knows(kind):
            metadata.take(kind, chunk.body(data))
    if not layout.samples:
        raise ImageReadError("the PNG file is truncated: it ends before the picture data")
    if layout.colour == _PALETTE and not len(layout.palette):
        raise ImageReadError("the PNG file is broken: its palette is missing")
    if kind != b"IEND":
        metadata.warn("the PNG file ends early, after its picture data")
    metadata.finish()
    if layout.transparent is not None and layout.colour in (_GREY, _RGB, _PALETTE):
        header.channels += 1
    header.frames = max(1, frames + (not shown))
    return header


def _start(data: bytes, chunk: _Chunk | None) -> tuple[Header, _PngLayout]:
    """Reads the header chunk."""
    if chunk is None or chunk.kind != b"IHDR":
        raise ImageReadError("the PNG file does not begin with a header")
    if not chunk.is_intact(data):
        raise ImageReadError("the PNG file is broken: the checksum of its header is wrong")
    head = chunk.body(data)
    width, height, depth, colour = struct.unpack_from(">IIBB", head)
    if depth not in _DEPTHS.get(colour, ()) or len(head) != 13:
        raise ImageReadError(f"the header of the PNG file is broken: {depth} bits of colour type {colour}")
    layout = _PngLayout([], head, colour, depth)
    header = Header(width, height, _CHANNELS[colour], sample_bytes=1 if depth < 16 else 2, details=layout)
    return header, layout


def _palette(body: bytes) -> Pixels:
    """Returns the colours (N, 3) of a palette chunk."""
    if not 3 <= len(body) <= 768 or len(body) % 3:
        raise ImageReadError(f"the palette of the PNG file is broken: it has {len(body)} bytes")
    return np.frombuffer(body, np.uint8).reshape(-1, 3)


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the still picture.

    The decoder gets nothing but header and picture data. So it cannot take an animation's frame for the
    picture, nor stumble over a broken profile, nor keep to itself that palette or transparency do not fit.
    """
    layout: _PngLayout = header.details
    if not all(chunk.is_intact(data) for chunk in layout.samples):
        raise ImageReadError("the PNG file is broken: the checksum of its picture data is wrong")
    head = layout.head
    if layout.colour == _PALETTE:  # indices are decoded as levels of grey
        head = head[:9] + bytes((_GREY,)) + head[10:]
    samples = (data[chunk.start : chunk.stop] for chunk in layout.samples)
    array = decode_array(b"".join((_SIGNATURE, chunk_of(b"IHDR", head), *samples, _END)))
    if layout.colour == _PALETTE:
        step = np.uint8(255 // ((1 << layout.depth) - 1))
        return _coloured(array[:, :, 0] // step if step > 1 else array[:, :, 0], layout, header)
    pixels, alpha = split_bgra(array)
    if layout.colour in (_GREY, _GREY_ALPHA):
        pixels = np.ascontiguousarray(pixels[:, :, :1])
    if layout.transparent is not None and alpha is None:
        alpha = _by_key(pixels, layout.transparent, layout.depth)
    return Raster(pixels, alpha)


def _coloured(indices: Pixels, layout: _PngLayout, header: Header) -> Raster:
    """Looks up the colours of `indices` (H, W); a palette of greys makes one channel."""
    if int(indices.max()) >= len(layout.palette):
        header.warnings.append("some pixels of the PNG file are of no colour in its palette and became black")
    alpha = None
    if layout.transparent:
        alpha = opacity(indices, np.frombuffer(layout.transparent[:256], np.uint8))
    return Raster(looked_up(indices, layout.palette), alpha)


def _by_key(pixels: Pixels, transparent: bytes, depth: int) -> Pixels:
    """Returns the alpha of a picture of which one colour is transparent; OpenCV misses a grey one."""
    channels = pixels.shape[2]
    if len(transparent) != 2 * channels:
        size = len(transparent)
        raise ImageReadError(f"the transparent colour of the PNG file is broken: it has {size} bytes")
    white, top = int(white_of(pixels.dtype)), (1 << depth) - 1
    key = [(value & top) * white // top for value in struct.unpack(f">{channels}H", transparent)]
    return np.where((pixels == np.array(key, pixels.dtype)).all(2), 0, white).astype(pixels.dtype)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a PNG file."""
    return misfit(image, "PNG", dtypes=("uint8", "uint16"), alpha=True, max_side=1_000_000)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    if image.channels == 1 and image.alpha is not None:
        return _encode_grey_alpha(image, image.alpha, options.png_level)
    if image.palette is not None and (numbers := _numbers(image, image.palette)) is not None:
        return _encode_numbers(image, numbers, image.palette, options.png_level)
    params = [cv2.IMWRITE_PNG_COMPRESSION, options.png_level]
    data = encode_array(".png", merge_bgra(image.pixels, image.alpha), params)
    return b"".join((data[:_AFTER_HEADER], metadata_chunks(image), data[_AFTER_HEADER:]))


def _numbers(image: Image, palette: Sequence[Sequence[int]]) -> Pixels | None:
    """Returns the places of all colours in `palette` (H, W); None where it lacks one, or there is alpha."""
    pixels = image.pixels
    if image.alpha is not None or pixels.dtype != np.uint8 or pixels.shape[2] != 3 or len(palette) > 256:
        return None
    codes = pixels @ np.array((65536, 256, 1), np.int32)
    known = np.array(palette, np.int32) @ np.array((65536, 256, 1), np.int32)
    order = known.argsort(kind="stable")
    places = np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)
    numbers = order[places]
    return numbers.astype(np.uint8) if (known[numbers] == codes).all() else None


def _encode_numbers(image: Image, numbers: Pixels, palette: Sequence[Sequence[int]], level: int) -> bytes:
    """Stores a map of the numbers of classes (H, W) with the colours that they stand for."""
    rows = np.zeros((image.height, image.width + 1), np.uint8)  # the first column: rows are not filtered
    rows[:, 1:] = numbers
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, _PALETTE, 0, 0, 0)
    colours = chunk_of(b"PLTE", np.array(palette, np.uint8).tobytes())
    body = chunk_of(b"IDAT", zlib.compress(rows.data, level))
    return b"".join((_SIGNATURE, chunk_of(b"IHDR", header), metadata_chunks(image), colours, body, _END))


def _encode_grey_alpha(image: Image, alpha: Pixels, level: int) -> bytes:
    """Stores grey with alpha as such, which OpenCV cannot: it would come back with three channels."""
    both = np.dstack((image.pixels, alpha))
    samples = both.astype(both.dtype.newbyteorder(">"), order="C")
    rows = samples.view(np.uint8).reshape(image.height, -1)
    filter_up = 2  # the difference to the row above
    filtered = np.full((image.height, rows.shape[1] + 1), filter_up, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8 * both.dtype.itemsize, _GREY_ALPHA, 0, 0, 0)
    body = chunk_of(b"IDAT", zlib.compress(filtered.data, level))
    return b"".join((_SIGNATURE, chunk_of(b"IHDR", header), metadata_chunks(image), body, _END))


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
    max_icc=BUDGET,
    max_xmp=BUDGET,
    max_iptc=BUDGET // 4,  # stored as two digits a byte
    holds=frozenset(("cicp", "gamma", "resolution", "text")),
)
