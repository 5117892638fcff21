"""The network of AdaIN: features of a picture get the means and deviations of a style, and become a picture.

Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization
(arXiv:1703.06868).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.norm import InstanceNorm, instance_norm
from img2img.models.stage import reflect_conv, stage
from img2img.models.strips import (
    Kept,
    StripCost,
    StripStep,
    heights,
    measure,
    reach,
    step,
    steps,
    store,
    strips,
)
from img2img.types import UNIT

EncoderKind = Literal["vgg16", "vgg19"]
_DEPTHS: dict[str, tuple[int, ...]] = {"vgg16": (2, 2, 3, 1), "vgg19": (2, 2, 4, 1)}  # up to conv4_1
_COLOURS = 3


class Moments(NamedTuple):
    """What AdaIN takes of a style: mean and standard deviation of each channel of its features, (N, C)."""

    mean: Tensor
    deviation: Tensor


class AdaptiveInstanceNorm(InstanceNorm):
    """Gives each channel of a picture the mean and the deviation that it has in a style.

    Args:
        channels: C.

    Attributes:
        mean, deviation: (C,), those of the style in use; they are saved with the weights.
        strength: Share of the style, 0 to 1; the rest of the features stays as it is.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.strength = 1.0

    def forward(self, x: Tensor, style: Moments | None = None) -> Tensor:
        """(N, C, H, W) to the same shape; with `style` each picture by moments of its own."""
        mean, deviation = style or (self.mean[None], self.deviation[None])
        y = instance_norm(x, None, None, self.eps, self.statistics)
        y = torch.addcmul(mean.to(x.dtype)[..., None, None], y, deviation.to(x.dtype)[..., None, None])
        return y if self.strength == 1 else torch.lerp(x, y, self.strength)


