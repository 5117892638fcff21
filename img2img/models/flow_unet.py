"""A U-Net that makes pictures out of noise in a few steps, guided by another picture.

The way from noise to picture and the prediction of the picture itself are those of Li, He: Back to Basics:
Let Denoising Generative Models Denoise (arXiv:2511.13720). The network is a convolutional one.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.joining import channels_of, join, read_further
from img2img.models.noise import NoiseField
from img2img.models.norm import LayerNorm
from img2img.models.stage import stage
from img2img.types import SYMMETRIC

_MOST_STEPS = 64  # more than a model file may ask for; the paper takes 50
_FREQUENCIES = 32  # that tell times apart


class _TimedBlock(nn.Module):
    """Two convolutions beside a shortcut, steered by the time.

    Args:
        before, after: Channels; where they differ a 1x1 convolution stands in the shortcut.
        embedding: Numbers that say the time.
    """

    def __init__(self, before: int, after: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = LayerNorm(before), nn.Conv2d(before, after, 3, padding=1)
        self.time = nn.Linear(embedding, 2 * after)
        self.norm2, self.conv2 = LayerNorm(after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(N, before, H, W) and (N, embedding) to (N, after, H, W)."""
        y = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(time)[..., None, None].chunk(2, 1)
        y = self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))
        output: Tensor = self.shortcut(x) + y
        return output


class _TimedLevel(nn.Module):
    """Some blocks in a row."""

    def __init__(self, before: int, after: int, embedding: int, blocks: int) -> None:
        super().__init__()
        widths = [before, *[after] * blocks]
        self.blocks = nn.ModuleList(_TimedBlock(a, b, embedding) for a, b in pairwise(widths))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, time)
        return x


