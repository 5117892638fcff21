"""JPEG, and the first picture of MPO.

libjpeg-turbo decodes, and whatever it complains of fails the file. What it does not tell is looked for here:
scans that are missing, tables that were zeroed. A complaint that says nothing about the pixels (junk or an
unknown number in the header, zeros after the last row) is proven to do so: the decoder gets the file without
that part, and must then be content.
"""

from __future__ import annotations

import struct
import threading

import cv2
import numpy as np
import simplejpeg

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats import jpeg_metadata
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.formats.jpeg_parts import (
    ADOBE,
    APP0,
    ARITHMETIC,
    END,
    FRAMES,
    LOSSLESS,
    MAX_SCANS,
    PROGRESSIVE,
    QUANTIZATION,
    SCAN,
    START,
    JpegLayout,
    check_scans,
    check_zeros,
    quality_of,
    quantization,
    scans_of,
    segments,
)
from img2img.image.image import Image, Pixels
from img2img.image.opencv import AS_STORED, RGB_AS_STORED, decode_array, encode_array, split_bgra

_NOT_FOR_DECODERS = frozenset((*range(0xE0, 0xF0), 0xFE)) - {ADOBE}
_TRANSFORMS = {3: (0, 1), 4: (0, 2)}  # of colours, in the Adobe segment; the last is the usual one
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_SAMPLING = {"4:2:0": 0x221111, "4:2:2": 0x211111, "4:4:4": 0x111111}
_SAMPLINGS_OF_LUMA = frozenset(((1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4)))
_COMPLAINT = "the JPEG file is truncated or broken; its decoder says: "
_KEEP = 64 * 2**20  # bytes of scratch memory that a thread keeps between pictures

