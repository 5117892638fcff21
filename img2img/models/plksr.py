"""PLKSR and RealPLKSR: convolutions with very large kernels, on a part of the channels.

Lee, Yun, Ro: Partial Large Kernel CNNs for Efficient Super-Resolution (arXiv:2404.11848). RealPLKSR is the
form of it that neosr made for GAN training on degraded pictures; it has no paper of its own.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.dysample import FARTHEST, DySample
from img2img.models.norm import LayerNorm
from img2img.models.skip import addable, require_addable, shuffled

Mixer = Literal["ccm", "iccm", "dccm"]
PLKSRNorm = Literal["group", "layer"]
_KERNELS = {"ccm": (3, 1), "iccm": (1, 3), "dccm": (3, 3)}
NORM_GROUPS = 4


class _LargeKernel(nn.Module):
    """Convolves the first `channels` channels and leaves the others (section 3.2)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; without gradients in place."""
        if torch.is_grad_enabled():
            return torch.cat([self.conv(x[:, : self.channels]), x[:, self.channels :]], 1)
        x[:, : self.channels] = self.conv(x[:, : self.channels])
        return x


class _Attention(nn.Module):
    """Weighs each value by what its neighbourhood says (section 3.3)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        weights: Tensor = self.conv(x)
        return x * weights.sigmoid()


