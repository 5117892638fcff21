"""The residual generator of CycleGAN, after the style transfer network of Johnson et al. (arXiv:1603.08155).

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks
(arXiv:1703.10593).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.attention import SelfAttention, attention_place
from img2img.models.base import Generator, generators
from img2img.models.dropout import Dropout
from img2img.models.joining import channels_of, join, read_further
from img2img.models.norm import InstanceNorm, NormKind, make_norm
from img2img.models.stage import Upsampling, reflect_conv, stage, upsampling
from img2img.models.strips import (
    Kept,
    StripCost,
    StripStep,
    advance,
    heights,
    measure,
    reach,
    step,
    steps,
    store,
    strips,
    together,
)
from img2img.types import SYMMETRIC


class ResidualBlock(nn.Module):
    """Adds what two 3x3 convolutions make of the input to the input.

    Args:
        channels: C, before and after.
        norm: "batch", "instance" or "none".
        dropout: Whether dropout of one half stands between the convolutions.
        affine: Whether instance norm has weights.
    """

    def __init__(self, channels: int, norm: NormKind, dropout: bool, affine: bool = False) -> None:
        super().__init__()
        bias = norm == "instance"
        self.conv1 = reflect_conv(channels, channels, 3, bias)
        self.norm1 = _norm(norm, channels, affine)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = Dropout(0.5) if dropout else nn.Identity()
        self.conv2 = reflect_conv(channels, channels, 3, bias)
        self.norm2 = _norm(norm, channels, affine)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        y = self.dropout(self.activation(self.norm1(self.conv1(x))))
        output: Tensor = x + self.norm2(self.conv2(y))
        return output

    def as_step(self) -> StripStep:
        """What strips have to know of it."""
        inside = steps(self.conv1, self.norm1, self.activation, self.dropout, self.conv2, self.norm2)
        return StripStep(self, halo=sum(part.halo for part in inside), inside=tuple(inside))


@generators.register("resnet")
class Resnet(Generator):
    """Down to a quarter of the resolution, residual blocks there, and up again.

    With 9 blocks and instance norm 11,378,179 parameters, with 6 blocks 7.838 million. Batch norm uses the
    statistics of each image in evaluation; `set_norm_stats` changes it. The network is
    `last(tail(blocks(head(x))))`; `head` and `tail` are rows of stages with a `conv`, a `norm` and an
    `activation` each, so that large images can go through them in strips.

    Args:
        in_channels, out_channels: Any; those of the picture, without `further`.
        features: Channels at full resolution; they double with every halving of it.
        blocks: Residual blocks, 9 for images of 256 and more, 6 for 128.
        downs: Halvings of the resolution: 2 in CycleGAN, 4 in the global generator of pix2pixHD
            (arXiv:1711.11585). H and W must be multiples of 2**downs.
        norm: "instance", "batch" or "none".
        dropout: Whether each block has dropout of one half, as pix2pix trains this network.
        upsample: "deconv" is the paper's transposed convolution, "resize" a nearest-neighbour enlargement and
            a convolution, which leaves no checkerboard.
        attention: After which residual block self-attention stands (arXiv:1805.08318); true is the middle
            one. Every place then sees all others: the network takes no tiles.
        further: Conditions that become channels beside the picture, "hint:picture:3 label:vector:5"; see
            `img2img.models.joining`.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "blocks": 1}
    kernel: ClassVar[int] = 7  # of the first and of the last convolution
    affine: ClassVar[bool] = False  # whether instance norm has weights

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        blocks: int = 9,
        downs: int = 2,
        norm: NormKind = "instance",
        dropout: bool = False,
        upsample: Upsampling = "deconv",
        attention: bool | int = False,
        further: str = "",
    ) -> None:
        super().__init__()
        if blocks < 0 or downs < 1:
            raise ConfigError(
                f"a residual generator needs blocks >= 0 and downs >= 1; they are {blocks} and {downs}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conditions = read_further(further)
        planes = in_channels + channels_of(self.conditions)
        self.input_range = self.output_range = SYMMETRIC
        self.multiple_of = 2**downs
        self.minimum_size = 2 ** (downs + 1)  # a reflected border needs two pixels at the lowest resolution
        self.tiling = "local" if norm == "none" else "global_statistics"
        self.receptive_field = self._radius(blocks, downs, upsample)
        self.live_features = (6 if upsample == "resize" else 3) * features + planes + out_channels

        widths = [features * 2**level for level in range(downs + 1)]
        self.low_features = widths[-1]
        self.head = nn.Sequential(
            stage(
                conv=reflect_conv(planes, features, self.kernel, norm == "instance"),
                norm=_norm(norm, features, self.affine),
                activation=nn.ReLU(inplace=True),
            ),
            *(self._down(outer, inner, norm) for outer, inner in pairwise(widths)),
        )
        layers: list[nn.Module] = [
            ResidualBlock(widths[-1], norm, dropout, self.affine) for _ in range(blocks)
        ]
        if place := attention_place(attention, blocks, (blocks + 1) // 2, "residual blocks"):
            layers.insert(place, SelfAttention(widths[-1]))
            self.tiling = "none"
        self.blocks = nn.Sequential(*layers)
        self.tail = nn.Sequential(
            *(self._up(inner, outer, norm, upsample) for inner, outer in pairwise(reversed(widths)))
        )
        self.last = stage(conv=reflect_conv(features, out_channels, self.kernel), output=nn.Tanh())

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """(N, in_channels, H, W) and what `further` names to (N, out_channels, H, W), all in [-1, 1]."""
        if self.conditions:
            x = join(x, self.conditions, conditions, self.input_range)
        output: Tensor = self.last(self.tail(self.blocks(self.head(x))))
        return output

    def strip_costs(self, height: int, width: int, element_size: int) -> list[StripCost]:
        """Two maps of features, one or none; a strip counts in fp32, in which the norms compute.

        The factor was fitted to the allocations of a run; a test compares. With attention there is no way.
        """
        if self.tiling == "none":
            return []
        head, blocks, tail = self._steps()
        image = 4 * self.in_channels * height * width
        low_map = element_size * self.low_features * height * width // self.multiple_of**2
        beyond = 2 * max(reach(head), reach(tail) * self.multiple_of)
        each_row = 4 * 1.4 * self.live_features * width
        return [
            StripCost("two maps", image + 2 * low_map, each_row, beyond),
            StripCost("one map", image + low_map, each_row, beyond),
            StripCost("nothing", image, each_row, 2 * reach([*head, *blocks, *tail])),
        ]

    def in_strips(self, x: Tensor, kept: Kept, rows: int) -> Iterator[tuple[int, Tensor]]:
        """Each norm takes the statistics of the picture in a pass over all strips."""
        head, blocks, tail = self._steps()
        if kept == "nothing":
            chain = [*head, *blocks, *tail]
            measure(chain, x, rows)
            yield from strips(chain, x, rows)
            return
        low = max(1, rows // self.multiple_of)
        features = _low_map(head, x, rows, low)
        spare: Tensor | None = None
        for block in blocks:
            if kept == "one map":
                advance(features, [block], 2 * low)  # a row takes half of what one of head or tail does
            else:
                spare = _add_branch(features, block, 2 * low, spare)
        del spare
        measure(tail, features, low)
        yield from strips(tail, features, low)

    def _steps(self) -> tuple[list[StripStep], list[StripStep], list[StripStep]]:
        """Returns what stands before, at and behind the low resolution."""
        blocks = [step(block) for block in self.blocks]
        return steps(self.head), blocks, [*steps(self.tail), together(self.last)]

    def _down(self, in_channels: int, out_channels: int, norm: NormKind) -> nn.Sequential:
        """Returns the stage that halves the resolution."""
        return stage(
            conv=nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=norm == "instance"),
            norm=_norm(norm, out_channels, self.affine),
            activation=nn.ReLU(inplace=True),
        )

    def _up(self, in_channels: int, out_channels: int, norm: NormKind, kind: Upsampling) -> nn.Sequential:
        """Returns the stage that doubles the resolution."""
        return stage(
            **upsampling(kind, in_channels, out_channels, kernel=3, bias=norm == "instance"),
            norm=_norm(norm, out_channels, self.affine),
            activation=nn.ReLU(inplace=True),
        )

    def _radius(self, blocks: int, downs: int, upsample: Upsampling) -> int:
        """Returns the receptive radius in input pixels.

        Into the lowest level: 3 pixels and one of each level; there one of `cell` pixels a convolution; and
        up again, where a transposed convolution sees no more than the next pixel.
        """
        cell = 1 << downs
        wider = 2 * (self.kernel // 2 - 3)
        return wider + 3 + (cell - 1) + 2 * cell * blocks + (cell + 2 if upsample == "deconv" else 2 * cell)


def _norm(kind: NormKind, channels: int, affine: bool) -> nn.Module:
    if affine and kind == "instance":
        return InstanceNorm(channels, affine=True)
    return make_norm(kind, channels, "image")


def _low_map(chain: list[StripStep], x: Tensor, rows: int, low: int) -> Tensor:
    """Returns `chain(x)`; a norm that already stands at low resolution takes its statistics from the map."""
    last_change = max(i for i, part in enumerate(chain) if part.down > 1)
    cut = next((i for i, part in enumerate(chain) if part.norm and i > last_change), len(chain))
    measure(chain[:cut], x, rows)
    features = store(strips(chain[:cut], x, rows), heights(chain, x.shape[2])[-1])
    advance(features, chain[cut:], low)
    return features


def _add_branch(features: Tensor, block: StripStep, rows: int, spare: Tensor | None) -> Tensor:
    """Adds a residual block's branch to the map `features` through a second map, which it returns."""
    first, *middle, norm = block.inside
    branch = store(strips([first], features, rows), features.shape[2], spare)
    advance(branch, middle, rows)
    measure([norm], branch, rows)
    for start, x in strips([norm], branch, rows):
        features[:, :, start : start + x.shape[2]] += x
    return branch
