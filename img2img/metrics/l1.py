"""Mean absolute difference."""

from __future__ import annotations

from torch import Tensor

from img2img.types import UNIT, ValueRange


def l1(a: Tensor, b: Tensor, value_range: ValueRange = UNIT) -> Tensor:
    """Returns the mean absolute difference of each pair of images, in parts of the whole range.

    Args:
        a, b: (N, C, H, W) of one shape.
        value_range: What stands for black and white.

    Returns:
        (N,), 0 for equal images and 1 for black against white.
    """
    same_shape(a, b)
    return (a.double() - b.double()).abs().flatten(1).mean(1) / (value_range.high - value_range.low)


def same_shape(a: Tensor, b: Tensor) -> None:
    """Checks that two batches can be compared.

    Raises:
        ValueError: They cannot.
    """
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"images to compare have one shape (N, C, H, W), not {tuple(a.shape)} and {tuple(b.shape)}")
