"""The generator of SPADE and OASIS: from a label map to a picture.

Park, Liu, Wang, Zhu: Semantic Image Synthesis with Spatially-Adaptive Normalization (arXiv:1903.07291).
Schoenfeld, Sushko, Zhang, Gall, Schiele, Khoreva: You Only Need Adversarial Supervision for Semantic Image
Synthesis (arXiv:2012.04781).
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.joining import channels_of, join, read_further
from img2img.models.noise import Noise
from img2img.models.norm import NormKind, make_norm
from img2img.models.spectral import spectral_norm
from img2img.models.stage import stage
from img2img.types import SYMMETRIC, UNIT

_WIDEST = 16  # times the features at full resolution


class Spade(nn.Module):
    """Normalises features, then scales and shifts each place as the labels there and around it say.

    Args:
        channels: C of the features.
        labels: Channels of the label map.
        hidden: Channels between the map and what it says.
        norm: What normalises, without weights: "batch", "instance" or "none".
    """

    def __init__(self, channels: int, labels: int, hidden: int, norm: NormKind) -> None:
        super().__init__()
        self.norm = make_norm(norm, channels, affine=False)
        self.shared = stage(conv=nn.Conv2d(labels, hidden, 3, padding=1), activation=nn.ReLU(inplace=True))
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, C, H, W) and labels (N, L, H, W) to (N, C, H, W)."""
        said = self.shared(labels)
        output: Tensor = self.norm(x) * (1 + self.gamma(said)) + self.beta(said)
        return output


class SpadeBlock(nn.Module):
    """A residual block that normalises by a label map, activates and convolves, twice.

    Args:
        before, after: Channels; where they differ a convolution without bias stands in the shortcut, too.
        labels, hidden, norm: See `Spade`.
        spectral: Divides every convolution by its largest singular value, but for those of the norms.
    """

    def __init__(
        self, before: int, after: int, labels: int, hidden: int, norm: NormKind, spectral: bool
    ) -> None:
        super().__init__()

        def conv(fewer: int, more: int, kernel: int, bias: bool = True) -> nn.Module:
            layer = nn.Conv2d(fewer, more, kernel, padding=kernel // 2, bias=bias)
            return spectral_norm(layer) if spectral else layer

        middle = min(before, after)
        self.norm1, self.conv1 = Spade(before, labels, hidden, norm), conv(before, middle, 3)
        self.norm2, self.conv2 = Spade(middle, labels, hidden, norm), conv(middle, after, 3)
        self.activation = nn.LeakyReLU(0.2, inplace=True)
        self.norm: nn.Module | None = None
        if before != after:
            self.norm, self.shortcut = Spade(before, labels, hidden, norm), conv(before, after, 1, bias=False)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, before, H, W) and labels (N, L, H, W) to (N, after, H, W)."""
        y = self.conv1(self.activation(self.norm1(x, labels)))
        y = self.conv2(self.activation(self.norm2(y, labels)))
        output: Tensor = y + (x if self.norm is None else self.shortcut(self.norm(x, labels)))
        return output


@generators.register("spade_resnet")
class SpadeResnet(Generator):
    """Makes a picture of a label map that every one of its norms looks at.

    The input has one channel for each class, 1 where it is and 0 elsewhere; what has other channels is taken
    as it is. With 64 features, 5 halvings, one middle block and no noise it is SPADE's, with 64 channels of
    noise and no middle block OASIS's. Like the authors' it takes the label map at lower resolutions by its
    nearest pixels.

    Args:
        in_channels: Classes.
        out_channels: Any.
        features: Channels at full resolution; they double with every halving, up to 16 times as many.
        downs: How often the lowest resolution is halved. H and W must be multiples of 2**downs.
        middle: Further blocks at the second lowest resolution.
        noise: Channels of noise beside the classes, see `Noise`; results differ by its seed. 0 for none.
        norm: What normalises, without weights: "batch" by the averages of the training, "instance" or "none".
        hidden: Channels between the label map and what it says, in each norm.
        spectral: Divides the convolutions of the blocks by their largest singular values.
        further: Conditions that become channels behind the classes, "instance:ids:1"; see
            `img2img.models.joining`.

    Raises:
        ConfigError: A value that is not allowed.
    """

    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {
        "features": 2,
        "downs": 2,
        "middle": 1,
        "noise": 2,
        "norm": "instance",
        "hidden": 4,
    }

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        downs: int = 5,
        middle: int = 0,
        noise: int = 64,
        norm: NormKind = "batch",
        hidden: int = 128,
        spectral: bool = True,
        further: str = "",
    ) -> None:
        super().__init__()
        if downs < 1 or min(middle, noise) < 0:
            raise ConfigError(
                "a generator of SPADE needs downs >= 1, middle >= 0 and noise >= 0; they are "
                f"{downs}, {middle} and {noise}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.input_range, self.output_range = UNIT, SYMMETRIC
        self.multiple_of = 2**downs
        self.minimum_size = 2 ** (downs + 1)  # of a single value no norm can make anything
        self.tiling = "global_statistics" if norm == "instance" else "local"
        self.cells = [2**level for level in range(downs, -1, -1)]  # of each block, the lowest first
        self.cells[1:1] = [2 ** (downs - 1)] * middle
        self.receptive_field = self._radius()
        self.conditions = read_further(further)
        seen = in_channels + channels_of(self.conditions) + noise
        self.live_features = 11 * features + hidden + seen + in_channels + 2 * out_channels

        def width(level: int) -> int:
            return features * min(1 << level, _WIDEST)

        self.noise = Noise(noise)
        self.first = nn.Conv2d(seen, width(downs), 3, padding=1)
        blocks, before = [], width(downs)
        for cell in self.cells:
            after = width(cell.bit_length() - 1)
            blocks.append(SpadeBlock(before, after, seen, hidden, norm, spectral))
            before = after
        self.blocks = nn.ModuleList(blocks)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.last = stage(
            activation=nn.LeakyReLU(0.2),
            conv=nn.Conv2d(features, out_channels, 3, padding=1),
            output=nn.Tanh(),
        )

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """(N, in_channels, H, W) in [0, 1] and what `further` names to (N, out_channels, H, W) in [-1, 1]."""
        if self.conditions:
            x = join(x, self.conditions, conditions, self.input_range)
        labels, cell = self.noise(x), self.multiple_of
        y = self.first(labels[..., ::cell, ::cell])
        for block, now in zip(self.blocks, self.cells, strict=True):
            y = self.enlarge(y) if now < cell else y
            cell = now
            y = block(y, labels[..., ::cell, ::cell])
        output: Tensor = self.last(y)
        return output

    def _radius(self) -> int:
        """Returns the receptive radius in input pixels.

        From the output down to the lowest resolution: a block sees two cells around each of its own through
        its convolutions, and two more in the label map.
        """
        reach, radius = 1, 0
        for cell in reversed(self.cells):
            reach = -(-reach // cell) * cell
            radius, reach = max(radius, reach + 4 * cell), reach + 2 * cell
        return radius
