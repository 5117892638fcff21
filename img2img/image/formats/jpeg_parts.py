"""The parts of a JPEG file, and what is wrong with them that libjpeg-turbo does not tell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from img2img.errors import ImageLimitError, ImageReadError
from img2img.image.formats.base import Header

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
ARITHMETIC = frozenset((0xC9, 0xCA, 0xCB))
APP0, HUFFMAN, START, END, SCAN, QUANTIZATION, ADOBE = 0xE0, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xEE

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)  # the others stand alone or are data
_LOST, _SIXTEEN_ZEROS = bytes(16), 0xF0
_MAX_SEGMENTS = 50_000  # those of 16 MiB of metadata are 300
MAX_SCANS = 1000
_MAX_SCANNED = 5 * 10**9  # pixels times scans: a few seconds; 20 scans of 200 megapixels pass
_FREE_COEFFICIENTS, _COEFFICIENTS_PER_BYTE = 2**28, 256  # bytes of memory for a picture in several scans


@dataclass
class JpegLayout:
    """What decoding has to know of the header.

    Attributes:
        frame: Which kind of JPEG this is, as the marker of its frame says.
        samplings: Factors across and down of each component.
        identifiers: Numbers of the components.
        head: The part of the file before the first scan, as the decoder gets it.
        scan: Where the first scan starts in the file, at its marker.
    """

    frame: int
    samplings: list[tuple[int, int]]
    identifiers: frozenset[int]
    head: bytes = b""
    scan: int = 0


def segments(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yields marker, start and stop of the content of each segment from `at` to the end of the picture.

    What lies between them (picture data, fill bytes, junk) is skipped. Those of the start and end markers are
    empty, four bytes behind the marker like all others.
    """
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, at)
        if match is None:
            return
        marker, at = match[1][0], match.end()
        if marker in (START, END):
            yield marker, at + 2, at + 2
            if marker == END:
                return
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2:
            raise ImageReadError("the JPEG file is broken: the length of a segment is impossible")
        yield marker, at + 2, at + length
        at += length
    raise ImageReadError(f"the JPEG file has more than {_MAX_SEGMENTS:,} segments")


def quantization(body: bytes) -> dict[int, list[int]]:
    """Returns the tables of a segment by their numbers, each of up to 64 steps in zigzag order.

    Raises:
        ImageReadError: One has a zero, which no encoder writes: it makes parts of the picture vanish.
    """
    at, tables = 0, {}
    while at < len(body):
        size = 64 * (1 + (body[at] >> 4))
        table = body[at + 1 : at + 1 + size]
        wide = size > 64
        steps = [256 * a + b for a, b in zip(table[::2], table[1::2], strict=False)] if wide else list(table)
        if 0 in steps:
            raise ImageReadError("the JPEG file is broken: a quantization table holds zeros")
        tables[body[at] & 15] = steps
        at += 1 + size
    return tables


def quality_of(steps: list[int]) -> int | None:
    """Returns the quality, 1 to 100, at which libjpeg would quantize luma nearest to these 64 steps."""
    if len(steps) != 64:
        return None
    given = np.log(np.asarray(steps, np.float64))
    return int(np.abs(_LUMA_BY_QUALITY - given).sum(1).argmin()) + 1


