"""Image sequences, called by a pattern as in FFmpeg: frame_%04d.png is frame_0001.png, frame_0002.png, ..."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from img2img.errors import ImageError, ImageReadError, PlanError, display_path
from img2img.image import Image, Limits, read_image
from img2img.image.conversion import converted
from img2img.video.clip import Clip, Raw
from img2img.video.colour import FULL, RGB, Colours

FPS = Fraction(25)
"""Pictures a second where nothing is said, as in FFmpeg."""
_NUMBER = re.compile(r"%(0?)(\d{0,2})d")
_NAMED = 5  # pictures that are missing, by a sentence each
_SRGB = Colours(primaries=1, transfer=13, matrix=RGB, range=FULL)


def is_pattern(path: Path) -> bool:
    """Returns whether `path` stands for numbered files.

    One %d or %04d is in its name, which has an extension, and no such file is there.
    """
    return len(_NUMBER.findall(path.name)) == 1 and path.suffix != "" and not os.path.lexists(path)


def numbered(path: Path) -> list[tuple[int, Path]]:
    """Returns the files that a pattern stands for, with their numbers, in order.

    Raises:
        PlanError: There is none, or the folder cannot be listed.
    """
    number = _NUMBER.search(path.name)
    assert number is not None
    before, after = path.name[: number.start()], path.name[number.end() :]
    digits = int(number[2] or 1) if number[1] else 1
    found: dict[int, Path] = {}
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError as error:
        raise PlanError(
            f"{display_path(path.parent)} cannot be listed: {error.strerror or error}."
        ) from error
    for name in names:
        middle = name[len(before) : len(name) - len(after)]
        fits = name.startswith(before) and name.endswith(after) and middle.isascii() and middle.isdigit()
        if fits and f"{int(middle):0{digits}d}" == middle:
            found[int(middle)] = path.with_name(name)
    if not found:
        raise PlanError(f"there is no file {display_path(place(path, 1))}, or with another number.")
    return sorted(found.items())


def place(pattern: Path, number: int) -> Path:
    """Returns the file with this number."""
    return pattern.with_name(
        _NUMBER.sub(lambda m: f"{number:0{int(m[2] or 1) if m[1] else 1}d}", pattern.name)
    )


def open_sequence(pattern: Path, fps: Fraction | None, limits: Limits) -> tuple[Clip, Image]:
    """Returns what the pictures that `pattern` stands for are together, and the first.

    Numbers that are missing between the first and the last are frames that are broken.

    Raises:
        ImageReadError: There is none, the first cannot be read, or more numbers are missing than there.
    """
    try:
        files = numbered(pattern)
    except PlanError as error:
        raise ImageReadError(str(error).rstrip("."), pattern) from error
    first, last = files[0][0], files[-1][0]
    count = last - first + 1
    if count > 2 * len(files):
        raise ImageReadError(
            f"the numbers go from {first} to {last}, and only {len(files)} of these {count} pictures are "
            "there; number them without gaps",
            pattern,
        )
    image = _first(files, limits)
    deep = image.pixels.dtype != np.uint8
    rate = fps or FPS
    alpha = image.alpha is not None
    clip = Clip(
        pattern,
        "image2",
        0,
        "pictures",
        image.width,
        image.height,
        ("yuva420p16le" if alpha else "yuv420p16le") if deep else "yuva420p" if alpha else "yuv420p",
        16 if deep else 8,
        1 / rate,
        rate,
        count,
        None,
        None,
        1,
        None,
        _SRGB,
        (),
        0,
        lambda problems: _raws(files, limits, image, problems),
    )
    return clip, image


def _first(files: Sequence[tuple[int, Path]], limits: Limits) -> Image:
    """Returns the first picture that can be read; raises what is wrong with the first where there is none."""
    problem: ImageError | None = None
    for _, path in files:
        try:
            return _read(path, limits)
        except ImageError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _raws(
    files: Sequence[tuple[int, Path]], limits: Limits, first: Image, problems: list[str]
) -> Iterator[Raw]:
    """Yields a frame for each number; one that is missing or cannot be read is the one before, held."""
    start, by_number, last = files[0][0], dict(files), first
    lost: list[str] = []
    for number in range(start, files[-1][0] + 1):
        image, reason = None, "is missing"
        if number in by_number:
            try:
                image = _read(by_number[number], limits)
            except ImageError as error:
                reason = f"cannot be read: {error.reason}"
        if image is None:
            lost.append(f"the picture with the number {number} {reason}")
            if len(lost) <= _NAMED:
                problems.append(lost[-1])
        else:
            last = image
        at = number - start
        yield Raw(at, at, 1, last, image is None)
    if len(lost) > _NAMED:
        problems.append(f"{len(lost)} pictures are missing or cannot be read")


def _read(path: Path, limits: Limits) -> Image:
    """Returns a picture in the colours of videos: sRGB."""
    return converted(read_image(path, limits), role="it").replace(lossless=False, jpeg_quality=None)
