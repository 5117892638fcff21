"""JPEG, and the first picture of MPO."""

from __future__ import annotations

import re
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import MAX_PARTS, EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image, Pixels
from img2img.image.opencv import AS_STORED, RGB_AS_STORED, decode_array, encode_array, split_bgra

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_SCAN, _END = 0xDA, 0xD9
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # markers without a length
_SAMPLING = {"4:2:0": 0x221111, "4:2:2": 0x211111, "4:4:4": 0x111111}
_ICC, _EXIF, _XMP = b"ICC_PROFILE\x00", b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
_ICC_PART = 65533 - len(_ICC) - 2
_MARKER = re.compile(rb"\xff([^\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # any number of 0xff may fill up before a marker
_AFTER_SCAN = frozenset((0xC4, 0xCC, *range(0xD9, 0xDE), *range(0xE0, 0xF0), 0xFE))  # markers that may follow
_KEEP = 64 * 2**20  # bytes of scratch memory that a thread keeps between pictures

_scratch = threading.local()


@dataclass
class _Layout:
    scan: int  # where the header of the first scan starts
    start: int  # of the picture data after it
    progressive: bool


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a JPEG file does."""
    return data[:3] == b"\xff\xd8\xff"


def probe(data: bytes) -> Header:
    """Reads the segments before the picture data."""
    header: Header | None = None
    icc: dict[int, bytes] = {}
    exif, xmp = b"", None
    frames = 1
    progressive = False
    at = scan = 2
    for _ in range(MAX_PARTS):
        match = _MARKER.search(data, at)
        if match is None:
            raise ImageReadError("the JPEG file is truncated: it ends before any picture data")
        marker = match[1][0]
        at = match.end()
        if marker == _END:
            raise ImageReadError("the JPEG file holds no picture data")
        if marker in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        segment = data[at + 2 : at + length]
        scan = at
        at += max(length, 2)
        if marker == _SCAN:
            break
        if marker in _FRAMES and header is None:
            precision, height, width, components = struct.unpack_from(">BHHB", segment)
            if precision != 8:
                raise ImageFormatError(f"this is a JPEG of {precision} bits; only those of 8 bits are read")
            header = Header(width, height, components)
            progressive = marker in _PROGRESSIVE
        elif marker == 0xE1 and segment.startswith(_EXIF):
            exif += segment[6:] if exif else segment
        elif marker == 0xE1 and segment.startswith(_XMP):
            xmp = segment[len(_XMP) :]
        elif marker == 0xE2 and segment.startswith(_ICC) and len(segment) > 14:
            icc.setdefault(segment[12], segment[14:])
        elif marker == 0xE2 and segment.startswith(b"MPF\x00"):
            frames = _mpo_pictures(segment[4:])
    if header is None:
        raise ImageReadError("the JPEG file names no size for its picture")
    header.icc = b"".join(icc[number] for number in sorted(icc)) or None
    header.exif, header.xmp, header.frames = exif or None, xmp, frames
    header.details = _Layout(scan, at, progressive)
    return header


def _mpo_pictures(index: bytes) -> int:
    """Returns how many pictures a multi-picture index lists; 1 when it cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(index[:2])
    try:
        if order is None:
            return 1
        (at,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, at)
        for position in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHII", index, position)
            if tag == 0xB001:
                return max(1, int(value))
    except struct.error:
        pass
    return 1


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; CMYK becomes RGB."""
    layout: _Layout = header.details
    if layout.progressive and _lacks_scans(data, layout.scan, header.channels):
        raise ImageReadError("the progressive JPEG file is truncated or broken: some scans are missing")
    # of three channels the decoder writes RGB directly, which costs nothing
    flags = RGB_AS_STORED if header.channels == 3 else AS_STORED
    pixels = decode_array(data, flags)
    last = pixels[-1, -1]
    # what is missing is 128 in each channel, which is some grey in CMYK
    suspicious = (last == (last[0] if header.channels == 4 else 128)).all()
    if suspicious and _ran_out(data, layout.start, flags, pixels):
        raise ImageReadError("the JPEG file is truncated or broken: a part of the picture is missing")
    if header.channels == 4:
        header.warnings.append("the CMYK picture was converted to RGB without its colour profile")
        return Raster(split_bgra(pixels)[0])
    return Raster(pixels)


def _lacks_scans(data: bytes, first: int, channels: int) -> bool:
    """Returns whether the scans of a progressive picture leave out coefficients, or their last bits.

    A file that was cut and then closed with an end marker does, and decodes to a blurred picture without an
    error.
    """
    complete: defaultdict[int, set[int]] = defaultdict(set)
    for scan in _scans(data, first):
        count = scan[0]
        low, high, bits = scan[1 + 2 * count : 4 + 2 * count]
        if bits & 15 == 0:
            for channel in scan[1 : 1 + 2 * count : 2]:
                complete[channel].update(range(low, high + 1))
    return sum(len(coefficients) == 64 for coefficients in complete.values()) < channels


def _scans(data: bytes, at: int) -> Iterator[bytes]:
    """Yields the header of each scan from the one at `at` on."""
    marker = _SCAN
    while marker != _END:
        (length,) = struct.unpack_from(">H", data, at)
        if marker == _SCAN:
            yield data[at + 2 : at + length]
        found = _SCAN_END.search(data, at + length)
        if found is None:
            return
        marker, at = found[1][0], found.end()


def _ran_out(data: bytes, start: int, flags: int, pixels: Pixels) -> bool:
    """Returns whether the decoder met the end of the picture data before the end of the picture.

    A file that was cut and then closed with an end marker decodes without an error: the rest becomes grey,
    128 in each channel. When the last pixel is just that, the picture is decoded again with more data before
    the marker. To a complete picture that makes no difference.
    """
    end = _SCAN_END.search(data, start)
    if end is None:
        return False
    if end[1][0] not in _AFTER_SCAN:
        return True
    longer = b"".join((data[: end.start()], b"\x5a\x93" * 64, data[end.start() :]))
    try:
        return not np.array_equal(decode_array(longer, flags), pixels)
    except ImageReadError:
        return True


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be a JPEG file."""
    return misfit(image, "JPEG", max_side=65500)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    params = [
        cv2.IMWRITE_JPEG_QUALITY,
        options.quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        _SAMPLING[options.jpeg_sampling],
    ]
    data = encode_array(".jpg", _bgr(image.pixels), params)
    return _with_metadata(data, image.icc, image.exif) if image.icc or image.exif else data


def _with_metadata(data: bytes, icc: bytes | None, exif: bytes | None) -> bytes:
    """Returns a JPEG file with EXIF and a profile in it; OpenCV gives up on a profile of several segments."""
    at = 2
    if data[2:4] == b"\xff\xe0":  # the JFIF segment stays the first
        at += 2 + int.from_bytes(data[4:6], "big")
    segments = [(0xE1, _EXIF + exif)] if exif else []
    parts = [icc[i : i + _ICC_PART] for i in range(0, len(icc), _ICC_PART)] if icc else []
    segments += [(0xE2, _ICC + bytes((i, len(parts))) + part) for i, part in enumerate(parts, 1)]
    stored = (struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"".join((data[:at], *stored, data[at:]))


def _bgr(pixels: Pixels) -> Pixels:
    """Returns `pixels` in BGR order, in memory that this thread uses again.

    Fresh memory for each picture costs more than the conversion itself: 5 of 7 ms for 12 megapixels.
    """
    pixels = np.ascontiguousarray(pixels)
    if pixels.shape[2] != 3:
        return pixels
    if pixels.nbytes > _KEEP:
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    buffer: Pixels | None = getattr(_scratch, "buffer", None)
    if buffer is None or buffer.size < pixels.size:
        buffer = _scratch.buffer = np.empty(pixels.size, np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=buffer[: pixels.size].reshape(pixels.shape))


FORMAT = Format(
    name="JPEG",
    extensions=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    writes=(".jpg", ".jpeg", ".jpe", ".jfif"),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
    max_exif=65533 - 6,
    max_icc=255 * _ICC_PART,
)
