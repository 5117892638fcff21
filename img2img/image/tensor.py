"""Pixels to tensors in a value range, and back: the only place that scales pixels.

The way there and back is exact for every uint8 and uint16 value in fp32, for (0, 1) and for (-1, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from img2img.errors import ProcessingError
from img2img.image.image import DTYPES, Pixels, white_of
from img2img.types import UNIT, ValueRange

_WHITE = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.float32: 1.0}


def to_tensor(
    pixels: Pixels | Sequence[Pixels],
    value_range: ValueRange = UNIT,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Returns pictures as one batch.

    Pixels travel to the device in the depth that they have and are scaled there, in fp32.

    Args:
        pixels: (H, W, C), or a list of such arrays that agree in shape and dtype; uint8, uint16 or float32,
            of any strides. Black to white is 0 to 255, 0 to 65535 or 0 to 1.
        value_range: What black and white become.
        dtype: Of the result.
        device: Of the result.

    Returns:
        (N, C, H, W), contiguous.

    Raises:
        ValueError: The arrays differ in shape or dtype, or are not pixels.
    """
    arrays = [pixels] if isinstance(pixels, np.ndarray) else list(pixels)
    if not arrays or any(a.ndim != 3 for a in arrays) or len({(a.shape, a.dtype) for a in arrays}) > 1:
        raise ValueError(
            "a batch needs arrays (H, W, C) of one shape and dtype, "
            f"not {[(a.shape, str(a.dtype)) for a in arrays]}"
        )
    source = arrays[0].dtype
    if source not in DTYPES:
        raise ValueError(f"pixels must be uint8, uint16 or float32, not {source}")
    batch = np.ascontiguousarray(arrays[0])[None] if len(arrays) == 1 else np.stack(arrays)
    if not batch.flags.writeable:
        batch = batch.copy()  # torch only shares memory that may be written
    return scale_levels(torch.from_numpy(batch).to(device), value_range, dtype)


def one_hot(indices: Tensor, classes: int, value_range: ValueRange = UNIT) -> Tensor:
    """Returns maps of classes with one channel for each, white where the class is and black elsewhere.

    Args:
        indices: (N, H, W, 1) of uint8, uint16 or whole floats, on any device. What lies beyond the last class
            is of none, and black in all channels.
        classes: K.
        value_range: What black and white become.

    Returns:
        (N, K, H, W) in fp32, contiguous, on the same device.
    """
    places = indices.permute(0, 3, 1, 2).long()
    low, high = value_range
    known = torch.where(places < classes, high, low).float()
    batch, _, height, width = places.shape
    channels = torch.full((batch, classes, height, width), float(low), device=indices.device)
    return channels.scatter_(1, places.clamp(max=classes - 1), known)


def scale_levels(
    levels: Tensor, value_range: ValueRange = UNIT, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Returns levels that are on their device already as a batch.

    Args:
        levels: (N, H, W, C) uint8, uint16 or float32, of any strides; black to white is 0 to 255, 0 to 65535
            or 0 to 1.
        value_range: What black and white become.
        dtype: Of the result.

    Returns:
        (N, C, H, W), contiguous, on the same device.
    """
    white = _WHITE[levels.dtype]
    values = levels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    low, high = value_range
    # A division, not a product with 1 / white: white is exactly `high`, and every level the nearest float.
    values.mul_(high - low).div_(white).add_(low)
    return values.to(dtype)


def to_pixels(
    tensor: Tensor,
    value_range: ValueRange = UNIT,
    dtype: np.dtype | type = np.uint8,
) -> list[Pixels]:
    """Returns a batch as pictures.

    For uint8 and uint16 the values are limited to the range and rounded to the nearest level (half to
    even). For float32 nothing is limited or rounded.

    Args:
        tensor: (N, C, H, W), floating point, on any device.
        value_range: What stands for black and white in it.
        dtype: Of the pixels: uint8, uint16 or float32.

    Returns:
        One C-contiguous array (H, W, C) for each picture.

    Raises:
        ValueError: `tensor` has not four dimensions, or `dtype` is none of pixels.
        ProcessingError: A value is not a number, and so has no level.
    """
    target = np.dtype(dtype)
    if tensor.ndim != 4:
        raise ValueError(f"a batch has the shape (N, C, H, W), not {tuple(tensor.shape)}")
    if target not in DTYPES:
        raise ValueError(f"pixels must be uint8, uint16 or float32, not {target}")
    low, high = value_range
    white = white_of(target)
    values = tensor.detach().to(torch.float32).permute(0, 2, 3, 1).contiguous()
    if values.data_ptr() == tensor.data_ptr():
        values = values.clone()
    values.sub_(low).mul_(white / (high - low))
    if target != np.float32:
        if bool(values.isnan().any()):
            raise ProcessingError("the result has values that are not numbers (NaN); try `precision` fp32")
        values.clamp_(0.0, white).round_()
        values = values.to(torch.uint8 if target == np.uint8 else torch.int32)
    return [picture.astype(target, copy=False) for picture in values.cpu().numpy()]