def _luma_steps(quality: int) -> list[int]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((step * scale + 50) // 100, 1), 255) for step in _LUMA]


_LUMA = [  # table K.1 of the JPEG standard, in zigzag order
    *(16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40),
    *(26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51),
    *(56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87),
    *(95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99),
]
_LUMA_BY_QUALITY = np.log([_luma_steps(quality) for quality in range(1, 101)])


def scans_of(data: bytes, at: int, most: int) -> list[tuple[int, int]]:
    """Returns where the headers of the first scans start and stop, without their markers."""
    found = ((start, stop) for marker, start, stop in segments(data, at) if marker == SCAN)
    return list(islice(found, most))


def check_scans(data: bytes, scans: list[tuple[int, int]], header: Header) -> None:
    """Refuses what takes too much work or memory, and pictures that are not all there.

    A file that was cut and then closed with an end marker lacks coefficients, or their last bits, and decodes
    to a blurred picture without a word from the decoder.
    """
    layout: JpegLayout = header.details
    samples = header.width * header.height
    if len(scans) > MAX_SCANS or len(scans) * samples > _MAX_SCANNED:
        many = f"more than {MAX_SCANS:,}" if len(scans) > MAX_SCANS else f"{len(scans):,}"
        raise ImageLimitError(
            f"the picture of {header.width} x {header.height} pixels comes in {many} scans, as files do that "
            "are made to take long; save it again with another program if you trust it"
        )
    widest = max(across * down for across, down in layout.samplings)
    size = sum(2 * samples * across * down // max(1, widest) for across, down in layout.samplings)
    if size > _FREE_COEFFICIENTS + _COEFFICIENTS_PER_BYTE * len(data):
        raise ImageLimitError(
            f"the file has {len(data):,} bytes and takes {size:,} to decode, as files do that are made to "
            "fill the memory; save it again without progressive coding if you trust it"
        )
    complete: defaultdict[int, set[int]] = defaultdict(set)
    for start, stop in scans:
        count = data[start]
        low, high, bits = data[start + 1 + 2 * count : start + 4 + 2 * count]
        if layout.frame not in PROGRESSIVE:
            low, high, bits = 0, 63, 0
        if bits & 15 == 0:
            for component in data[start + 1 : stop - 3 : 2]:
                complete[component].update(range(low, high + 1))
    if any(len(complete[component]) < 64 for component in layout.identifiers):
        raise ImageReadError("the JPEG file is truncated or broken: some scans are missing")


def check_zeros(data: bytes, start: int, stop: int, padded: bool = True) -> None:
    """Refuses runs of zeros between `start` and `stop` in picture data that no encoder writes.

    Those at the very end count only when they cannot be padding.

    Lost blocks of a disk leave them. A decoder takes them for coefficients, and may come out of them without
    a word. Zeros that mean "nothing more in this block" to every table of a scan are what white pages are
    made of.
    """
    if data.find(_LOST, start, stop) < 0:
        return
    first = {
        0x00: 0,
        0x01: 0,
        0x10: 1,
        0x11: 0,
    }  # of each table the symbol whose code is zeros; the usual ones
    frame, at, meaningful = 0, stop, False  # of the picture data before a segment: where they start, and what
    for marker, begin, end in chain(segments(data, 2), [(END, stop + 4, stop)]):
        last = min(begin - 4, stop)
        if meaningful and marker == END and padded:
            last = len(data[:last].rstrip(b"\xff").rstrip(b"\0"))
        if meaningful and data.find(_LOST, max(at, start), last) >= 0:
            raise ImageReadError("the JPEG file is broken: zeros stand where a part of its picture was")
        meaningful = False
        if marker in FRAMES:
            frame = marker
        elif marker == HUFFMAN:
            while begin + 17 < end:
                first[data[begin]] = data[begin + 17]
                begin += 17 + sum(data[begin + 1 : begin + 17])
        elif marker == SCAN:
            at, meaningful = end, frame < 0xC8 and _zeros_mean_something(data[begin:end], frame, first)


def _zeros_mean_something(scan: bytes, frame: int, first: dict[int, int]) -> bool:
    """Returns whether zeros in the picture data after this header say more than that blocks are flat."""
    low, high, bits = scan[-3:]
    if frame not in PROGRESSIVE:
        low, high, bits = 0, 0 if frame in LOSSLESS else 63, 0
    if bits > 15:  # a refinement holds bits without a code
        return False
    for tables in scan[2:-3:2]:
        mean, others = first.get(tables >> 4, 0), first.get(0x10 | tables & 15, 0)
        if (low == 0 and mean) or (high and (others & 15 or others == _SIXTEEN_ZEROS)):
            return True
    return False
