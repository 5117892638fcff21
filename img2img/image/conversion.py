"""Bringing pictures whose numbers mean different colours together."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np

from img2img.image.colour import SRGB, ColourSpace, Encoding, encoding_of
from img2img.image.icc import profile_of, read_profile, write_profile
from img2img.image.image import Image, Pixels, white_of

Meaning = tuple[bytes | None, ColourSpace | None]  # of the numbers: (icc, space), both None for sRGB
UNTAGGED: Meaning = (None, None)

_ROWS = 128  # at once, so that a large picture needs little memory beside itself
_LARGEST_PROFILE = 16 * 2**20  # bytes that lcms gets to see; those of printers have 1 to 3 MiB
_ALIKE = 0.5 / 255  # no 8-bit level changes
_STEPS = np.linspace(0, 1, 6)
_PROBES = np.concatenate(
    (
        np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), axis=-1).reshape(-1, 3),
        np.linspace(0, 1, 65)[:, None].repeat(3, 1),
    )
)


def meaning(image: Image) -> Meaning:
    """Returns what the numbers of a picture mean, for `converted`: its profile or its colour space."""
    return image.icc, image.space


def same_colours(one: Meaning, other: Meaning) -> bool:
    """Returns whether equal numbers are equal colours in both, to less than half a level of 8 bits."""
    if one == other:
        return True
    a, b = _encoding(*one), _encoding(*other)
    return a is not None and b is not None and _alike(a, b)


def converted(image: Image, to: Meaning = UNTAGGED, role: str = "the picture") -> Image:
    """Returns a picture that looks like `image` with numbers that mean what `to` says.

    Where the numbers mean that already it is `image` itself. Alpha stays. Integers are rounded to the
    nearest and colours outside of `to` are cut off; floats keep them. Little CMS does it for 8 bits; deeper
    pictures follow curves and matrix of their profiles at full depth, and profiles with tables in 8 bits.

    Args:
        image: Grey (1 channel) or RGB (3 channels); others have no colours and stay as they are.
        to: `meaning` of another picture; sRGB if not given.
        role: What the picture is to the user, for the warning when its colours cannot be brought there.
    """
    source = meaning(image)
    if image.channels not in (1, 3) or same_colours(source, to):
        return image
    start, goal = _encoding(*source), _encoding(*to)
    result = image.replace(**_tags(to, goal, image.channels))
    known = start is not None and goal is not None
    if image.channels == 3 and (image.pixels.dtype == np.uint8 or not known):
        made = _through_lcms(image.pixels, source, to, perceptual=not known)
        if made is not None:
            result = result.replace(pixels=made)
            if made.dtype == np.uint8:
                return result
            return result.warn(f"the colours of {role} were converted in 8 bits: a profile works by tables")
    if start is not None and goal is not None:
        return result.replace(pixels=_recoded(image.pixels, start, goal))
    return image.warn(
        f"the colours of {role} mean something else than those that it is put together with, and one of the "
        "two profiles cannot be followed; the numbers were used as they are"
    )


def as_rgb(image: Image) -> Image:
    """Returns a grey picture in three equal channels, with a profile for them; any other as it is."""
    if image.channels != 1:
        return image
    encoding = None if image.icc is None else read_profile(image.icc)
    icc = image.icc if encoding is None else profile_for(encoding, 3)
    return image.replace(pixels=np.repeat(image.pixels, 3, axis=2), icc=icc)


def profile_for(encoding: Encoding, channels: int) -> bytes | None:
    """Returns a profile with the curve of `encoding` for grey (1 channel), or as RGB (3); None for sRGB's.

    A picture that lost its colours, or got some, keeps what its numbers mean by it.
    """
    if channels not in (1, 3) or _alike(encoding, SRGB):
        return None
    if channels == 1:
        return write_profile(Encoding((encoding.grey,)), "grey")
    return write_profile(encoding.as_rgb(), "RGB")


def _tags(to: Meaning, goal: Encoding | None, channels: int) -> dict[str, Any]:
    """Returns what a picture with so many channels has to carry to mean `to`."""
    icc, space = to
    if icc is not None and goal is not None and (len(goal.curves) == 1) != (channels == 1):
        icc = profile_for(goal, channels)
    return {"icc": icc, "space": space}


def _encoding(icc: bytes | None, space: ColourSpace | None) -> Encoding | None:
    if icc is not None:
        return read_profile(icc)
    return SRGB if space is None else encoding_of(space)


@lru_cache(maxsize=64)
def _alike(a: Encoding, b: Encoding) -> bool:
    """Returns whether numbers mean the same in both; of a grey one, whether grey does."""
    if a is b:
        return True
    if 1 in (len(a.curves), len(b.curves)):
        one, other = (SRGB.grey.numbers(each.grey.light(_PROBES[:, 0])) for each in (a, b))
    else:
        one, other = (_step(_PROBES, each, SRGB) for each in (a, b))
    return float(np.abs(one - other).max()) < _ALIKE


def _step(numbers: Any, a: Encoding, b: Encoding) -> Any:
    """Returns numbers (..., 3) in `b` for those in `a`."""
    light = np.stack([curve.light(numbers[..., c]) for c, curve in enumerate(a.curves)], axis=-1)
    assert a.matrix is not None and b.matrix is not None
    light = light @ np.linalg.solve(b.matrix, a.matrix).T.astype(light.dtype)
    return np.stack([curve.numbers(light[..., c]) for c, curve in enumerate(b.curves)], axis=-1)


def _recoded(pixels: Pixels, a: Encoding, b: Encoding) -> Pixels:
    """Returns pixels (H, W, 1 or 3) with numbers that mean in `b` what they mean in `a`."""
    grey, white = pixels.shape[2] == 1, white_of(pixels.dtype)
    a, b = (a, b) if grey else (a.as_rgb(), b.as_rgb())
    result = np.empty(pixels.shape, pixels.dtype)
    for top in range(0, len(pixels), _ROWS):
        numbers = pixels[top : top + _ROWS] / np.float32(white)
        with np.errstate(all="ignore"):  # floats may be no numbers, and stay so
            found = b.grey.numbers(a.grey.light(numbers)) if grey else _step(numbers, a, b)
        if pixels.dtype != np.float32:
            found = np.clip(np.rint(found * white), 0, white)
        result[top : top + _ROWS] = found
    return result


def _through_lcms(pixels: Pixels, source: Meaning, to: Meaning, perceptual: bool) -> Pixels | None:
    """Returns what Little CMS makes of pixels (H, W, 3), in 8 bits but in their own depth, or None.

    Tables are made for the perceptual intent; without them it means nothing but another black.
    """
    from PIL import Image as Pillow
    from PIL import ImageCms

    one, other = _profile(source), _profile(to)
    if one is None or other is None or max(len(one), len(other)) > _LARGEST_PROFILE:
        return None
    try:
        intent = ImageCms.Intent.PERCEPTUAL if perceptual else ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(io.BytesIO(one), io.BytesIO(other), "RGB", "RGB", intent)
    except ImageCms.PyCMSError:
        return None
    white, result = white_of(pixels.dtype), np.empty(pixels.shape, pixels.dtype)
    for top in range(0, len(pixels), _ROWS):
        part = pixels[top : top + _ROWS]
        if part.dtype != np.uint8:
            part = np.rint(np.clip(part * np.float32(255 / white), 0, 255)).astype(np.uint8)
        made = np.asarray(transform.apply(Pillow.fromarray(np.ascontiguousarray(part))))
        result[top : top + _ROWS] = made if pixels.dtype == np.uint8 else made * np.float32(white / 255)
    return result


def _profile(of: Meaning) -> bytes | None:
    """Returns a profile for RGB that says what the numbers mean."""
    icc, space = of
    return icc if icc is not None else profile_of(space or ColourSpace(1, 13), 3)