class _StepNetwork(nn.Module):
    """The U-Net: what it takes for the picture at the end of the way.

    Args:
        in_channels: Of the state and what is seen beside it.
        out_channels, features, downs, growth, blocks, patch: See `FlowUNet`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: int,
        downs: int,
        growth: int,
        blocks: int,
        patch: int,
    ) -> None:
        super().__init__()
        self.patch, embedding = patch, 4 * features
        self.time = stage(
            first=nn.Linear(2 * _FREQUENCIES, embedding),
            activation=nn.SiLU(),
            second=nn.Linear(embedding, embedding),
        )
        widths = [features * min(2**level, growth) for level in range(downs + 1)]
        self.first = nn.Conv2d(in_channels * patch**2, features, 3, padding=1)
        self.down, self.halve, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            self.down.append(_TimedLevel(width, width, embedding, blocks))
            if level < downs:
                self.halve.append(nn.Conv2d(width, widths[level + 1], 2, stride=2))
                self.up.append(_TimedLevel(width + widths[level + 1], width, embedding, blocks))
        self.last = stage(
            norm=LayerNorm(features),
            activation=nn.SiLU(),
            conv=nn.Conv2d(features, out_channels * patch**2, 3, padding=1),
        )

    def forward(self, z: Tensor, time: Tensor, seen: Tensor) -> Tensor:
        """States (N, C, H, W), times (N,) and what is seen (N, C', H, W) to (N, out_channels, H, W)."""
        frequencies = torch.exp(torch.arange(_FREQUENCIES, device=z.device) * (-math.log(1e4) / _FREQUENCIES))
        angles = 1e3 * time[:, None] * frequencies.to(time)
        embedding = F.silu(self.time(torch.cat((angles.cos(), angles.sin()), 1)))
        y = self.first(F.pixel_unshuffle(torch.cat((z, seen.to(z.dtype)), 1), self.patch))
        skips: list[Tensor] = []
        for down, halve in zip(self.down, self.halve, strict=False):  # the innermost level halves nothing
            skips.append(down(y, embedding))
            y = halve(skips[-1])
        y = self.down[-1](y, embedding)
        for up in reversed(self.up):
            y = torch.cat((F.interpolate(y, scale_factor=2.0, mode="nearest"), skips.pop()), 1)
            y = up(y, embedding)
        return F.pixel_shuffle(self.last(y), self.patch)


@generators.register("flow_unet")
class FlowUNet(Generator):
    """Goes from noise to a picture in `steps` evaluations of a U-Net that sees the source beside it.

    At the time t, 0 to 1, the state is z = t * picture + (1 - t) * noise. From z, t and the source the U-Net
    predicts the picture, and a step of Euler's method goes towards it: z += (t' - t) / (1 - t) * (picture -
    z), so the last one ends at what it predicts. Another seed of the noise gives another result.

    Norms are those of each place over its channels, so nothing depends on the size of the picture, and tiles
    with all of `receptive_field` around them equal the whole. It grows with the steps.

    Args:
        in_channels: Channels of the source.
        out_channels: Channels of the result.
        features: Channels at full resolution; they double with every halving.
        downs: How often the resolution is halved.
        growth: How many times `features` there are at most.
        blocks: Residual blocks at each resolution, on the way down and on the way up.
        patch: Side of the squares of pixels that the U-Net takes and makes as one. H and W must be multiples
            of patch * 2**downs.
        noise: Standard deviation of the noise, where black and white are -1 and 1; at 0 there is none, and a
            picture has one result.
        steps: Evaluations of the U-Net for a result, up to 64; `set_steps` gives others.
        further: Further conditions, which it sees as channels beside the source, see `joining.in_one_line`.
        holes: Whether the condition `mask` says where the source is not known. Nothing of it is seen there,
            and outside of it the result is the source.

    Raises:
        ConfigError: A value that is not allowed.
    """

    grown_arguments = ("steps",)
    training_arguments = ("steps",)
    output_layers = ("network.last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "downs": 1, "growth": 2, "steps": 2}
    steps: int

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        downs: int = 3,
        growth: int = 4,
        blocks: int = 1,
        patch: int = 1,
        noise: float = 1.0,
        steps: int = 5,
        further: str = "",
        holes: bool = False,
    ) -> None:
        super().__init__()
        if min(features, growth, blocks, patch) < 1 or downs < 0 or not 0 <= noise < math.inf:
            raise ConfigError(
                "a flow_unet needs features, growth, blocks and patch >= 1, downs >= 0 and noise >= 0; they "
                f"are {features}, {growth}, {blocks}, {patch}, {downs} and {noise}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conditions = read_further(further)
        if holes and ("mask" not in self.conditions or in_channels != out_channels):
            raise ConfigError(
                "holes are where the condition mask is 1 (further: mask:mask:1), in pictures with the "
                f"channels of the results; here are {further!r}, {in_channels} and {out_channels}."
            )
        self.input_range = self.output_range = SYMMETRIC
        self.patch, self.deviation, self.holes = patch, noise, holes
        self.multiple_of = patch * 2**downs
        self._downs, self._blocks = downs, blocks
        self.set_steps(steps)
        planes = in_channels + channels_of(self.conditions)
        self.live_features = 3 * planes + 6 * out_channels + -(-(8 + blocks) * features // patch**2)

        self.noise = NoiseField(out_channels if noise else 0)
        self.network = _StepNetwork(
            planes + out_channels, out_channels, features, downs, growth, blocks, patch
        )

    def set_steps(self, steps: int) -> None:
        """See `Generator.set_steps`."""
        if not 1 <= steps <= _MOST_STEPS:
            raise ConfigError(f"`steps` is {steps}; a flow takes 1 to {_MOST_STEPS}.")
        self.steps, begin, end = steps, 0, self.multiple_of
        for _ in range(steps):
            begin, end = self._before(begin, end)
        self.receptive_field = max(-begin, end - self.multiple_of)

    def _before(self, begin: int, end: int) -> tuple[int, int]:
        """Returns which rows of the state those from `begin` to `end` of a prediction come from."""
        around = 2 * self._blocks
        begin, end = begin // self.patch - 1 - around, -(-end // self.patch) + 1 + around
        for _ in range(self._downs):
            begin, end = begin // 2 - around, -(-end // 2) + around
        for _ in range(self._downs):
            begin, end = 2 * begin - around, 2 * end + around
        return self.patch * (begin - 1), self.patch * (end + 1)

    def placed(self, top: int, left: int, height: int, width: int) -> dict[str, Tensor]:
        """The noise of that place."""
        return {"noise": self.noise.at(top, left, height, width)} if self.noise.size else {}

    def forward(self, x: Tensor, noise: Tensor | None = None, **conditions: Tensor) -> Tensor:
        """Makes pictures of pictures.

        Args:
            x: (N, in_channels, H, W) in [-1, 1].
            noise: (N, out_channels, H, W), normally distributed; by default that of pictures that begin here.
            **conditions: What `further` names.

        Returns:
            (N, out_channels, H, W) in [-1, 1], not clamped.
        """
        seen = self.seen(x, **conditions)
        z = self.deviation * (self.start(x) if noise is None else noise)
        for step in range(self.steps):
            z = self.keep(z, x, **conditions)
            time = torch.full((x.shape[0],), step / self.steps, device=x.device, dtype=x.dtype)
            z = torch.lerp(z, self.predict(z, time, seen).to(z.dtype), 1 / (self.steps - step))
        return self.keep(z, x, **conditions)

    def start(self, x: Tensor) -> Tensor:
        """Returns the noise that pictures (N, C, H, W) begin with, (N, out_channels, H, W) of deviation 1."""
        return self.noise(x) if self.noise.size else x.new_zeros(x.shape[0], self.out_channels, *x.shape[2:])

    def seen(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """Returns what the U-Net sees beside the state: the source, grey in its holes, and the conditions."""
        if self.holes:
            x = torch.where(conditions["mask"] > 0.5, 0, x)
        return join(x, self.conditions, conditions, SYMMETRIC)

    def keep(self, z: Tensor, x: Tensor, **conditions: Tensor) -> Tensor:
        """Returns the state with what is known of a picture with holes; all others as they are."""
        return torch.where(conditions["mask"] > 0.5, z, x) if self.holes else z

    def predict(self, z: Tensor, time: Tensor, seen: Tensor) -> Tensor:
        """Returns the picture that the U-Net takes for the end of the way.

        Args:
            z: (N, out_channels, H, W), states.
            time: (N,), from 0 to 1.
            seen: (N, C, H, W), see `seen`.

        Returns:
            (N, out_channels, H, W).
        """
        output: Tensor = self.network(z, time, seen)
        return output

    def compile(self, *arguments: Any, **named: Any) -> None:
        """Compiles the U-Net; what is around it draws numbers and counts steps."""
        self.network.compile(*arguments, **named)
