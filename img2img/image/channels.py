"""From the channels that a picture has to those that a network takes: the same in training and in use."""

from __future__ import annotations

import numpy as np

from img2img.errors import ProcessingError
from img2img.image.alpha import bleed, over_white
from img2img.image.image import Image, Pixels, white_of

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601


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


def from_channels(pixels: Pixels, bands: int) -> tuple[Pixels, Pixels | None]:
    """Returns the colours (H, W, C) and the alpha (H, W) in what a network made.

    Args:
        pixels: (H, W, channels).
        bands: Of the picture that went in, alpha not counted.
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
        luma = pixels.astype(np.float32) @ LUMA
        return (luma if white_of(pixels.dtype) == 1 else np.rint(luma)).astype(pixels.dtype)[..., None]
    raise ProcessingError(
        f"the picture has {pixels.shape[2]} channels and the model takes {channels}; what can be converted "
        "is grey to any number, and colour to grey"
    )
