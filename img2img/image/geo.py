"""The tags by which GeoTIFF says where on earth the pixels lie.

They are kept with their numbers in Intel's order, and stay true when a picture is resized as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from img2img.image.ifd import DOUBLE, IfdEntry, Tree, reordered

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
TAGS = frozenset((PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, 34736, 34737, 42112, 42113))
DROPPED = "the GeoTIFF tags were dropped: the pixels lie elsewhere now"

_LENGTHS = {PIXEL_SCALE: 3, TIE_POINTS: 6, TRANSFORMATION: 16}
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2


def tags(tree: Tree, order: str) -> dict[int, IfdEntry]:
    """Returns the GeoTIFF tags of a directory in the byte order `order`; what is malformed is left out."""
    found = {}
    for tag in TAGS & set(tree):
        field = tree[tag]
        if not isinstance(field, IfdEntry):
            continue
        if tag in _LENGTHS and (field.type != DOUBLE or not field.count or field.count % _LENGTHS[tag]):
            continue
        found[tag] = IfdEntry(field.type, field.count, reordered(field, order, "<").raw)
    return found


def fields(geo: Mapping[int, IfdEntry], order: str) -> dict[int, IfdEntry]:
    """Returns the tags for a directory in the byte order `order`."""
    return {tag: reordered(field, "<", order) for tag, field in geo.items()}


def resized(geo: Mapping[int, IfdEntry], across: float, down: float) -> dict[int, IfdEntry]:
    """Returns the tags of a picture that became so many times as wide and as high."""
    result = dict(geo)
    half = 0.5 if _is_point(geo) else 0.0  # from the corner of a pixel, where areas begin, to its middle
    if PIXEL_SCALE in geo:
        scale = _doubles(geo[PIXEL_SCALE])
        scale[0], scale[1] = scale[0] / across, scale[1] / down
        result[PIXEL_SCALE] = _field(scale)
    if TIE_POINTS in geo:
        points = _doubles(geo[TIE_POINTS])
        points[0::6] = [(i + half) * across - half for i in points[0::6]]
        points[1::6] = [(j + half) * down - half for j in points[1::6]]
        result[TIE_POINTS] = _field(points)
    if TRANSFORMATION in geo:
        matrix = _doubles(geo[TRANSFORMATION])
        for row in range(0, 16, 4):
            a, b = matrix[row] / across, matrix[row + 1] / down
            matrix[row + 3] += half * (a - matrix[row] + b - matrix[row + 1])
            matrix[row], matrix[row + 1] = a, b
        result[TRANSFORMATION] = _field(matrix)
    return result


def _is_point(geo: Mapping[int, IfdEntry]) -> bool:
    """Returns whether coordinates are those of the middles of pixels."""
    keys = geo.get(KEYS)
    if keys is None or keys.type != 3:
        return False
    values = struct.unpack(f"<{keys.count}H", keys.raw)
    lines = [values[at : at + 4] for at in range(4, len(values) - 3, 4)]
    return any(line[0] == _RASTER_TYPE and line[3] == _PIXEL_IS_POINT for line in lines)


def _doubles(field: IfdEntry) -> list[float]:
    return list(struct.unpack(f"<{field.count}d", field.raw))


def _field(values: list[float]) -> IfdEntry:
    return IfdEntry(DOUBLE, len(values), struct.pack(f"<{len(values)}d", *values))
