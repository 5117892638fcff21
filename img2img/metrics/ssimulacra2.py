"""What the makers of JPEG XL tune their encoder with: no network, no weights."""

from __future__ import annotations

import importlib
import io

import torch
from torch import Tensor

from img2img.metrics.base import Metric, metrics, require_size, rgb, unit
from img2img.metrics.files import package_version
from img2img.types import ValueRange

SMALLEST = 8
"""Pixels of the shortest side."""
_TITLE = "SSIMULACRA 2"


def ssimulacra2(a: Tensor, b: Tensor, value_range: ValueRange, border: int = 0) -> Tensor:
    """Returns the SSIMULACRA 2 score of each image, as the package ssimulacra2 computes it.

    Pictures are rounded to 8 bits and taken for sRGB. It is the number of the package, a port of the authors'
    C++ program, to the last digit. It adds up six scales, each of half the size, and leaves out those of less
    than 8 pixels: where the shortest side has less than 256, values are of fewer scales, and comparable among
    pictures of that size alone.

    Args:
        a, b: (N, C, H, W) of one shape, C = 1 or 3 (RGB), in `value_range`; `b` is the original.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count.

    Returns:
        (N,) float64: 100 where the images are equal, 90 where nobody sees a difference, 50 for medium
        quality, below 0 for what is far apart.

    Raises:
        ValueError: The shapes differ, less than 8x8 pixels are left, there are neither one nor three
            channels, or values are not in the range.
        ConfigError: The package is not installed.

    References:
        Sneyers: SSIMULACRA 2 (https://github.com/cloudinary/ssimulacra2).
    """
    a, b = unit(a, b, value_range, border)
    require_size(_TITLE, a, SMALLEST)
    a, b = rgb(_TITLE, a), rgb(_TITLE, b)
    package_version("ssimulacra2", _TITLE)
    compute = importlib.import_module("ssimulacra2").compute_ssimulacra2
    pairs = zip(b, a, strict=True)
    scores = [float(compute(_file(original), _file(made))) for original, made in pairs]
    return torch.tensor(scores, dtype=torch.float64, device=a.device)


def _file(image: Tensor) -> io.BytesIO:
    """Returns a picture (3, H, W) as a file, which is all that the package takes."""
    levels = image.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
    height, width = levels.shape[:2]
    return io.BytesIO(f"P6\n{width} {height}\n255\n".encode("ascii") + levels.tobytes())


metrics.register("ssimulacra2")(
    Metric(
        ssimulacra2,
        higher_is_better=True,
        decimals=2,
        title=_TITLE,
        perfect=100.0,
        smallest=SMALLEST,
        channels=(1, 3),
        package="ssimulacra2",
    )
)
