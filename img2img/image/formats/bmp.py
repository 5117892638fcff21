"""Windows and OS/2 bitmaps.

They are read here: OpenCV takes the unused fourth byte for alpha, rounds 5 bits down and misreads old
palettes; Pillow knows few bit fields, and hardly any damage of run lengths (measured on the bmpsuite files).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image, Pixels
from img2img.image.levels import channels_of, looked_up, spread
from img2img.image.opencv import encode_array, merge_bgra

_PLAIN, _RLE8, _RLE4, _FIELDS, _ALPHA_FIELDS = 0, 1, 2, 3, 6
_NAMES = {4: "JPEG", 5: "PNG"}
_OS2_LONG = (16, 64)
_INCH = 0.0254  # metres


@dataclass
class _BmpLayout:
    bits: int
    compression: int
    upside_down: bool  # the top row first: the exception in this format
    palette: Pixels  # (N, 3) RGB
    masks: tuple[int, int, int, int]
    start: int  # of the rows


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a bitmap file does."""
    return data[:2] == b"BM" and len(data) >= 26


def probe(data: bytes) -> Header:
    """Reads the header in any of its versions, and the palette."""
    start, size = struct.unpack_from("<II", data, 10)
    compression = colours = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    elif size == 16:
        width, height, _, bits = struct.unpack_from("<IIHH", data, 18)
    elif 40 <= size <= 4096:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        (colours,) = struct.unpack_from("<I", data, 46)
    else:
        raise ImageReadError(f"the header of the bitmap says that it has {size} bytes, which no version has")
    if start < 14 + size:
        raise ImageReadError("the bitmap is broken: its pixels begin within its header")
    if compression in _NAMES:
        raise ImageFormatError(f"this bitmap wraps a {_NAMES[compression]} picture, which is not read")
    allowed = {
        _PLAIN: (1, 2, 4, 8, 16, 24, 32),
        _RLE8: (8,),
        _RLE4: (4,),
        _FIELDS: (16, 32),
        _ALPHA_FIELDS: (16, 32),
    }
    if bits not in allowed.get(compression, ()) or (size in _OS2_LONG and compression == _FIELDS):
        raise ImageFormatError(f"bitmaps of {bits} bits with compression {compression} are not read")
    masks, after = _masks(data, size, bits, compression)
    entry = 3 if size == 12 else 4
    palette = np.zeros((0, 3), np.uint8)
    if bits <= 8:
        room = max(0, min(len(data), max(start, after)) - after) // entry
        count = min(colours or 1 << bits, 1 << bits, room)
        palette = np.frombuffer(data, np.uint8, count * entry, after).reshape(-1, entry)[:, 2::-1]
        palette = np.concatenate((palette, np.zeros(((1 << bits) - count, 3), np.uint8)))
    layout = _BmpLayout(bits, compression, height < 0, palette, masks, start)
    channels = channels_of(palette) if bits <= 8 else 4 if masks[3] else 3
    header = Header(width, abs(height), channels, details=layout)
    if size >= 40:
        _read_metadata(data, size, header)
    return header


def _read_metadata(data: bytes, size: int, header: Header) -> None:
    """Takes resolution and colour profile from a header of `size` bytes."""
    across, down = struct.unpack_from("<ii", data, 38)
    if across > 0 and down > 0:
        header.resolution = (across * _INCH, down * _INCH)
    kind = data[70:74][::-1] if size >= 108 else b""
    if kind == b"MBED" and size >= 124:
        start, length = struct.unpack_from("<II", data, 126)
        header.icc = data[14 + start : 14 + start + length] or None
    elif kind in (b"MBED", b"LINK") or (kind == bytes(4) and any(data[74:122])):
        header.warnings.append("the bitmap describes its colours in a way that is not read; that was dropped")


