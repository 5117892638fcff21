"""Several pictures, maps and numbers as one input: further conditions become channels beside the picture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from img2img.errors import ConfigError
from img2img.fields import KINDS, Field, Fields, Ids, Mask, Picture, Vector, require_names
from img2img.types import ValueRange

_MOST = 2**16  # channels of one condition


def in_one_line(fields: Fields, channels: Mapping[str, int]) -> str:
    """Returns conditions as the argument `further` of a generator has them: "hint:picture:3 mask:mask:1".

    Args:
        fields: Their kinds, by name.
        channels: How many each has; of a vector its length.
    """
    return " ".join(f"{name}:{field.kind}:{channels[name]}" for name, field in fields.items())


def read_further(text: str) -> dict[str, Field]:
    """Returns the conditions that `in_one_line` wrote.

    Raises:
        ConfigError: The text is nothing of the kind.
    """
    found: dict[str, Field] = {}
    for word in text.split():
        name, kind, size = (*word.split(":"), "", "")[:3]
        known = kind in KINDS and size.isdecimal() and 0 < int(size) <= _MOST and word.count(":") == 2
        if not known or name in found or (kind in ("mask", "ids") and size != "1"):
            raise ConfigError(
                f"further is {text!r}, and is to be NAME:KIND:CHANNELS for each condition, such as "
                f"'hint:picture:3 attributes:vector:5'; kinds are {', '.join(KINDS)}."
            )
        if kind == "picture":
            found[name] = Picture(channels=int(size))
        else:
            found[name] = Vector(size=int(size)) if kind == "vector" else KINDS[kind]()
    require_names(found)
    return found


def channels_of(fields: Fields) -> int:
    """Returns how many channels conditions become."""
    sizes = [getattr(field, "channels", None) or getattr(field, "size", None) for field in fields.values()]
    return sum(size or 1 for size in sizes)


def join(x: Tensor, fields: Fields, given: Mapping[str, Tensor], value_range: ValueRange) -> Tensor:
    """Returns a picture with its conditions as further channels.

    A mask is white where it is 1, and black elsewhere. Of numbers of objects the borders between them are
    white, since the numbers themselves mean nothing. A vector is the same in every place.

    Args:
        x: (N, C, H, W) in the value range.
        fields: The kinds of the conditions, in the order of the channels.
        given: Pictures (N, C', H, W) in the value range, masks and ids (N, 1, H, W), vectors (N, K).
        value_range: Black and white.

    Returns:
        (N, C + all of them, H, W).
    """
    low, high = value_range
    planes = [x]
    for name, field in fields.items():
        value = given[name]
        if isinstance(field, Vector):
            value = value[:, :, None, None].expand(-1, -1, *x.shape[-2:])
        elif isinstance(field, Ids):
            value = low + (high - low) * boundaries(value).to(x.dtype)
        elif isinstance(field, Mask):
            value = low + (high - low) * value
        planes.append(value.to(x.dtype))
    return torch.cat(planes, 1)


def boundaries(ids: Tensor) -> Tensor:
    """Returns where a number is another one than that of a neighbour to the left, right, above or below.

    Args:
        ids: (N, 1, H, W).

    Returns:
        (N, 1, H, W), boolean; both pixels of a border are true.
    """
    across, down = ids[..., 1:] != ids[..., :-1], ids[..., 1:, :] != ids[..., :-1, :]
    sides = ((across, (1, 0)), (across, (0, 1)), (down, (0, 0, 1, 0)), (down, (0, 0, 0, 1)))
    edges = torch.zeros_like(ids, dtype=torch.bool)
    for differs, padding in sides:
        edges = edges | F.pad(differs, padding)
    return edges
