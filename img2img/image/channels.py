"""From the channels that a picture has to those that a network takes: the same in training and in use."""

from __future__ import annotations

import numpy as np

from img2img.errors import ProcessingError
from img2img.image.alpha import bleed, over_white, visible
from img2img.image.colour import BT601
from img2img.image.image import Image, Pixels, white_of

_NOISE = 2  # levels of 8 bits by which lossy formats part equal channels


def ends_in_alpha(channels: int, bands: int) -> bool:
    """Returns whether the last of a network's `channels` is alpha.

    Two are grey and alpha, four are RGB and alpha; but not beside a picture that has as many `bands` (alpha
    not counted), as multi-spectral ones do.
    """
    return channels in (2, 4) and bands != channels


def with_channels(image: Image, channels: int, unmixed: bool = False) -> Pixels:
    """Returns what a network with so many channels sees of `image`.

    Grey is repeated, and colour becomes grey as BT.601 luma. Where the last channel is alpha, a picture
    without it is opaque, and colours under alpha 0 are those of what is around them; otherwise the picture is
    laid over white.

    Args:
        image: Any picture.
        channels: How many.
        unmixed: Whether colours stand for classes: none is invented then, what is hidden beside alpha is
            white.

    Returns:
        (H, W, channels) in the dtype of the picture.

    Raises:
        ProcessingError: There is no way from its channels to those.
    """
    if not ends_in_alpha(channels, image.channels):
        return _brought(over_white(image).pixels, channels)
    alpha = image.alpha
    if alpha is None:
        alpha = np.full(image.pixels.shape[:2], image.white, image.pixels.dtype)
        colours = image.pixels
    elif unmixed:
        colours = np.where(alpha[..., None] > 0, image.pixels, image.pixels.dtype.type(image.white))
    else:
        colours = bleed(image).pixels
    return np.concatenate((_brought(colours, channels - 1), alpha[..., None]), 2)


def as_grey(image: Image) -> Image:
    """Returns a picture that has no colours, though it is stored in three channels, with one.

    In 8 bits the channels may be two levels apart. Colours under alpha 0 do not count, and are black then.
    Any other picture comes back as it is.
    """
    pixels, seen = image.pixels, visible(image)
    if image.channels != 3:
        return image
    if seen is not None:
        pixels = np.where(seen[..., None], pixels, np.zeros_like(pixels[0, 0]))
    if not (_colourless(pixels[::32, ::32]) and _colourless(pixels)):
        return image
    grey = pixels[..., :1]
    if not (grey == pixels).all():
        grey = np.rint(pixels.mean(2, keepdims=True, dtype=np.float32)).astype(np.uint8)
    return image.replace(pixels=np.ascontiguousarray(grey))


def _colourless(pixels: Pixels) -> bool:
    red, green, blue = (pixels[..., c] for c in range(3))
    if pixels.dtype != np.uint8:
        return bool((red == green).all() and (green == blue).all())
    most, least = (reach(reach(red, green), blue) for reach in (np.maximum, np.minimum))
    return int((most - least).max()) <= _NOISE


def from_channels(pixels: Pixels, bands: int) -> tuple[Pixels, Pixels | None]:
    """Returns the colours (H, W, C) and the alpha (H, W) in what a network made.

    Args:
        pixels: (H, W, channels).
        bands: Of the picture that went in, alpha not counted; 0 where two and four always end in alpha.
    """
    if ends_in_alpha(pixels.shape[2], bands):
        return pixels[..., :-1], pixels[..., -1]
    return pixels, None


def _brought(pixels: Pixels, channels: int) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, channels, 2)
    if channels == 1 and pixels.shape[2] == 3:
        luma = pixels.astype(np.float32) @ np.array(BT601, np.float32)
        return (luma if white_of(pixels.dtype) == 1 else np.rint(luma)).astype(pixels.dtype)[..., None]
    raise ProcessingError(
        f"the picture has {pixels.shape[2]} channels and the model takes {channels}; what can be converted "
        "is grey to any number, and colour to grey"
    )