_scratch = threading.local()


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a JPEG file does."""
    return data[:3] == b"\xff\xd8\xff"


def probe(data: bytes) -> Header:
    """Reads the segments before the picture data."""
    header: Header | None = None
    head, said = [data[:2]], []
    junk, at, adobe, luma = 0, 2, None, 0
    tables: dict[int, list[int]] = {}
    for marker, start, stop in segments(data, 2):
        junk += len(data[at : start - 4].rstrip(b"\xff")) if start - 4 > at else 0
        at = stop
        if marker in (SCAN, END):
            break
        if stop > len(data):
            raise ImageReadError("the JPEG file is truncated: it ends within its header")
        segment = data[start - 4 : stop]
        if marker == START:
            raise ImageReadError("the JPEG file is broken: a second picture starts within its header")
        if marker in FRAMES and header is None:
            header = _frame(marker, segment[4:])
            luma = segment[12] if len(segment) > 12 else 0  # the table of the first component
        elif marker == QUANTIZATION:
            tables |= quantization(segment[4:])
        elif marker == ADOBE and segment[4:9] == b"Adobe" and len(segment) >= 16:
            adobe = len(head)
        if marker in jpeg_metadata.MARKERS:
            said.append((marker, segment[4:]))
        if marker == APP0 and segment[4:9] == b"JFIF\0":
            segment = _JFIF  # all that a decoder takes from it is that it is there
        if marker not in _NOT_FOR_DECODERS or segment is _JFIF:
            head.append(segment)
    else:
        raise ImageReadError("the JPEG file is truncated: it ends before any picture data")
    if marker == END:
        raise ImageReadError("the JPEG file holds no picture data")
    if header is None:
        raise ImageReadError("the JPEG file names no size for its picture")
    jpeg_metadata.read(header, said)
    header.jpeg_quality = quality_of(tables[luma]) if luma in tables else None
    if adobe is not None and head[adobe][15] not in _TRANSFORMS.get(header.channels, range(256)):
        header.warnings.append(f"it names an unknown transform of colours ({head[adobe][15]})")
        usual = _TRANSFORMS[header.channels][-1]
        head[adobe] = head[adobe][:15] + bytes((usual,)) + head[adobe][16:]
    if junk:
        header.warnings.append(f"its header holds {junk:,} bytes that belong to nothing and were skipped")
    header.details.head, header.details.scan = b"".join(head), start - 4
    return header


def _frame(marker: int, body: bytes) -> Header:
    precision, height, width, components = struct.unpack_from(">BHHB", body)
    if precision != 8:
        raise ImageFormatError(
            f"this is a JPEG of {precision} bits; only those of 8 bits are read; convert it to PNG first"
        )
    if height == 0:
        raise ImageFormatError(
            "this JPEG tells its height only behind the picture (a DNL marker), which is not read; save it "
            "again with another program first"
        )
    if components not in (1, 3, 4):
        raise ImageFormatError(
            f"this JPEG has {components} components; those with 1 (grey), 3 (colours) and 4 (CMYK) are read"
        )
    lines = [body[at : at + 3] for at in range(6, 6 + 3 * components, 3)]
    header = Header(width, height, components)
    header.details = JpegLayout(
        marker, [(line[1] >> 4, line[1] & 15) for line in lines], frozenset(line[0] for line in lines)
    )
    return header


def _is_isolated(header: Header) -> bool:
    """Returns whether colours are sampled as only OpenCV decodes it, which prints its complaints."""
    first, *others = header.details.samplings
    if header.channels == 1:
        return False
    if header.channels == 4 and others.pop() != first:
        return True
    return first not in _SAMPLINGS_OF_LUMA or any(factors != (1, 1) for factors in others)


def decode(data: bytes, header: Header) -> Raster:
    """Decodes the picture; CMYK becomes RGB."""
    layout: JpegLayout = header.details
    in_parts = layout.frame in PROGRESSIVE or data[layout.scan + 4] < len(layout.samplings)
    scans = scans_of(data, layout.scan, MAX_SCANS + 1 if in_parts else 1)
    if in_parts:
        check_scans(data, scans, header)
    stream = _stream(data, scans, header)
    pixels = _decoded(stream, header)
    if layout.frame in ARITHMETIC:
        _check_arithmetic(stream, pixels, header)
    if header.channels == 4:
        header.warnings.append("the CMYK picture was converted to RGB without its colour profile")
    return Raster(pixels)


def _stream(data: bytes, scans: list[tuple[int, int]], header: Header) -> bytes:
    """Returns the file as the decoder gets it: without metadata, and without what it has no use for.

    Sequential JPEG has no use for the last three bytes of a scan's header. They are always the same, and some
    programs write others.
    """
    layout: JpegLayout = header.details
    parts, at = [layout.head], layout.scan
    if layout.frame not in PROGRESSIVE | LOSSLESS:
        for _, stop in scans:
            if data[stop - 3 : stop] != b"\0\x3f\0":
                parts += [data[at : stop - 3], b"\0\x3f\0"]
                at = stop
        if len(parts) > 1:
            header.warnings.append("a scan has parameters that do not belong to this kind of JPEG")
    return b"".join((*parts, data[at:]))


def _decoded(stream: bytes, header: Header) -> Pixels:
    """Returns the pixels of a picture that is whole.

    Raises:
        ImageReadError: The decoder complains, also of the stream without what may be harmless.
    """
    complaint = ""
    first = len(header.details.head)
    last = stream.rfind(b"\xff\xd9")
    if last > 0 and stream[last - 1] not in (0, 0xFF):  # looking for the end exactly takes time
        check_zeros(stream, first, last)
        try:
            return _strictly(stream, header)
        except ValueError as error:
            complaint = str(error)
    end = next((start - 4 for marker, start, _ in segments(stream, first) if marker == END), None)
    if end is None:
        stream, end = stream + b"\xff\xd9", len(stream)
        header.warnings.append("its end marker is missing; the picture is complete")
    elif complaint and "before marker 0xd9" not in complaint:
        raise ImageReadError(_COMPLAINT + complaint)
    try:
        return _without_zeros(stream, end, header)
    except ValueError as error:
        raise ImageReadError(_COMPLAINT + (complaint or str(error))) from error


def _without_zeros(stream: bytes, end: int, header: Header) -> Pixels:
    """Returns the pixels of a stream whose picture data stop at `end`, perhaps with zeros.

    They are padding when the picture is complete without them, or a part of it when it is not complete
    without the last of them. If neither is true, they stand where something else was.

    Raises:
        ImageReadError: They do.
        ValueError: The decoder complains.
    """
    data = stream[:end].rstrip(b"\xff")
    content = data.rstrip(b"\0")
    if content.endswith(b"\xff"):  # a zero belongs to it
        content = data[: len(content) + 1]
    check_zeros(stream, len(header.details.head), len(content))
    if len(content) == len(data):
        return _strictly(stream, header)
    try:
        pixels = _strictly(content + stream[end:], header)
    except ValueError:
        check_zeros(stream, len(content), end, padded=False)
        pixels = _strictly(stream, header)
    else:
        header.warnings.append("zeros stand behind the picture, which is complete")
        return pixels
    try:
        _strictly(data[:-1] + stream[end:], header)
    except ValueError:
        return pixels
    raise ImageReadError("the JPEG file is broken: zeros stand where the end of its picture was")


def _check_arithmetic(stream: bytes, pixels: Pixels, header: Header) -> None:
    """Refuses a picture of arithmetic coding whose data ran out: decoders go on with zeros, as they have to.

    Encoders leave out zeros at the end, but not many. To a complete picture it makes no difference what comes
    behind those.
    """
    first = len(header.details.head)
    end = next((start - 4 for marker, start, _ in segments(stream, first) if marker == END), None)
    if end is None or _is_isolated(header):
        raise ImageReadError("the JPEG file is truncated, or of a kind of arithmetic coding that is not read")
    longer = b"".join((stream[:end], bytes(4), b"\x5a\x93" * 64, stream[end:]))
    colours = "GRAY" if header.channels == 1 else "RGB"
    if not np.array_equal(simplejpeg.decode_jpeg(longer, colours, strict=False), pixels):
        raise ImageReadError("the JPEG file is truncated or broken: its picture data end too early")


def _strictly(stream: bytes, header: Header) -> Pixels:
    """Returns the pixels; any complaint of the decoder is a ValueError."""
    if not _is_isolated(header):
        decoded: Pixels = simplejpeg.decode_jpeg(stream, "GRAY" if header.channels == 1 else "RGB")
        return decoded
    pixels = decode_array(stream, RGB_AS_STORED if header.channels == 3 else AS_STORED)
    return split_bgra(pixels)[0] if header.channels == 4 else pixels


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
    return jpeg_metadata.written(data, image)


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
    isolated=_is_isolated,
    max_exif=jpeg_metadata.MAX_EXIF,
    max_icc=jpeg_metadata.MAX_ICC,
    max_xmp=jpeg_metadata.MAX_XMP,
    max_iptc=jpeg_metadata.MAX_IPTC,
    holds=frozenset(("resolution", "comment")),
)
