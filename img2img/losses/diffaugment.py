"""Augmentation that a gradient passes through, for discriminators that see few images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.registry import unknown
from img2img.types import SYMMETRIC, ValueRange

Augmentation = Literal["color", "translation", "cutout"]


class DiffAugment:
    """Changes every image that a discriminator sees at random, real and made ones alike.

    Call it on everything that enters the discriminator, in its own steps and in the generator's. Every call
    and every image draws anew, as in the paper.

    Args:
        policy: What is done, in this order:

            - "color": brightness is shifted by up to half the distance from grey to white, saturation scaled
              by 0 to 2, contrast by 0.5 to 1.5.
            - "translation": by up to an eighth of each side; what comes in is grey.
            - "cutout": a rectangle of half the height and width, around any pixel, becomes grey.
        value_range: What stands for black and white; grey is the middle.
        generator: Where the draws come from, on the device of the images; torch's own by default.

    Raises:
        ConfigError: There is no such augmentation.

    References:
        Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training (arXiv:2006.10738).
    """

    def __init__(
        self,
        policy: Sequence[Augmentation] = ("color", "translation", "cutout"),
        value_range: ValueRange = SYMMETRIC,
        generator: torch.Generator | None = None,
    ) -> None:
        for name in policy:
            if name not in get_args(Augmentation):
                raise ConfigError(unknown("augmentation", name, get_args(Augmentation)))
        self.policy, self.generator = tuple(policy), generator
        self.grey, self.half = sum(value_range) / 2, (value_range.high - value_range.low) / 2

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape and dtype; saturation mixes all C channels, also a condition's."""
        steps: dict[Augmentation, Callable[[Tensor], Tensor]] = {
            "color": self._color,
            "translation": self._translate,
            "cutout": self._cut,
        }
        x = (images.float() - self.grey) / self.half
        for name in self.policy:
            x = steps[name](x)
        return (x * self.half + self.grey).to(images.dtype)

    def _color(self, x: Tensor) -> Tensor:
        brightness, saturation, contrast = (self._uniform(x).view(-1, 1, 1, 1) for _ in range(3))
        x = x + (brightness - 0.5)
        x = torch.lerp(x.mean(1, keepdim=True), x, 2 * saturation)
        return torch.lerp(x.mean((1, 2, 3), keepdim=True), x, contrast + 0.5)

    def _translate(self, x: Tensor) -> Tensor:
        for dim in (2, 3):
            reach = int(x.shape[dim] / 8 + 0.5)
            shift = (self._uniform(x) * (2 * reach + 1)).floor() - reach
            place = self._places(x, dim) + shift.view(-1, 1, 1, 1).long()
            inside = (place >= 0) & (place < x.shape[dim])
            x = x.gather(dim, place.clamp(0, x.shape[dim] - 1).expand_as(x)) * inside
        return x

    def _cut(self, x: Tensor) -> Tensor:
        hit = torch.ones_like(x[:, :1], dtype=torch.bool)
        for dim in (2, 3):
            size = int(x.shape[dim] / 2 + 0.5)
            middle = (self._uniform(x) * (x.shape[dim] + 1 - size % 2)).floor().view(-1, 1, 1, 1)
            place = self._places(x, dim) - middle + size // 2
            hit = hit & (place >= 0) & (place < size)
        return x.masked_fill(hit, 0.0)

    def _uniform(self, x: Tensor) -> Tensor:
        return torch.rand(len(x), device=x.device, generator=self.generator)

    @staticmethod
    def _places(x: Tensor, dim: int) -> Tensor:
        shape = [1, 1, 1, 1]
        shape[dim] = x.shape[dim]
        return torch.arange(x.shape[dim], device=x.device).view(shape)
