"""DySample: enlarges by taking each output pixel from a place that the features choose.

Liu, Lu, Fu, Cao: Learning to Upsample by Learning to Sample (arXiv:2308.15085), as RealPLKSR uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FARTHEST = 8  # pixels of the input


class DySample(nn.Module):
    """Groups of channels are sampled each at places of their own, and mixed into the picture.

    Deviation: no place is farther than `FARTHEST` pixels from where plain enlarging would look, so that it is
    known what a tile depends on. Networks learn places within a pixel or two.

    Args:
        in_channels: Of the features, a multiple of the groups: 4, or `out_channels` at odd scales.
        out_channels: Of the picture; at scale 1 nothing mixes, and it is `in_channels`.
        scale: Output pixels per input pixel along one side.
    """

    init_pos: Tensor

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.scale, self.groups = scale, out_channels if scale % 2 else 4
        places = 2 * self.groups * scale**2
        self.offset = nn.Conv2d(in_channels, places, 1)
        self.scope = nn.Conv2d(in_channels, places, 1, bias=False)
        self.end_conv = nn.Conv2d(in_channels, out_channels, 1) if scale > 1 else nn.Identity()
        nn.init.trunc_normal_(self.offset.weight, std=0.02)
        line = (torch.arange(scale) - (scale - 1) / 2) / scale
        across = torch.stack([line.expand(scale, scale), line.expand(scale, scale).T])
        self.register_buffer("init_pos", across.repeat(1, self.groups, 1).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H*scale, W*scale)."""
        n, _, height, width = x.shape
        moved = self.offset(x) * self.scope(x).sigmoid() * 0.5 + self.init_pos.to(x.dtype)
        moved = moved.to(torch.promote_types(x.dtype, torch.float32)).clamp(-FARTHEST, FARTHEST)
        across, down = torch.unflatten(F.pixel_shuffle(moved, self.scale), 1, (2, self.groups)).unbind(1)
        grid = torch.stack(
            [
                self._seen(across, width) * 2 / width - 1,
                self._seen(down.mT, height).mT * 2 / height - 1,
            ],
            -1,
        )
        features = x.to(moved.dtype).reshape(n * self.groups, -1, height, width)
        sampled = F.grid_sample(features, grid.flatten(0, 1), padding_mode="border", align_corners=False)
        picture: Tensor = self.end_conv(
            sampled.view(n, -1, height * self.scale, width * self.scale).to(x.dtype)
        )
        return picture

    def _seen(self, moved: Tensor, length: int) -> Tensor:
        """Returns where along its last axis each output pixel looks, in input pixels from the border."""
        cells = torch.arange(length, device=moved.device, dtype=moved.dtype) + 0.5
        return moved + cells.repeat_interleave(self.scale)
