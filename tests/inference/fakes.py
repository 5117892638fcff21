"""Generators that do something simple, so that what is around them can be seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from img2img.models import Generator


class Enlarge(Generator):
    """Nearest neighbour by `scale`; runs out of memory above `limit` pixels, and can be told to misbehave."""

    live_features = 40
    receptive_field = 0

    def __init__(self, channels: int = 3, scale: int = 2, outputs: int | None = None) -> None:
        super().__init__()
        self.in_channels, self.out_channels = channels, outputs or channels
        self.scale = scale
        self.one = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.one.weight)
        self.limit: int | None = None
        self.seen: list[torch.Size] = []
        self.failed: list[torch.Size] = []
        self.overflow_in_half = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        if self.limit is not None and pixels > self.limit:
            self.failed.append(x.shape)
            raise torch.OutOfMemoryError(f"{pixels} pixels are too many")
        self.seen.append(x.shape)
        if self.overflow_in_half and self.one.weight.dtype != torch.float32:
            x = x * float("inf")
        y = F.interpolate(x, scale_factor=self.scale)
        if self.out_channels != self.in_channels:
            y = y.mean(1, keepdim=True).expand(-1, self.out_channels, -1, -1)
        return y.contiguous()
