"""Animated GIF, WebP and PNG files: whether a file is one, and its frames as they are seen."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from img2img.errors import ImageError, ImageReadError
from img2img.files import open_regular
from img2img.image import Image, Limits, decode
from img2img.image.codec import check, upright
from img2img.image.conversion import converted
from img2img.image.files import read_bytes
from img2img.image.formats import recognise
from img2img.image.metadata import orientation
from img2img.image.pillow import quiet, raster_of
from img2img.video import png_frames
from img2img.video.clip import Clip, Raw
from img2img.video.colour import FULL, RGB, Colours
from img2img.video.options import CONTAINERS

_PLUGINS = {"GIF": "GifImagePlugin.GifImageFile", "PNG": "PngImagePlugin.PngImageFile"}
_PLUGINS["WebP"] = "WebPImagePlugin.WebPImageFile"
_SRGB = Colours(primaries=1, transfer=13, matrix=RGB, range=FULL)
_HEAD = 30  # bytes in which WebP says that it moves
_TICKS = 1000  # a second
_UNTIMED = 100  # ticks that players show a frame whose file gives it no time


def is_animated(path: Path) -> bool:
    """Returns whether `path` is a GIF, WebP or PNG file with several pictures, by its first bytes.

    A file that cannot be read is none; opening it tells why.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
            if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
                return bool(head[20] & 2)
            if head[:4] == b"\x89PNG":
                return _png_moves(file)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            data = read_bytes(path)
            return recognise(data).probe(data).frames > 1
    except (ImageError, OSError, ValueError, LookupError, struct.error):
        pass
    return False


def _png_moves(file: Any) -> bool:
    at = 8
    while True:
        file.seek(at)
        head = file.read(12)
        if len(head) < 12 or head[4:8] in (b"IDAT", b"IEND"):
            return False
        if head[4:8] == b"acTL":
            return int.from_bytes(head[8:12], "big") > 1
        at += 12 + int.from_bytes(head[:4], "big")


def open_animation(path: Path, limits: Limits, extension: str) -> tuple[Clip, Image]:
    """Returns what the animation at `path` is, and its first frame.

    Args:
        path: A file of which `is_animated`.
        limits: What is refused before it is decoded.
        extension: Of the result. In GIF files frames may have no time at all; in others these get a tenth of
            a second each, which is what players give them. Videos and GIF files get colours of sRGB.

    Raises:
        ImageReadError: It is broken before its first frame ends.
        ImageLimitError: Its frames are larger than allowed.
    """
    data = read_bytes(path, limits)
    kind = recognise(data)
    try:
        header = kind.probe(data)
    except (ValueError, LookupError, OverflowError, struct.error) as error:
        raise ImageReadError(f"the header of the {kind.name} file is truncated or broken", path) from error
    check(header, len(data), limits)
    plays, alpha, count, ticks, hidden = 1, False, 0, 0.0, False
    problems: list[str] = []
    first = None
    deep = kind.name == "PNG" and header.sample_bytes > 1
    for pixels, opacity, duration, info in _frames(data, kind.name, header.frames, problems):
        first = (pixels, opacity) if first is None else first
        if count == 0:
            plays = _plays(kind.name, info)
            hidden = bool(info.get("default_image", False))
        alpha |= opacity is not None and (kind.name != "GIF" or not bool((opacity == 255).all()))
        count, ticks = count + 1, ticks + (duration or _UNTIMED)
        if kind.name != "GIF":  # the others say at once whether there is transparency
            break
    if first is None:
        raise ImageReadError(problems[0] if problems else "it holds no picture", path)
    try:
        still = decode(data, limits, path)  # for everything that is no frame
    except ImageError:
        still = Image(first[0])
    template = still.replace(warnings=(), lossless=False)
    least, in_srgb = 0 if extension == ".gif" else _UNTIMED, extension in (*CONTAINERS, ".gif")
    turn = header.orientation or orientation(header.exif, header.xmp)
    read = partial(_raws, data, kind.name, header.frames, alpha, template, least, in_srgb, turn)
    image = next(read([])).frame
    whole = count if kind.name == "GIF" else header.frames - hidden
    clip = Clip(
        path,
        kind.name.lower(),
        0,
        kind.name.lower(),
        image.width,
        image.height,
        f"yuv{'a' if alpha else ''}420p{'16le' if deep else ''}",
        16 if deep else 8,
        Fraction(1, _TICKS),
        (count * _TICKS / Fraction(ticks)).limit_denominator(1001),
        whole,
        None,
        None,
        1,
        None,
        _SRGB,
        (),
        plays,
        read,
    )
    return clip, image


def _raws(
    data: bytes,
    kind: str,
    count: int,
    alpha: bool,
    template: Image,
    least: int,
    in_srgb: bool,
    turn: int,
    problems: list[str],
) -> Iterator[Raw]:
    """Yields all frames; `problems` receives why some are missing."""
    time = 0.0
    for index, (pixels, opacity, duration, _) in enumerate(_frames(data, kind, count, problems)):
        if not alpha:
            opacity = None
        elif opacity is None:
            opacity = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, 2)  # some frames of the same file have colours
        start, time = round(time), time + (duration or least)
        opacity = None if opacity is None else upright(opacity, turn)
        image = template.replace(pixels=upright(pixels, turn), alpha=opacity, palette=None)
        if in_srgb:
            image = converted(image, role="its frames")
        yield Raw(index, start, round(time) - start, image)


def _frames(
    data: bytes, kind: str, count: int, problems: list[str]
) -> Iterator[tuple[Any, Any, float, dict[Any, Any]]]:
    """Yields what is seen: pixels (H, W, C), alpha, milliseconds, and what Pillow says of it or the file."""
    module, _, name = _PLUGINS[kind].partition(".")
    plugin = getattr(importlib.import_module(f"PIL.{module}"), name)
    done = 0
    try:
        with quiet:
            opened = plugin(io.BytesIO(data))
        with opened as picture:
            if kind == "PNG":  # of a file that is cut off, what it announces; a still picture is none of it
                count = max(count, picture.n_frames) - bool(picture.default_image)
                for pixels, alpha, duration in png_frames.seen(data):
                    yield pixels, alpha, duration, dict(picture.info)
                    done += 1
            else:
                for index in range(count):
                    with quiet:
                        picture.seek(index)
                        picture.load()
                        raster = raster_of(picture.convert("RGBA") if kind == "GIF" else picture)
                    duration = float(picture.info.get("duration", 0))
                    yield raster.pixels, raster.alpha, duration, dict(picture.info)
                    done += 1
    except EOFError:
        pass
    except Exception as error:  # noqa: BLE001  Pillow raises what its parts raise
        problems.append(f"the file is cut off or broken: {done} of {count} pictures can be read ({error})")
        return
    if done < count:
        problems.append(f"the file is cut off or broken: {done} of {count} pictures can be read")
    elif kind == "GIF" and data.rstrip(b"\0")[-1:] != b";":
        problems.append(f"the file is cut off or broken behind its picture {done}")


def _plays(kind: str, info: dict[Any, Any]) -> int:
    """Returns how often the animation is shown; 0 is for ever."""
    if kind != "GIF":
        return int(info.get("loop", 0))
    again = info.get("loop")  # after the first time; there is no such word where it is shown once
    return 1 if again is None else 0 if again == 0 else int(again) + 1
