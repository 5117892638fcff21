"""Generators that take more than a picture, as simple as can be."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from img2img.fields import Fields, Ids, Mask, Picture, Vector
from img2img.models import Generator

KINDS: dict[str, Any] = {"mask": Mask(), "ids": Ids(), "guide": Picture(), "attributes": Vector(size=3)}


class Companions(Generator):
    """Two convolutions over everything that it is given; ids count by where they change, as in pix2pixHD.

    Args:
        names: Which of `KINDS` it takes, separated by blanks.
        scale: Output pixels per input pixel.
        unit: `multiple_of`.
        tiling: "local" or "none".
    """

    name = "companions"
    live_features = 60
    receptive_field = 3
    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {}
    conditions: Fields

    def __init__(
        self, names: str = "mask ids guide attributes", scale: int = 1, unit: int = 1, tiling: str = "local"
    ) -> None:
        super().__init__()
        self.in_channels = self.out_channels = 3
        self.scale, self.multiple_of, self.tiling = scale, unit, tiling  # type: ignore[assignment]
        self.conditions = {name: KINDS[name] for name in names.split()}
        self.first = nn.Conv2d(9, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        self.numbers = nn.Linear(3, 8)
        self.seen: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []

    def forward(self, x: torch.Tensor, **conditions: torch.Tensor) -> torch.Tensor:
        assert set(conditions) == set(self.conditions)
        self.seen.append((x, conditions))
        flat = x.new_zeros(x.shape[0], 1, *x.shape[2:])
        mask, ids = conditions.get("mask", flat), conditions.get("ids", flat.int())
        edges = (F.pad(ids, (0, 1, 0, 0)) != F.pad(ids, (1, 0, 0, 0)))[..., :-1].to(x.dtype)
        edges[..., 0] = 0
        guide = conditions.get("guide", x)
        y = self.first(torch.cat([x, mask, (ids % 5).to(x.dtype), edges, guide], 1))
        if "attributes" in conditions:
            y = y + self.numbers(input=conditions["attributes"])[:, :, None, None]
        return F.interpolate(self.last(y.relu()).sigmoid(), scale_factor=self.scale)
