"""Generators for pictures of any size, as in use: what a run draws and measures itself by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from img2img.inference.runner import mirrored, padded
from img2img.models import Generator


class _AnySize(nn.Module):
    """A generator that pads what it gets to the multiple that it needs, and cuts that off its results."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = padded(self.generator, height, width)
        if (rows, columns) != (height, width):
            down, right = (
                torch.from_numpy(mirrored(0, stop, length)).to(x.device)
                for stop, length in ((rows, height), (columns, width))
            )
            x = x.index_select(-2, down).index_select(-1, right)
            conditions = {
                name: value.index_select(-2, down).index_select(-1, right) if value.ndim == 4 else value
                for name, value in conditions.items()
            }
        result: Tensor = self.generator(x, **conditions)
        return result[..., : height * self.generator.scale, : width * self.generator.scale]


def of_any_size(generators: Mapping[str, Generator]) -> dict[str, Generator]:
    """Returns what is called like `generators`, with images (N, C, H, W) of any H and W."""
    return {name: cast(Generator, _AnySize(generator)) for name, generator in generators.items()}