@generators.register("adain")
class AdaIN(Generator):
    """A frozen encoder, VGG up to the first convolution of its fourth block, AdaIN, and a decoder.

    With VGG19 of 64 features 3.505 million parameters each; what learns is the decoder. Every layer reflects
    the border. In use the style is what the buffers of `adain` hold: `set_style` fills them. A picture with
    the encoder's own moments is what a `strength` of 0 gives.

    Args:
        in_channels, out_channels: 3, since the encoder sees red, green and blue.
        features: Channels at full resolution, 64 of VGG; they double with every halving of it.
        encoder: "vgg19", the paper's, or "vgg16", which has one convolution less in the third block.
        transfer: Whether AdaIN stands between the two. Without it the decoder itself learns one style, as in
            MGAN (arXiv:1604.04382).

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4, "encoder": "vgg16"}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        encoder: EncoderKind = "vgg19",
        transfer: bool = True,
    ) -> None:
        super().__init__()
        if in_channels != _COLOURS or out_channels != _COLOURS or encoder not in _DEPTHS:
            raise ConfigError(
                f"adain has an encoder vgg16 or vgg19, which sees {_COLOURS} channels, and makes as many; "
                f"it was asked for {encoder!r}, {in_channels} and {out_channels}. Grey pictures become "
                f"colours with data.source_channels={_COLOURS}, styles with data.target_channels={_COLOURS}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.input_range = self.output_range = UNIT
        depths = _DEPTHS[encoder]
        self.multiple_of = 2 ** (len(depths) - 1)
        self.minimum_size = (
            2 * self.multiple_of
        )  # a reflected border needs two pixels at the lowest resolution
        self.tiling = "global_statistics"
        self.live_features = 4 * features
        widths = [features * 2**level for level in range(len(depths))]
        self.low_features = widths[-1]

        down: dict[str, nn.Module] = {}
        up: dict[str, nn.Module] = {}  # from its end to its beginning
        inputs = in_channels
        for block, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
            if block > 1:
                down[f"pool{block - 1}"] = nn.MaxPool2d(2, 2)
                up[f"enlarge{block - 1}"] = nn.Upsample(scale_factor=2, mode="nearest")
            for place in range(1, depth + 1):
                name = f"{block}_{place}"
                down[f"conv{name}"] = reflect_conv(inputs, width, 3)
                down[f"relu{name}"] = nn.ReLU(inplace=True)
                if inputs != in_channels:
                    up[f"relu{name}"] = nn.ReLU(inplace=True)
                    up[f"conv{name}"] = reflect_conv(width, inputs, 3)
                inputs = width
        self.encoder = stage(**down).requires_grad_(False)
        self.adain = AdaptiveInstanceNorm(self.low_features) if transfer else None
        self.decoder = stage(**dict(reversed(up.items())))
        self.last = reflect_conv(features, out_channels, 3)
        self.receptive_field = reach(steps(self.encoder)) + reach(steps(self.decoder)) * self.multiple_of + 1

    def forward(self, x: Tensor, mean: Tensor | None = None, deviation: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) to the same shape, both in [0, 1].

        Args:
            x: Pictures.
            mean, deviation: (N, C), the moments of a style for each of them; by default of the one in use.
        """
        features = self.encoder(x)
        if self.adain is not None:
            style = None if mean is None or deviation is None else Moments(mean, deviation)
            features = self.adain(features, style)
        output: Tensor = self.last(self.decoder(features))
        return output

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Returns the features of (N, 3, H, W) that styles are compared by: relu1_1 to relu4_1."""
        found = {}
        for name, layer in self.encoder.named_children():
            x = layer(x)
            if name.startswith("relu") and name.endswith("_1"):
                found[name] = x
        return found

    def transfer(self, content: Tensor, style: Moments) -> tuple[Tensor, Tensor]:
        """Returns pictures, and the features that they are made of.

        Args:
            content: The deepest features of pictures, (N, C, H, W).
            style: Moments of the deepest features of a style for each of them.
        """
        target = self._norm(content, style)
        return self.last(self.decoder(target)), target

    @torch.no_grad()
    def moments(self, picture: Tensor) -> Moments:
        """Returns what it takes of style pictures, (N, 3, H, W) in [0, 1], H and W 16 or more."""
        return moments(self.encoder(picture), self._norm.eps)

    def set_style(self, style: Moments, strength: float = 1.0) -> None:
        """Chooses the style that pictures get.

        Args:
            style: (1, C) each; of several styles their weighted means, since AdaIN is linear in them.
            strength: Share of the style, 0 to 1.
        """
        self._norm.mean.copy_(style.mean[0])
        self._norm.deviation.copy_(style.deviation[0])
        self._norm.strength = strength

    def strip_costs(self, height: int, width: int, element_size: int) -> list[StripCost]:
        """The deepest features or nothing is kept; a strip counts in fp32.

        The factor was fitted to the allocations of a run; a test compares.
        """
        head, _, tail = self._steps()
        image = 4 * self.in_channels * height * width
        low_map = element_size * self.low_features * height * width // self.multiple_of**2
        around = reach(tail) * self.multiple_of
        each_row = 4 * 1.4 * self.live_features * width
        return [
            StripCost("one map", image + low_map, each_row, 2 * max(reach(head), around)),
            StripCost("nothing", image, each_row, 2 * (reach(head) + around)),
        ]

    def in_strips(self, x: Tensor, kept: Kept, rows: int) -> Iterator[tuple[int, Tensor]]:
        """AdaIN takes the statistics of the picture in a pass over all strips."""
        head, norm, tail = self._steps()
        if kept == "nothing":
            chain = [*head, *norm, *tail]
            measure(chain, x, rows)
            yield from strips(chain, x, rows)
            return
        low = max(1, rows // self.multiple_of)
        features = store(strips(head, x, rows), heights(head, x.shape[2])[-1])
        measure(norm, features, low)
        yield from strips([*norm, *tail], features, low)

    @property
    def _norm(self) -> AdaptiveInstanceNorm:
        assert self.adain is not None
        return self.adain

    def _steps(self) -> tuple[list[StripStep], list[StripStep], list[StripStep]]:
        norm = [] if self.adain is None else [step(self.adain)]
        return steps(self.encoder), norm, steps(self.decoder, self.last)


def moments(features: Tensor, eps: float = 1e-5) -> Moments:
    """Returns the mean and the standard deviation of each channel over all pixels, in fp32.

    Args:
        features: (N, C, H, W).
        eps: Added to the variance, as the authors do. It is the biased one, which one pixel has, too.
    """
    values = features if features.dtype == torch.float64 else features.float()
    variance, mean = torch.var_mean(values, (2, 3), correction=0)
    return Moments(mean, (variance + eps).sqrt())