def _masks(data: bytes, size: int, bits: int, compression: int) -> tuple[tuple[int, int, int, int], int]:
    """Returns the bits of red, green, blue and alpha in a pixel, and where the header with them ends."""
    after = 14 + size
    if compression in (_FIELDS, _ALPHA_FIELDS):
        count = 4 if size >= 56 or compression == _ALPHA_FIELDS else 3
        fields = struct.unpack_from(f"<{count}I", data, 54)  # in the header or, in old ones, right after it
        red, green, blue, alpha = (*fields, 0)[:4]
        return (red, green, blue, alpha), max(after, 54 + 4 * count)
    if bits == 16:
        return (0x7C00, 0x03E0, 0x001F, 0), after
    return (0xFF0000, 0x00FF00, 0x0000FF, 0), after


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; a palette of greys makes one channel."""
    layout: _BmpLayout = header.details
    if layout.compression in (_RLE8, _RLE4):
        indices = _runs(data, header, layout)
        return Raster(
            looked_up(indices if layout.upside_down else np.ascontiguousarray(indices[::-1]), layout.palette)
        )
    rows = _rows(data, header, layout)
    if layout.bits <= 8:
        return Raster(looked_up(_indices(rows, layout.bits, header.width), layout.palette))
    if layout.bits == 24:
        return Raster(np.ascontiguousarray(rows.reshape(header.height, header.width, 3)[:, :, ::-1]))
    words = rows.view("<u2" if layout.bits == 16 else "<u4")
    red, green, blue, alpha = (_field(words, mask) for mask in layout.masks)
    return Raster(np.dstack((red, green, blue)), alpha if layout.masks[3] else None)


def _rows(data: bytes, header: Header, layout: _BmpLayout) -> Pixels:
    """Returns the bytes of the pixels (H, bytes in a row), the top row first, without what fills up rows."""
    used = (header.width * layout.bits + 7) // 8
    stride = (header.width * layout.bits + 31) // 32 * 4
    last = layout.start + stride * (header.height - 1) + used
    if last > len(data):
        raise ImageReadError(f"the bitmap is truncated: it needs {last:,} bytes and has {len(data):,}")
    missing = max(0, last - used + stride - len(data))  # some programs do not fill up the last row
    if missing:
        data = data + bytes(missing)
    rows = np.frombuffer(data, np.uint8, stride * header.height, layout.start).reshape(header.height, stride)
    return np.ascontiguousarray((rows if layout.upside_down else rows[::-1])[:, :used])


def _runs(data: bytes, header: Header, layout: _BmpLayout) -> Pixels:
    """Returns the indices (H, W) that are stored as run lengths, the first row first.

    Readers differ in what they make of runs that leave their row and of rows that end early; here they are
    damage, for nothing else in such a file could tell it. Skipping is fine: the steps say how far.

    Raises:
        ImageReadError: The runs do not fill the picture.
    """
    width, height, at = header.width, header.height, layout.start
    half = layout.compression == _RLE4  # bytes for two pixels
    result = bytearray(width * height)
    x = y = 0
    skipped = False
    while at + 2 <= len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count == 0 and value == 1:
            break
        if count == 0 and value == 0:  # end of the row
            if x != width:
                raise ImageReadError("the bitmap is broken: one of its rows ends early")
            x, y = 0, y + 1
            continue
        if count == 0 and value == 2:  # skip some pixels and rows
            if at + 2 > len(data):
                break
            x, y, at, skipped = x + data[at], y + data[at + 1], at + 2, True
            if x > width or y >= height:
                raise ImageReadError("the bitmap is broken: it skips more than it has")
            continue
        if count:
            run = bytes((value >> 4, value & 15)) * (count + 1 >> 1) if half else bytes((value,)) * count
        else:  # as they are, filled up to an even number of bytes
            count = value
            run = data[at : at + (count + 1 >> 1 if half else count)]
            at += len(run) + len(run) % 2
            if half:
                run = bytes(level for both in run for level in (both >> 4, both & 15))
        if x + count > width or y >= height or len(run) < count:
            raise ImageReadError("the bitmap is broken: one of its rows is too long, or its data are cut")
        place = y * width + x
        result[place : place + count] = run[:count]
        x += count
    if (x, y) not in ((width, height - 1), (0, height)):
        raise ImageReadError("the bitmap is truncated or broken: its rows do not fill the picture")
    if skipped:
        header.warnings.append(
            "the bitmap leaves out some of its pixels; they got the first colour of its palette"
        )
    return np.frombuffer(result, np.uint8).reshape(height, width)


def _indices(rows: Pixels, bits: int, width: int) -> Pixels:
    if bits == 8:
        return rows
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    values: Pixels = (rows[:, :, None] >> shifts) & ((1 << bits) - 1)
    return values.reshape(len(rows), -1)[:, :width]


def _field(words: Pixels, mask: int) -> Pixels:
    """Returns the bits of `mask` in each word, spread over 8 bits."""
    if mask == 0:
        return np.zeros(words.shape, np.uint8)
    low = (mask & -mask).bit_length() - 1
    bits = (mask >> low).bit_length()
    if mask >> low != (1 << bits) - 1:
        raise ImageReadError(f"the bit field {mask:#010x} of the bitmap has gaps")
    levels = (words & np.asarray(mask, words.dtype)) >> np.asarray(low, words.dtype)
    if bits > 8:
        scaled: Pixels = (levels.astype(np.float64) * 255 / ((1 << bits) - 1) + 0.5).astype(np.uint8)
        return scaled
    return spread(levels, bits)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a bitmap."""
    return misfit(image, "BMP", alpha=True, grey_alpha=False, max_side=1_000_000)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    density = (round(min(2**31 - 1, value / _INCH)) for value in image.metadata.resolution or (0, 0))
    across_and_down = struct.pack("<ii", *density)
    if image.alpha is None:
        data = encode_array(".bmp", merge_bgra(image.pixels, None), [])
        return b"".join((data[:38], across_and_down, data[46:]))
    rows = merge_bgra(image.pixels, image.alpha)[::-1].tobytes()
    fields = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # alpha counts only when it has a field
    start, size = 14 + 108, len(rows)
    file_header = struct.pack("<2sIHHI", b"BM", start + size, 0, 0, start)
    header = struct.pack("<IiiHHII", 108, image.width, image.height, 1, 32, _FIELDS, size)
    colour_space = b"BGRs" + bytes(48)  # sRGB
    return b"".join((file_header, header, across_and_down, bytes(8), fields, colour_space, rows))


FORMAT = Format(
    name="BMP",
    extensions=(".bmp", ".dib"),
    writes=(".bmp", ".dib"),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    holds=frozenset(("resolution",)),
)
