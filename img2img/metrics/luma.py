"""The brightness that super-resolution is measured on."""

from __future__ import annotations

from torch import Tensor


def luma(images: Tensor, rounded: bool = True) -> Tensor:
    """Returns Y of BT.601 in studio range, as MATLAB's `rgb2ycbcr` makes it.

    Args:
        images: (N, 3, H, W) RGB in levels from 0 to 255.
        rounded: Whether to round to whole levels, as MATLAB does for 8-bit pictures and most papers with it.

    Returns:
        (N, 1, H, W) in float64, from 16 to 235.

    Raises:
        ValueError: There are not three channels.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"Y is made of RGB images (N, 3, H, W), not of {tuple(images.shape)}")
    red, green, blue = images.double().unbind(1)
    y = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    # half away from zero, as MATLAB rounds; torch's own rounding goes to even
    return ((y + 0.5).floor() if rounded else y).unsqueeze(1)
