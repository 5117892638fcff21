"""The generator of pix2pixHD: a global network, and local enhancers around it for twice the resolution each.

Wang, Liu, Zhu, Tao, Kautz, Catanzaro: High-Resolution Image Synthesis and Semantic Manipulation with
Conditional GANs (arXiv:1711.11585).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import Ids
from img2img.models.base import Generator, generators
from img2img.models.joining import boundaries as boundaries
from img2img.models.norm import NormKind, make_norm
from img2img.models.resnet import ResidualBlock, Resnet
from img2img.models.stage import reflect_conv, stage, upsampling
from img2img.types import SYMMETRIC, UNIT


class LocalEnhancer(nn.Module):
    """Works at twice the resolution of what it is built around, and adds that to its own features.

    Args:
        in_channels: Of its input.
        features: Channels at its full resolution; what it is built around returns twice as many.
        blocks: Residual blocks at half of its resolution.
        norm: "instance", "batch" or "none".
        out_channels: Of the picture that it makes; None for one inside of another, which makes features.
    """

    def __init__(
        self, in_channels: int, features: int, blocks: int, norm: NormKind, out_channels: int | None
    ) -> None:
        super().__init__()
        bias, wide = norm == "instance", 2 * features
        self.head = nn.Sequential(
            stage(
                conv=reflect_conv(in_channels, features, 7, bias),
                norm=make_norm(norm, features, "image"),
                activation=nn.ReLU(inplace=True),
            ),
            stage(
                conv=nn.Conv2d(features, wide, 3, stride=2, padding=1, bias=bias),
                norm=make_norm(norm, wide, "image"),
                activation=nn.ReLU(inplace=True),
            ),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(wide, norm, dropout=False) for _ in range(blocks)))
        self.tail = stage(
            **upsampling("deconv", wide, features, kernel=3, bias=bias),
            norm=make_norm(norm, features, "image"),
            activation=nn.ReLU(inplace=True),
        )
        self.last: nn.Module = nn.Identity()
        if out_channels is not None:
            self.last = stage(conv=reflect_conv(features, out_channels, 7), output=nn.Tanh())

    def forward(self, x: Tensor, inner: Tensor) -> Tensor:
        """Returns the picture, or features (N, features, H, W).

        Args:
            x: (N, in_channels, H, W).
            inner: (N, 2 * features, H/2, W/2), what it is built around returned.
        """
        output: Tensor = self.last(self.tail(self.blocks(self.head(x) + inner)))
        return output


@generators.register("pix2pixhd")
class Pix2PixHD(Generator):
    """Label maps or pictures to pictures of 1024x512, and with an enhancer of 2048x1024.

    The network inside is `Resnet` with 4 halvings; for 35 classes with boundaries it has 182,546,755
    parameters. Each enhancer works at twice the resolution of what is inside of it, which sees the input
    averaged over 3x3 pixels and makes features instead of a picture. Boundaries of objects are a further
    channel: 1 where the number of a pixel is not that of one of its 4 neighbours.

    With `style` there are further channels that say how each class looks. In training they come from an
    encoder; in use they are a centre among those that its features had, `styles`, for each class: `set_style`
    says which. Deviation from the authors' code: there every object gets a centre at random.

    Args:
        in_channels: Classes, or channels of the picture.
        out_channels: Any.
        features: Channels of the network inside at its full resolution; half as many in an enhancer.
        downs: Halvings of its resolution.
        blocks: Residual blocks in it.
        enhancers: How many there are. H and W must be multiples of 2**(downs + enhancers).
        local_blocks: Residual blocks of each enhancer.
        norm: "instance", "batch" or "none".
        labels: Whether the input is a label map, one channel for each class, 0 or 1; else a picture.
        instance: Whether it takes numbers of objects, for their boundaries.
        style: Channels that say how a class looks, 3 in the paper; 0 for none.
        clusters: Centres that are kept of each class, at most.

    Attributes:
        styles: (classes, clusters, style), the centres, the most frequent first.
        style_counts: (classes,), how many of them there are.
        style_number: Which of them is used; a class that has fewer begins again with its first.

    Raises:
        ConfigError: A value that is not allowed.
    """

    tiny: ClassVar[dict[str, Any]] = {
        "features": 4,
        "downs": 2,
        "blocks": 1,
        "enhancers": 1,
        "local_blocks": 1,
        "labels": True,
        "instance": True,
        "style": 2,
    }
    grown_arguments: ClassVar[tuple[str, ...]] = ("enhancers", "local_blocks", "clusters")
    styles: Tensor
    style_counts: Tensor

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        features: int = 64,
        downs: int = 4,
        blocks: int = 9,
        enhancers: int = 0,
        local_blocks: int = 3,
        norm: NormKind = "instance",
        labels: bool = False,
        instance: bool = False,
        style: int = 0,
        clusters: int = 10,
    ) -> None:
        super().__init__()
        if min(enhancers, local_blocks, style) < 0 or clusters < 1 or features % 2**enhancers:
            raise ConfigError(
                "a generator of pix2pixHD needs enhancers, local_blocks and style >= 0, clusters >= 1, and "
                "features that can be halved for each enhancer; they are "
                f"{enhancers}, {local_blocks}, {style}, {clusters} and {features}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.labels, self.style = labels, style
        self.input_range, self.output_range = UNIT if labels else SYMMETRIC, SYMMETRIC
        self.conditions = {"instance": Ids()} if instance else {}
        self.all_channels = in_channels + instance + style
        self.base = Resnet(self.all_channels, out_channels, features, blocks, downs, norm)
        if enhancers:
            self.base.last = nn.Sequential()
        self.enhancers = nn.ModuleList(
            LocalEnhancer(
                self.all_channels,
                features >> place,
                local_blocks,
                norm,
                out_channels if place == enhancers else None,
            )
            for place in range(1, enhancers + 1)
        )
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.output_layers = (f"enhancers.{enhancers - 1}.last" if enhancers else "base.last",)
        self.multiple_of = 2**enhancers * self.base.multiple_of
        self.minimum_size = 2**enhancers * self.base.minimum_size
        self.receptive_field = 2**enhancers * (self.base.receptive_field + 8 * (local_blocks + 1))
        self.tiling = self.base.tiling
        self.live_features = 3 * (features >> enhancers) + 3 * self.all_channels + out_channels + 8
        classes = in_channels if labels else 1
        if style:
            self.register_buffer("styles", torch.zeros(classes, clusters, style))
            self.register_buffer("style_counts", torch.zeros(classes, dtype=torch.int64))
        self.style_number = 0

    def forward(self, x: Tensor, instance: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Returns pictures (N, out_channels, H, W) in [-1, 1].

        Args:
            x: (N, in_channels, H, W) in `input_range`; or with all further channels already behind them.
            instance: (N, 1, H, W), the numbers of objects, where it takes them.
            features: (N, style, H, W) in [-1, 1], how things look; None takes those of `style_number`.
        """
        if x.shape[1] != self.all_channels:
            x = self.joined(x, instance, features)
        pyramid = [x]
        for _ in self.enhancers:
            pyramid.append(self.halve(pyramid[-1]))
        y: Tensor = self.base(pyramid.pop())
        for enhancer in self.enhancers:
            y = enhancer(pyramid.pop(), y)
        return y

    def joined(self, x: Tensor, instance: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """Returns (N, all channels, H, W), what the layers see; arguments as in `forward`."""
        parts = [x]
        if self.conditions:
            assert instance is not None
            parts.append(boundaries(instance).to(x.dtype))
        if self.style:
            parts.append((self.chosen(x) if features is None else features).to(x.dtype))
        return torch.cat(parts, 1)

    def classes(self, x: Tensor) -> Tensor:
        """Returns the class of each pixel, (N, H, W) int64; 0 everywhere in pictures."""
        return x.argmax(1) if self.labels else torch.zeros_like(x[:, 0], dtype=torch.int64)

    def chosen(self, x: Tensor) -> Tensor:
        """Returns how each class of (N, in_channels, H, W) looks in the present style, (N, style, H, W)."""
        number = self.style_number % self.style_counts.clamp(min=1)
        centres = self.styles[torch.arange(len(number), device=number.device), number]
        return centres[self.classes(x)].permute(0, 3, 1, 2)


def style_count(generator: Generator) -> int:
    """Returns how many styles `generator` has to choose from."""
    if not isinstance(generator, Pix2PixHD) or not generator.style:
        return 0
    return int(generator.style_counts.max())


def set_style(generator: Generator, number: int) -> None:
    """Chooses how the classes look among the styles that `generator` learned.

    Args:
        generator: Any network.
        number: 0 is the most frequent one of each class.

    Raises:
        ConfigError: It has no styles, or none of that number.
    """
    count = style_count(generator)
    if not 0 <= number < count:
        raise ConfigError(
            f"there is no style {number}: the model has the styles 0 to {count - 1}."
            if count
            else f"the model has no styles to choose from ({generator.spec.name}); leave style out. "
            "pix2pixhd learns some with method.generator.style."
        )
    assert isinstance(generator, Pix2PixHD)
    generator.style_number = number
