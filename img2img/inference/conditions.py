"""What a network takes beside the picture: masks, numbers of objects, further pictures, vectors.

A spatial condition has the size of its picture and goes the same way: through the resize to the size of the
model, mirrored at the border where the picture is padded, and cut into the same windows. Its padding is the
mirror image, as that of the picture is, so every padded pixel carries what belongs to the pixel that it
repeats. Zeros beside a mirrored picture would say that what is seen again of a hole is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img2img.conditions import require_conditions
from img2img.errors import ConfigError, ProcessingError
from img2img.fields import Field, Fields, Ids, Mask, Picture, Vector, in_full, in_words
from img2img.image import Image
from img2img.image.image import DTYPES, Pixels
from img2img.image.planes import ids_of, mask_of, whole
from img2img.image.tensor import to_tensor
from img2img.models import Generator

Planes = Mapping[str, NDArray[Any]]
"""The conditions of one picture: (H, W, C) of a spatial one, (K,) of a vector."""


def by_picture(fields: Fields, given: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Returns for each of `count` pictures its conditions by name.

    Raises:
        ConfigError: A name is missing or unknown, or there is not one of a condition for each picture.
    """
    require_conditions(fields, given)
    for name, values in given.items():
        one = isinstance(values, np.ndarray) and fields[name].spatial
        if one or not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
            raise ConfigError(
                f"of the condition {name!r} a list is needed, one for each picture, not "
                f"{type(values).__name__}."
            )
        if len(values) != count:
            raise ConfigError(f"there are {count} pictures and {len(values)} of the condition {name!r}.")
    return [{name: given[name][index] for name in fields} for index in range(count)]


def plane(
    name: str,
    field: Field,
    value: Any,
    as_input: Callable[[Image], Pixels],
    notes: list[str],
) -> NDArray[Any]:
    """Returns a condition of one picture as an array.

    Args:
        name: Of the condition.
        field: Its kind.
        value: For a spatial kind an image or an array: of masks (H, W) or (H, W, C), bool, uint8, uint16 or
            floats; of ids (H, W) or (H, W, 1), integers. For a vector numbers.
        as_input: What makes a picture the one that the network sees.
        notes: Receives a sentence about what is unusual.

    Returns:
        (H, W, C): of a mask one uint8, 0 or 1; of ids one int32; of a picture its levels. Of a vector (K,)
        float32.

    Raises:
        ConfigError: It is of another kind.
        ProcessingError: It is of this kind and holds what makes no sense.
    """
    if isinstance(field, Vector):
        return _vector(name, field, value)
    try:
        if isinstance(field, Ids) and isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            ids = value[..., None] if value.ndim == 2 else value
            if ids.ndim != 3 or ids.shape[2] != 1 or 0 in ids.shape:
                raise _misfit(name, field, value)
            return whole(ids)
        image = _image(name, field, value)
        if isinstance(field, Ids):
            return ids_of(image)
        if isinstance(field, Mask):
            mask, remarks = mask_of(image)
            notes += remarks
            return mask
        return as_input(image)
    except ProcessingError as error:
        raise ProcessingError(f"the condition {name!r}: {error}") from error


def _image(name: str, field: Field, value: Any) -> Image:
    if isinstance(value, Image):
        return value
    if isinstance(value, np.ndarray):
        pixels = value[..., None] if value.ndim == 2 else value
        if pixels.dtype == np.bool_:
            pixels = pixels * np.uint8(255)
        elif pixels.dtype.kind == "f":
            pixels = pixels.astype(np.float32, copy=False)
        if pixels.ndim == 3 and 0 not in pixels.shape and pixels.dtype in DTYPES:
            return Image(pixels)
    raise _misfit(name, field, value)


def _vector(name: str, field: Vector, value: Any) -> NDArray[np.float32]:
    try:
        vector = np.atleast_1d(np.asarray(value, np.float32))
    except (TypeError, ValueError):
        raise _misfit(name, field, value) from None
    if isinstance(value, str) or vector.ndim != 1 or not vector.size:
        raise _misfit(name, field, value)
    if field.size is not None and vector.size != field.size:
        raise ProcessingError(
            f"the condition {name!r} has {vector.size} numbers, and the model takes {in_full(field)}."
        )
    if not np.isfinite(vector).all():
        raise ProcessingError(f"the condition {name!r} holds values that are not finite numbers.")
    return vector


def require_size(name: str, plane: NDArray[Any], image: Image) -> None:
    """Makes sure that a spatial condition (H, W, C) has the size of its picture.

    Raises:
        ProcessingError: It has not.
    """
    height, width = plane.shape[:2]
    if (height, width) != (image.height, image.width):
        raise ProcessingError(
            f"the condition {name!r} has {width}x{height} pixels, and its picture has "
            f"{image.width}x{image.height}; they must be of one size."
        )


def stacked(generator: Generator, each: Sequence[Planes], device: torch.device) -> dict[str, Tensor]:
    """Returns the conditions of several windows of one size as `generator` takes them, on `device`."""
    found = {}
    for name, field in generator.conditions.items():
        arrays = [planes[name] for planes in each]
        if isinstance(field, Picture):
            found[name] = to_tensor(arrays, generator.input_range, device=device)
            continue
        values = torch.from_numpy(np.stack(arrays)).to(device)
        if field.spatial:
            values = values.permute(0, 3, 1, 2).contiguous()
        found[name] = values.float() if isinstance(field, Mask) else values
    return found


def typical(generator: Generator, x: Tensor) -> dict[str, Tensor]:
    """Returns noise for the conditions that go with `x`, to try a network with.

    Raises:
        ConfigError: The length of a vector is not known.
    """
    count, _, height, width = x.shape
    found = {}
    for name, field in generator.conditions.items():
        if isinstance(field, Vector):
            if field.size is None:
                raise ConfigError(f"the length of its vector {name!r} is not known.")
            found[name] = torch.ones(count, field.size, device=x.device)
        elif isinstance(field, Picture):
            other = x.flip(3)
            found[name] = other[:, :1].expand(-1, field.channels, -1, -1) if field.channels else other
        else:
            places = torch.arange(height * width, device=x.device).view(1, 1, height, width) // 7 % 2
            kind = torch.int32 if isinstance(field, Ids) else torch.float32
            found[name] = places.to(kind).repeat(count, 1, 1, 1)
    return found


def _misfit(name: str, field: Field, value: Any) -> ConfigError:
    allowed = {
        Mask: "an image, or an array (H, W) or (H, W, C) of bool, uint8, uint16 or floats",
        Ids: "an image, or an array (H, W) of integers",
        Picture: "an image, or an array (H, W, C) of uint8, uint16 or floats",
    }.get(type(field), "a row of numbers")
    found = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    return ConfigError(f"the condition {name!r} is {in_words(field)}: {allowed}, not {found}.")
