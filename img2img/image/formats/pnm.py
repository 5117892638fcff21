"""The Netpbm family: PBM, PGM, PPM, PAM, and PFM for floating point."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image.formats.base import EncodeOptions, Format, Header, Raster, misfit
from img2img.image.image import Image, Pixels

_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_TOKEN = re.compile(rb"(?:\s|#[^\n]*\n)*([^\s#]+)")
_HEADER = 4096  # bytes within which a header ends


@dataclass
class _Layout:
    kind: bytes
    channels: int
    alpha: bool
    maximum: float  # the value of white; negative for little-endian floating point
    start: int  # of the samples


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a Netpbm file does."""
    return (data[:2] in _CHANNELS or data[:2] == b"P7") and data[2:3].isspace()


def probe(data: bytes) -> Header:
    """Reads the words of the header."""
    return _probe_pam(data) if data[:2] == b"P7" else _probe_pnm(data)


def _probe_pnm(data: bytes) -> Header:
    kind, at = data[:2], 2
    words: list[bytes] = []
    wanted = 2 if kind in (b"P1", b"P4") else 3
    while len(words) < wanted:
        match = _TOKEN.match(data, at, _HEADER)
        if match is None:
            raise ImageReadError("the header of the Netpbm file is truncated or broken")
        words.append(match[1])
        at = match.end()
    layout = _Layout(kind, _CHANNELS[kind], False, float(words[2]) if wanted == 3 else 1.0, at + 1)
    return _header(int(words[0]), int(words[1]), layout)


def _probe_pam(data: bytes) -> Header:
    stop = data.find(b"ENDHDR\n", 0, _HEADER)
    if stop < 0:
        raise ImageReadError("the header of the PAM file is truncated or broken")
    lines = (line.split(None, 1) for line in data[2:stop].split(b"\n") if not line.startswith(b"#"))
    fields = {line[0]: line[1].strip() for line in lines if len(line) == 2}
    depth = int(fields[b"DEPTH"])
    alpha = fields.get(b"TUPLTYPE", b"").endswith(b"_ALPHA") and depth > 1
    layout = _Layout(b"P7", depth - alpha, alpha, float(fields[b"MAXVAL"]), stop + 7)
    return _header(int(fields[b"WIDTH"]), int(fields[b"HEIGHT"]), layout)


def _header(width: int, height: int, layout: _Layout) -> Header:
    if layout.kind in (b"Pf", b"PF"):
        if not np.isfinite(layout.maximum) or layout.maximum == 0:
            raise ImageReadError("the header of the PFM file gives no byte order")
    elif not 1 <= layout.maximum <= 65535:
        raise ImageFormatError(f"white is {layout.maximum:g} in this Netpbm file; 1 to 65535 are read")
    return Header(width, height, layout.channels + layout.alpha, details=layout)


def decode(data: bytes, header: Header) -> Raster:
    """Reads the samples and spreads them over the whole of their depth."""
    layout: _Layout = header.details
    samples = _samples(data, header, layout)
    if samples.dtype != np.float32 and layout.maximum not in (255, 65535):
        top = int(layout.maximum)
        dtype, white = (np.uint8, 255) if top < 256 else (np.uint16, 65535)
        table = ((np.arange(top + 1, dtype=np.uint32) * white + top // 2) // top).astype(dtype)
        samples = table[np.minimum(samples, top)]
    if layout.alpha:
        return Raster(np.ascontiguousarray(samples[:, :, :-1]), np.ascontiguousarray(samples[:, :, -1]))
    return Raster(samples)


def _samples(data: bytes, header: Header, layout: _Layout) -> Pixels:
    shape = (header.height, header.width, header.channels)
    if layout.kind in (b"P1", b"P2", b"P3"):
        return _plain(data, layout, shape)
    if layout.kind == b"P4":
        rows = _binary(data, layout.start, "u1", (header.height, (header.width + 7) // 8))
        return 1 - np.unpackbits(rows, axis=1, count=header.width)[:, :, None]
    if layout.kind in (b"Pf", b"PF"):
        floats = _binary(data, layout.start, "<f4" if layout.maximum < 0 else ">f4", shape)
        return np.ascontiguousarray(floats[::-1], np.float32)  # the bottom row comes first
    dtype = "u1" if layout.maximum < 256 else ">u2"
    return np.array(_binary(data, layout.start, dtype, shape), np.uint8 if dtype == "u1" else np.uint16)


def _binary(data: bytes, start: int, dtype: str, shape: tuple[int, ...]) -> Pixels:
    count = int(np.prod(shape, dtype=np.int64))
    if start + count * np.dtype(dtype).itemsize > len(data):
        raise ImageReadError("the Netpbm file is truncated: it has fewer samples than its header says")
    return np.frombuffer(data, dtype, count, start).reshape(shape)


def _plain(data: bytes, layout: _Layout, shape: tuple[int, ...]) -> Pixels:
    """Reads samples that are written as decimal numbers (or, in PBM, as single digits)."""
    text = re.sub(rb"#[^\n]*", b"", data[layout.start - 1 :])
    count = int(np.prod(shape, dtype=np.int64))
    try:
        if layout.kind == b"P1":
            values = np.frombuffer(re.sub(rb"\s", b"", text), np.uint8)[:count] - ord("0")
            values = 1 - values
        else:
            words = text.split(maxsplit=count)[:count]
            values = np.array(words, dtype=np.uint16)
    except (ValueError, OverflowError) as error:
        raise ImageReadError("the Netpbm file holds something that is no number") from error
    if values.size < count or (values.size and int(values.max()) > layout.maximum):
        raise ImageReadError("the Netpbm file is truncated, or holds a number above its white")
    return values.reshape(shape).astype(np.uint8 if layout.maximum < 256 else np.uint16, copy=False)


def fit_reason(image: Image, extension: str) -> str | None:
    """Returns why `image` cannot be stored under the Netpbm extension."""
    if extension == ".pfm":
        return misfit(image, "PFM", dtypes=("float32",))
    if extension == ".pam":
        return misfit(image, "PAM", dtypes=("uint8", "uint16"), alpha=True)
    channels = {".pgm": (1,), ".ppm": (3,)}.get(extension, (1, 3))
    return misfit(image, extension[1:].upper(), dtypes=("uint8", "uint16"), channels=channels)


def encode(image: Image, extension: str, options: EncodeOptions) -> bytes:
    """Stores `image`, which fits."""
    size = b"%d %d\n" % (image.width, image.height)
    if extension == ".pfm":
        kind = b"Pf\n" if image.channels == 1 else b"PF\n"
        return kind + size + b"-1.0\n" + image.pixels[::-1].astype("<f4").tobytes()
    samples = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
    content = samples.astype(samples.dtype.newbyteorder(">")).tobytes()
    if extension == ".pam":
        kind = (b"GRAYSCALE" if image.channels == 1 else b"RGB") + (
            b"_ALPHA" if image.alpha is not None else b""
        )
        return (
            b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n"
            % (image.width, image.height, samples.shape[2], int(image.white), kind)
        ) + content
    kind = b"P5\n" if image.channels == 1 else b"P6\n"
    return kind + size + b"%d\n" % int(image.white) + content


FORMAT = Format(
    name="Netpbm",
    extensions=(".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".pfm"),
    writes=(".pgm", ".ppm", ".pnm", ".pam", ".pfm"),
    matches=matches,
    probe=probe,
    decode=decode,
    encode=encode,
    fit_reason=fit_reason,
)
