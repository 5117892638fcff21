"""ICC profiles of the simple kind, a curve for each channel and a matrix: bytes to `Encoding` and back."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from img2img.image.colour import D50, ColourSpace, Curve, Encoding, Power, SampledCurve, encoding_of

_TAGS = 100  # a profile has ten to thirty
_LARGEST = 2**20  # bytes; with tables for its curves such a profile has some 30 KiB
_LUTS = frozenset(b"A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3".split())
_PARAMETERS = (1, 3, 4, 5, 7)  # of each type of parametric curve
_MADE = (2026, 1, 1, 0, 0, 0)  # equal profiles have equal bytes
_HDR = (16, 18)


@lru_cache(maxsize=32)
def read_profile(icc: bytes) -> Encoding | None:
    """Returns what a profile for RGB or grey says, or None: it works by tables in 3-D, or is broken."""
    try:
        return _read(icc) if len(icc) <= _LARGEST else None
    except (struct.error, ValueError, KeyError, IndexError, np.linalg.LinAlgError):
        return None


def _read(icc: bytes) -> Encoding | None:
    (count,) = struct.unpack_from(">I", icc, 128)
    tags: dict[bytes, bytes] = {}
    for at in range(132, 132 + 12 * min(count, _TAGS), 12):
        name, start, size = struct.unpack_from(">4sII", icc, at)
        tags[name] = icc[start : start + size]
    if _LUTS & set(tags) or icc[20:24] != b"XYZ ":
        return None
    if icc[16:20] == b"GRAY":
        return Encoding((_curve(tags[b"kTRC"]),))
    if icc[16:20] != b"RGB ":
        return None
    matrix = np.column_stack([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")])
    if abs(np.linalg.det(matrix)) < 1e-4 or np.abs(matrix.sum(axis=1) - D50).max() > 0.1:
        return None
    return Encoding(tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")), matrix)


def _xyz(tag: bytes) -> NDArray[np.float64]:
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def _curve(tag: bytes) -> Curve:
    if tag[:4] == b"para":
        kind, *_ = struct.unpack_from(">H", tag, 8)
        numbers = [n / 65536 for n in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
        return _parametric(kind, numbers)
    if tag[:4] != b"curv":
        raise ValueError("no curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return Power(1.0)
    if count == 1:
        return _checked(Power(struct.unpack_from(">H", tag, 12)[0] / 256))
    values = np.frombuffer(tag, ">u2", count, 12) / 65535
    if values[-1] <= values[0]:
        raise ValueError("the curve falls")
    return SampledCurve(np.maximum.accumulate(values))


def _parametric(kind: int, numbers: list[float]) -> Power:
    g, *rest = numbers
    if kind == 0:
        return _checked(Power(g))
    if kind in (1, 2):  # (a x + b)^g + c from -b / a upwards, c below
        a, b = rest[:2]
        above = rest[2] if kind == 2 else 0.0
        return _checked(Power(g, a, b, 0.0, max(0.0, -b / a if a else 0.0), above, above))
    return _checked(Power(g, *rest))


def _checked(curve: Power) -> Power:
    if not (0.1 <= curve.g <= 20 and 0.01 <= curve.a <= 100 and curve.c >= 0 and abs(curve.b) <= 10):
        raise ValueError("no curve that can be reversed")
    return curve


@lru_cache(maxsize=32)
def profile_of(space: ColourSpace, channels: int) -> bytes | None:
    """Returns an ICC profile that says what `space` says, or None where nothing says it.

    PQ and HLG keep their code points in it (tag cicp of ICC.1:2022); programs that do not know it see what
    is no brighter than white, as `encoding_of` does.

    Args:
        space: What the file said.
        channels: Of the picture: 1 takes a profile for grey, 3 one for RGB; there is none for others.
    """
    encoding = encoding_of(space)
    if encoding is None or channels not in (1, 3):
        return None
    if channels == 1:
        return write_profile(Encoding((encoding.grey,)), f"{space}, grey")
    hdr = space.by_code_points and space.transfer in _HDR
    return write_profile(encoding, str(space), (space.primaries, space.transfer) if hdr else None)


def write_profile(encoding: Encoding, name: str, code_points: tuple[int, int] | None = None) -> bytes:
    """Returns an ICC profile, version 4, for a display with such colours.

    Args:
        encoding: Of RGB or grey.
        name: Of the colour space, for people.
        code_points: ColourPrimaries and TransferCharacteristics to add to it.
    """
    tags = {b"desc": _text(name), b"cprt": _text("No copyright"), b"wtpt": _xyz_tag(D50)}
    if encoding.adaptation is not None:
        tags[b"chad"] = b"sf32" + bytes(4) + _fixed(encoding.adaptation.ravel())
    if encoding.matrix is None:
        tags[b"kTRC"] = _curve_tag(encoding.curves[0])
    else:
        for colour, column, curve in zip(b"rgb", encoding.matrix.T, encoding.curves, strict=True):
            tags[bytes((colour,)) + b"XYZ"] = _xyz_tag(column)
            tags[bytes((colour,)) + b"TRC"] = _curve_tag(curve)
    if code_points is not None:
        tags[b"cicp"] = struct.pack(">4s4x4B", b"cicp", *code_points, 0, 1)  # RGB, full range
    at = 132 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    places: dict[bytes, int] = {}  # equal curves are stored once
    for tag, body in tags.items():
        if body not in places:
            places[body] = at + len(bodies)
            bodies += body + bytes(-len(body) % 4)
        table += struct.pack(">4sII", tag, places[body], len(body))
    size = 128 + len(table) + len(bodies)
    version = 0x04400000 if code_points else 0x04300000
    kind = b"GRAY" if encoding.matrix is None else b"RGB "
    header = struct.pack(">I4xI4s4s4s6H4s", size, version, b"mntr", kind, b"XYZ ", *_MADE, b"acsp")
    return header.ljust(68, b"\0") + _fixed(D50) + bytes(48) + table + bodies


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(data), 28) + data


def _xyz_tag(xyz: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(xyz)


def _fixed(values: NDArray[np.float64]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _curve_tag(curve: Curve) -> bytes:
    if isinstance(curve, Power):
        kind, numbers = 4, [curve.g, curve.a, curve.b, curve.c, curve.d, curve.e, curve.f]
        if not any((curve.e, curve.f)):
            kind, numbers = (3, numbers[:5]) if curve.d or curve.b or curve.a != 1 else (0, numbers[:1])
        return struct.pack(">4s4xHxx", b"para", kind) + _fixed(np.array(numbers))
    values = curve.light(np.linspace(0, 1, 4096))
    return struct.pack(">4s4xI", b"curv", len(values)) + np.rint(values * 65535).astype(">u2").tobytes()