class _PLKBlock(nn.Module):
    """Mixes channels and near pixels, looks far, weighs, and is added to its input."""

    def __init__(
        self, features: int, mixer: Mixer, activation: nn.Module, large: _LargeKernel, attention: bool
    ) -> None:
        super().__init__()
        first, second = _KERNELS[mixer]
        self.mixer = nn.Sequential(
            nn.Conv2d(features, 2 * features, first, padding=first // 2),
            activation,
            nn.Conv2d(2 * features, features, second, padding=second // 2),
        )
        self.large = large
        self.attention = _Attention(features) if attention else nn.Identity()
        self.refine = nn.Conv2d(features, features, 1)
        self.before: nn.Module = nn.Identity()
        self.after: nn.Module = nn.Identity()
        _begin(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y: Tensor = self.after(self.refine(self.attention(self.large(self.mixer(self.before(x))))))
        return y + x


class _LargeKernelNetwork(Generator):
    """What both have in common.

    The output is a correction to the input enlarged by nearest neighbour, in (0, 1) like the input.
    """

    def _build(self, features: int, blocks: list[_PLKBlock], reach: int) -> None:
        phases = self.out_channels * self.scale**2
        self.receptive_field = len(blocks) * reach + 2
        self.first = nn.Conv2d(self.in_channels, features, 3, padding=1)
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(features, phases, 3, padding=1)
        for end in (self.first, self.last):
            nn.init.trunc_normal_(end.weight, std=0.02)
        # a block's input, its wide layer before and after the activation; or at the end the phases, those
        # with the input, and the picture
        self.live_features = 2 * self.in_channels + max(6 * features, features + phases, 4 * phases)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) in (0, 1) to (N, out_channels, H*scale, W*scale)."""
        return shuffled(self.last(self.blocks(self.first(x))), x, self.out_channels, self.scale)


@generators.register("plksr")
class PLKSR(_LargeKernelNetwork):
    """PLKSR; as published 7.4 M parameters, PLKSR-tiny (12 blocks, kernel 13, no attention) 2.4 M.

    Args:
        in_channels, out_channels: Equal, or one of them 1, so that the enlarged input can be added.
        scale: Output pixels per input pixel along one side, 1 or more.
        features: Channels throughout.
        blocks: How many.
        kernel: Side of the large kernel, odd.
        partial: Channels that it works on, at most `features`.
        mixer: Sides of the two convolutions that mix channels: "ccm" 3 and 1, "iccm" 1 and 3, "dccm" 3 and 3.
        attention: Whether values are weighed.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 8, "blocks": 1, "scale": 2, "kernel": 5, "partial": 4}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 64,
        blocks: int = 28,
        kernel: int = 17,
        partial: int = 16,
        mixer: Mixer = "dccm",
        attention: bool = True,
    ) -> None:
        super().__init__()
        _check("PLKSR", in_channels, out_channels, scale, features, blocks, kernel, partial)
        if mixer not in _KERNELS:
            raise ConfigError(f"mixer {mixer!r} is not one of {', '.join(_KERNELS)}.")
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        made = [
            _PLKBlock(features, mixer, nn.GELU(), _LargeKernel(partial, kernel), attention)
            for _ in range(blocks)
        ]
        self._build(features, made, sum(side // 2 for side in (*_KERNELS[mixer], kernel)) + attention)


@generators.register("realplksr")
class RealPLKSR(_LargeKernelNetwork):
    """RealPLKSR, as neosr has it: Mish in place of GELU, a norm in each block, and DySample if wanted.

    Args:
        in_channels, out_channels, scale, features, blocks, kernel, partial, attention: As of `PLKSR`; with
            `dysample` the channels are equal.
        norm: "group": over the picture, in groups of channels, after a block; such a network is not the same
            in tiles. "layer": over the channels of each pixel, before it.
        dysample: Whether the picture is sampled from the phases (arXiv:2308.15085) in place of shuffled.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers: tuple[str, ...] = ("last",)
    tiny: ClassVar[dict[str, Any]] = {
        "features": 8, "blocks": 1, "scale": 2, "kernel": 5, "partial": 4, "norm": "layer"
    }  # fmt: skip

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 64,
        blocks: int = 28,
        kernel: int = 17,
        partial: int = 16,
        attention: bool = True,
        norm: PLKSRNorm = "group",
        dysample: bool = False,
    ) -> None:
        super().__init__()
        _check("RealPLKSR", in_channels, out_channels, scale, features, blocks, kernel, partial)
        if norm not in get_args(PLKSRNorm):
            raise ConfigError(f"norm {norm!r} is not one of {', '.join(get_args(PLKSRNorm))}.")
        if norm == "group" and features % NORM_GROUPS:
            raise ConfigError(f"RealPLKSR with group norm has features in {NORM_GROUPS} groups.")
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        made = []
        for _ in range(blocks):
            block = _PLKBlock(features, "dccm", nn.Mish(), _LargeKernel(partial, kernel), attention)
            if norm == "layer":
                block.before = LayerNorm(features)
            else:
                block.after = nn.GroupNorm(NORM_GROUPS, features)
            made.append(block)
        self._build(features, made, 2 + kernel // 2 + attention)
        self.tiling = "global_statistics" if norm == "group" else "local"
        self.to_img: DySample | None = None
        if dysample:
            phases = out_channels * scale**2
            if in_channels != out_channels or phases % (out_channels if scale % 2 else 4):
                raise ConfigError("RealPLKSR with dysample needs as many channels out as in.")
            self.to_img = DySample(phases, out_channels, scale)
            self.output_layers = ("last", "to_img")
            self.receptive_field += FARTHEST + 1
            self.live_features += 24 * scale**2 + 4 * phases * scale**2

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) in (0, 1) to (N, out_channels, H*scale, W*scale)."""
        if self.to_img is None:
            return super().forward(x)
        phases = torch.unflatten(self.last(self.blocks(self.first(x))), 1, (self.out_channels, -1))
        sampled: Tensor = self.to_img((phases + addable(x, self.out_channels).unsqueeze(2)).flatten(1, 2))
        return sampled


def _check(name: str, inputs: int, outputs: int, scale: int, features: int, blocks: int, *sides: int) -> None:
    kernel, partial = sides
    if min(inputs, outputs, scale, features, partial) < 1 or blocks < 0:
        raise ConfigError(f"{name} needs channels, scale, features and partial of 1 or more.")
    if kernel < 1 or kernel % 2 == 0 or partial > features:
        raise ConfigError(f"{name} has an odd kernel, and at most as many partial channels as features.")
    require_addable(name, inputs, outputs)


def _begin(block: _PLKBlock) -> None:
    """Makes what a block adds small, as published."""
    for conv in (block.mixer[2], block.large.conv, block.refine):
        if isinstance(conv, nn.Conv2d):
            nn.init.trunc_normal_(conv.weight, std=0.02)
    if isinstance(block.attention, _Attention):
        nn.init.trunc_normal_(block.attention.conv.weight, std=0.02)
