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
_NUMBER = re.compile(rb"[0-9]{1,10}")
_SCALE = re.compile(rb"[-+]?[0-9.]{1,32}([eE][-+]?[0-9]{1,3})?")
_COMMENT = re.compile(rb"#[^\n]*")
_NO_SAMPLE = re.compile(rb"[^0-9\s]")
_ENDLESS = re.compile(rb"[0-9]{11}")
_HEADER = 65536  # bytes within which a header ends


@dataclass
class _PnmLayout:
    kind: bytes
    channels: int
    alpha: bool
    maximum: float  # the value of white; negative for little-endian floating point
    start: int  # of the samples


def matches(data: bytes) -> bool:
    """Returns whether `data` starts as a Netpbm file does."""
    follows = data[2:3].isspace() or data[2:3] == b"#"
    return (data[:2] in _CHANNELS or data[:2] == b"P7") and follows


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
    if data[at : at + 1] == b"#":  # a comment goes to the end of its line, which then ends the header
        at = data.find(b"\n", at)
    if not data[at : at + 1].isspace():
        raise ImageReadError("the header of the Netpbm file is truncated or broken")
    width, height = (_number(word, what) for word, what in zip(words, ("width", "height"), strict=False))
    white: float = 1
    if wanted == 3:
        white = _scale(words[2]) if kind in (b"Pf", b"PF") else _white(words[2])
    return _header(width, height, _PnmLayout(kind, _CHANNELS[kind], False, white, at + 1))


def _probe_pam(data: bytes) -> Header:
    fields: dict[bytes, bytes] = {}
    at = data.find(b"\n") + 1
    while at:
        stop = data.find(b"\n", at, _HEADER)
        name, _, value = data[at:stop].strip().partition(b" ") if stop > 0 else (b"", b"", b"")
        at = stop + 1
        if name == b"ENDHDR":
            break
        if name in fields and name != b"TUPLTYPE":
            raise ImageReadError("the header of the PAM file is broken: it says something twice")
        if name and not name.startswith(b"#"):
            fields[name] = value.strip()
    else:
        raise ImageReadError("the header of the PAM file is truncated or broken: its end is missing")
    missing = [name for name in ("WIDTH", "HEIGHT", "DEPTH", "MAXVAL") if name.encode() not in fields]
    if missing:
        raise ImageReadError(f"the header of the PAM file is broken: it has no {' and no '.join(missing)}")
    width, height, depth = (
        _number(fields[name.upper().encode()], name) for name in ("width", "height", "depth")
    )
    alpha = fields.get(b"TUPLTYPE", b"").endswith(b"_ALPHA") and depth > 1
    return _header(width, height, _PnmLayout(b"P7", depth - alpha, alpha, _white(fields[b"MAXVAL"]), at))


def _number(word: bytes, what: str) -> int:
    """Returns a number above 0 from a header."""
    value = int(word) if _NUMBER.fullmatch(word) else 0
    if value < 1:
        raise ImageReadError(f"the header of the Netpbm file is broken: its {what} is no number above 0")
    return value


def _white(word: bytes) -> int:
    white = _number(word, "number for white")
    if white > 65535:
        raise ImageFormatError(f"white is {white} in this Netpbm file; 1 to 65535 are read")
    return white


def _scale(word: bytes) -> float:
    """Returns the scale of a PFM file, of which only the sign counts."""
    scale = float(word) if _SCALE.fullmatch(word) else 0.0
    if not np.isfinite(scale) or scale == 0:
        raise ImageReadError("the header of the PFM file gives no byte order")
    return scale


def _header(width: int, height: int, layout: _PnmLayout) -> Header:
    size = 4 if layout.kind in (b"Pf", b"PF") else 1 if layout.maximum < 256 else 2
    return Header(width, height, layout.channels + layout.alpha, sample_bytes=size, details=layout)


def decode(data: bytes, header: Header) -> Raster:
    """Reads the samples and spreads them over the whole of their depth."""
    layout: _PnmLayout = header.details
    samples = _samples(data, header, layout)
    if samples.dtype != np.float32 and layout.maximum not in (255, 65535):
        top = int(layout.maximum)
        dtype, white = (np.uint8, 255) if top < 256 else (np.uint16, 65535)
        table = ((np.arange(top + 1, dtype=np.uint32) * white + top // 2) // top).astype(dtype)
        samples = table[np.minimum(samples, top)]
    if layout.alpha:
        return Raster(np.ascontiguousarray(samples[:, :, :-1]), np.ascontiguousarray(samples[:, :, -1]))
    return Raster(samples)


def _samples(data: bytes, header: Header, layout: _PnmLayout) -> Pixels:
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


def _plain(data: bytes, layout: _PnmLayout, shape: tuple[int, ...]) -> Pixels:
    """Reads samples that are written as decimal numbers (or, in PBM, as single digits)."""
    text = _COMMENT.sub(b"", data[layout.start - 1 :])
    end = _NO_SAMPLE.search(text)
    if end is not None and text[end.start() - 1 : end.start()].isdigit():
        raise ImageReadError("the Netpbm file holds something that is no number")
    text = text[: end.start()] if end is not None else text
    count = int(np.prod(shape, dtype=np.int64))
    values: Pixels
    if layout.kind == b"P1":
        values = ord("1") - np.frombuffer(text.translate(None, b" \t\n\r\v\f"), np.uint8)[:count]
    elif _ENDLESS.search(text):
        raise ImageReadError("the Netpbm file holds a number above its white")
    else:
        values = np.fromstring(text, np.int64, sep=" ")[:count] if text.strip() else np.zeros(0, np.int64)
    if values.size < count or int(values.max()) > layout.maximum:
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
