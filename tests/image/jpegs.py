"""A small JPEG encoder for the tests: flat blocks only, but every sampling, order of scans and oddity."""

from __future__ import annotations

import base64
import struct

import numpy as np


class Bits:
    """A string of bits that becomes picture data."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def add(self, value: int, size: int) -> None:
        if size:
            self.text.append(format(value, f"0{size}b"))

    def data(self) -> bytes:
        text = "".join(self.text)
        text += "1" * (-len(text) % 8)
        plain = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        return plain.replace(b"\xff", b"\xff\0")


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def flat_blocks(
    planes: list[np.ndarray],
    samplings: list[tuple[int, int]],
    *,
    frame: int = 0xC0,
    identifiers: tuple[int, ...] = (1, 2, 3, 4),
    scans: list[list[int]] | None = None,
    parameters: bytes = b"\0\x3f\0",
    extra: bytes = b"",
    height: int | None = None,
) -> bytes:
    """Returns a JPEG whose blocks are flat.

    Args:
        planes: For each component the value of each block, -128 to 127: (rows, columns), whole MCUs.
        samplings: Factors across and down of each component.
        frame: Marker of the frame: baseline, extended or progressive (then only its first scan is made).
        identifiers: Numbers of the components.
        scans: Components of each scan. [default: all in one]
        parameters: The last three bytes of each scan's header.
        extra: Segments after the first marker.
        height: What the frame says instead of the height that follows.
    """
    count = len(planes)
    most_across = max(across for across, _ in samplings)
    most_down = max(down for _, down in samplings)
    down, across = planes[0].shape
    rows, columns = down // samplings[0][1], across // samplings[0][0]
    size = (8 * rows * most_down, 8 * columns * most_across)
    lines = b"".join(bytes((identifiers[c], samplings[c][0] << 4 | samplings[c][1], 0)) for c in range(count))
    parts = [b"\xff\xd8", extra, segment(0xDB, b"\0" + b"\x08" * 64)]
    stated = size[0] if height is None else height
    parts.append(segment(frame, struct.pack(">BHHB", 8, stated, size[1], count) + lines))
    parts.append(segment(0xC4, b"\0" + bytes((0, 0, 0, 12, *[0] * 12)) + bytes(range(12))))
    parts.append(segment(0xC4, b"\x10" + bytes((0, 2, *[0] * 14)) + b"\0\1"))
    for scan in scans or [list(range(count))]:
        bits, before = Bits(), [0] * count
        chosen = b"".join(bytes((identifiers[c], 0)) for c in scan)
        parts.append(segment(0xDA, bytes((len(scan),)) + chosen + parameters))
        for c, y, x in _order(scan, samplings, planes, rows, columns):
            step, before[c] = int(planes[c][y, x]) - before[c], int(planes[c][y, x])
            length = abs(step).bit_length()
            bits.add(length, 4)
            bits.add(step if step > 0 else step + (1 << length) - 1, length)
            if frame != 0xC2:
                bits.add(0, 2)
        parts.append(bits.data())
    return b"".join((*parts, b"\xff\xd9"))


def _order(
    scan: list[int], samplings: list[tuple[int, int]], planes: list[np.ndarray], rows: int, columns: int
) -> list[tuple[int, int, int]]:
    """Returns component, row and column of each block: MCU by MCU, or row by row of a single component."""
    if len(scan) == 1:
        down, across = planes[scan[0]].shape
        return [(scan[0], y, x) for y in range(down) for x in range(across)]
    return [
        (c, row * samplings[c][1] + y, column * samplings[c][0] + x)
        for row in range(rows)
        for column in range(columns)
        for c in scan
        for y in range(samplings[c][1])
        for x in range(samplings[c][0])
    ]


# smooth(3, height=40, width=56) in arithmetic coding, which neither Pillow nor OpenCV writes
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAx"
    "NDQ0Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIy"
    "MjIyMjIyMjL/yQARCAAoADgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwDSjC3ffUX8oSOSUwRFuDGyRUUpHs2R"
    "B+L1xMx/7OUc75cH9uu0YkGvPHa3U9xhvyDD1tb9fwV2rWZnMGecywauN2lHjgjTUWLx/eo4MZEpSN3kJJOq0h7dC5mghZo0M+H4"
    "awazCL+gZjr+82Q46pYGJRcclxVCX0i2JH+VIHcK/qo2tzVhUlw4vXbodqeG0QemlOX5FlCUoKdAJCJLDQIhg/kybdeu5eZbBCqT"
    "ZxT0WcwIICBGLf8AxqQtDk8biP8ANoxzObcpMlJgZ+pyxd7II/MpMP4AtDsTBHOoGy5kmpGM+vWHpNPljZ2xvh3hpCg5RArAbyrw"
    "F4Tj874ftdtjYR4d0N2GvsqYrXZinNgzxfK7dV/4vTxi4Zr8JKsXPWrVeA6Egl3NvReW0P0lKZC9kAhazM0fhv2+OTGS693CKJsd"
    "xrHcJ96H4DaWQ4s+t5NwGnmYwwnDWq++McRG5d7y76SDe6PqNMlUiJAT5cZFEQdfJw726uwqpIfZ07wAQCsmtsmVroGXWhuAr3T/"
    "2Q=="
)
