"""RRDBNet: residual-in-residual dense blocks, the generator of ESRGAN and Real-ESRGAN.

References:
    Wang et al., ESRGAN (arXiv 1809.00219): the network, without normalisation.
    Wang et al., Real-ESRGAN (arXiv 2107.10833): pixel unshuffle in front for x2 and x1.
    Rakotonirina and Rasoanaivo, ESRGAN+ (arXiv 2001.08073): the extra 1x1 path (without its noise).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.models.base import Generator, generators
from img2img.models.fused import conv_relu
from img2img.models.init import has_values
from img2img.models.strips import Kept, StripCost, StripStep, overwrite, step, store, strips

SLOPE = 0.2
HALO = 2  # rows of the trunk's features beyond a strip that the tail sees of them
BLOCK_HALO = 15  # three times five convolutions
MOST_INDEXED = 2**31 - 1  # values that kernels with 32-bit indices reach in one tensor


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees the block's input and everything made before it.

    Args:
        features: Channels in and out.
        growth: Channels that each of the first four convolutions adds.
        plus: ESRGAN+: the second result gains a 1x1 convolution of the input, the fourth gains the second.
    """

    def __init__(self, features: int, growth: int, plus: bool) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)
        self.conv1x1 = nn.Conv2d(features, growth, 1, bias=False) if plus else None
        if not has_values(self.conv1.weight):
            return
        with torch.no_grad():
            for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
                nn.init.kaiming_normal_(conv.weight)
                conv.weight.mul_(0.1)
                if conv.bias is not None:
                    conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, features, H, W) to the same shape."""
        seen = torch.cat((x, conv_relu(self.conv1, x, SLOPE)), 1)
        second = conv_relu(self.conv2, seen, SLOPE)
        if self.conv1x1 is not None:
            second = second + self.conv1x1(x)
        seen = torch.cat((seen, second), 1)
        seen = torch.cat((seen, conv_relu(self.conv3, seen, SLOPE)), 1)
        fourth = conv_relu(self.conv4, seen, SLOPE)
        if self.conv1x1 is not None:
            fourth = fourth + second
        del second
        seen = torch.cat((seen, fourth), 1)
        del fourth
        return torch.add(x, self.conv5(seen), alpha=0.2)


class RRDB(nn.Module):
    """Three dense blocks with a residual around them (an RRDB)."""

    def __init__(self, features: int, growth: int, plus: bool) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth, plus)
        self.rdb2 = DenseBlock(features, growth, plus)
        self.rdb3 = DenseBlock(features, growth, plus)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, features, H, W) to the same shape."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=0.2)


@generators.register("rrdbnet")
class RRDBNet(Generator):
    """The generator of ESRGAN and Real-ESRGAN, in (0, 1) without an output activation.

    Parameters with the published 64 features, 23 blocks and growth 32: 16,697,987 (x4), 16,703,171 (x2 with
    `unshuffle=2`), 16,723,907 (x1 with `unshuffle=4`); 4,467,779 with 6 blocks (anime_6B). Real-ESRGAN's x2
    and x1 run the x4 network on an unshuffled input; ESRGAN's own x1, x2, x8 and x16 have as many upsampling
    steps as the scale needs, and `unshuffle=1`.

    Args:
        in_channels, out_channels: Channels of the image.
        scale: 1, 2, 4, 8 or 16.
        features: Width of the trunk.
        blocks: Number of residual-in-residual dense blocks.
        growth: Channels that a convolution of a dense block adds.
        unshuffle: 1, 2 or 4: the input is folded into unshuffle^2 times the channels first.
        plus: With the 1x1 paths of ESRGAN+.

    Raises:
        ConfigError: An argument is outside of what is allowed.
    """

    output_layers = ("conv_last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 8, "blocks": 1, "growth": 4, "scale": 2}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        scale: int = 4,
        features: int = 64,
        blocks: int = 23,
        growth: int = 32,
        unshuffle: int = 1,
        plus: bool = False,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, features, blocks, growth) < 1:
            raise ConfigError("RRDBNet needs channels, features, blocks and growth of 1 or more.")
        if scale not in (1, 2, 4, 8, 16) or unshuffle not in (1, 2, 4):
            raise ConfigError(
                f"RRDBNet has scale 1, 2, 4, 8 or 16 and unshuffle 1, 2 or 4, not {scale} and {unshuffle}."
            )
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.multiple_of = self.unshuffle = unshuffle
        self.upsamplings = int(math.log2(scale * unshuffle))
        # conv_first, three times five convolutions a block, conv_body, and two pixels for the whole tail
        self.receptive_field = unshuffle * (15 * blocks + 4)

        self.conv_first = _conv(in_channels * unshuffle**2, features)
        self.body = nn.Sequential(*(RRDB(features, growth, plus) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        for number in range(1, self.upsamplings + 1):
            self.add_module(f"conv_up{number}", _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, out_channels)

        # trunk: three residual inputs, and of a dense block the last two concatenations;
        # tail: a map, its enlargement and what the convolution makes of that, for one strip of the picture
        final = 4**self.upsamplings
        self.features, self.dense = features, features + 4 * growth
        self.trunk_features = trunk = 3 * features + 2 * self.dense
        tail = features * (2 * final + final // 4) if self.upsamplings else 3 * features
        self.tail_strips = max(1, math.ceil(tail / trunk))
        strip = tail * min(1.0, 1 / self.tail_strips + 2 * HALO / 64) + out_channels * final
        image = in_channels * unshuffle**2 + out_channels * final
        self.live_features = math.ceil((image + max(trunk, features + strip)) / unshuffle**2)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges (N, in_channels, H, W) to (N, out_channels, H*scale, W*scale)."""
        return self.tail(self.trunk(x))

    def infer(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """Does what `forward` does with the tail in strips, so that enlarged features are never whole.

        The trunk is most of the work and little of the memory; the tail at x4 is the other way round.
        """
        features = self.trunk(x)
        if self.tail_strips == 1:
            return self.tail(features)
        n, _, height, width = features.shape
        factor = 2**self.upsamplings
        rows = math.ceil(height / self.tail_strips)
        result: Tensor | None = None
        for top in range(0, height, rows):
            above, bottom = min(top, HALO), min(top + rows, height)
            strip = self.tail(features[:, :, top - above : bottom + HALO])
            if result is None:
                result = strip.new_empty(n, self.out_channels, height * factor, width * factor)
            result[:, :, top * factor : bottom * factor] = strip[:, :, above * factor :][
                :, :, : (bottom - top) * factor
            ]
        assert result is not None  # height is at least 1
        return result

    def strip_costs(self, height: int, width: int, element_size: int) -> list[StripCost]:
        """No layer looks at the whole picture, but the reach is long: all of the trunk is kept, or one map.

        A strip counts in fp32, in which the last convolution computes. The factors were fitted to the
        allocations of a run; a test compares.
        """
        low_width, low_pixels = width // self.unshuffle, height * width // self.unshuffle**2
        image, enlarged = 4 * self.in_channels * height * width, 4**self.upsamplings
        each_row = 4 * 1.3 * self.trunk_features * low_width / self.unshuffle
        around = 4 * 4 * (2 * enlarged + enlarged // 4) * self.features * low_width  # four rows in the tail
        one_map = image + element_size * self.features * low_pixels + around
        costs = [StripCost("one map", one_map, each_row, 2 * BLOCK_HALO * self.unshuffle)]
        if self.dense * low_pixels <= MOST_INDEXED:
            whole = image + element_size * self.trunk_features * low_pixels
            costs.insert(0, StripCost("trunk", whole, each_row, 2 * HALO * self.unshuffle))
        return costs

    def in_strips(self, x: Tensor, kept: Kept, rows: int) -> Iterator[tuple[int, Tensor]]:
        """The tail, where the memory goes, runs in strips; without memory for the trunk that does, too."""
        folding, factor = self.unshuffle, 2**self.upsamplings
        low = max(1, rows // folding)
        if kept == "trunk":
            features = self.trunk(x)
        else:
            unfold = StripStep(lambda image: F.pixel_unshuffle(image, folding), down=folding)
            first = [unfold, step(self.conv_first)]
            features = store(strips(first, x, low * folding), x.shape[2] // folding)
            for block in self.body:
                overwrite(features, strips([StripStep(block, BLOCK_HALO)], features, low), BLOCK_HALO)
            residual = strips([step(self.conv_body)], features, low)
            skipped = strips(first, x, low * folding)
            sums = ((row, skip + part) for (row, part), (_, skip) in zip(residual, skipped, strict=True))
            overwrite(features, sums, 1)
        thin = max(1, min(low, 4 * low // factor**2))  # about as large as a strip of the trunk
        yield from strips([StripStep(self.tail, HALO, up=factor)], features, thin)

    def trunk(self, x: Tensor) -> Tensor:
        """Returns the features (N, features, H/unshuffle, W/unshuffle) that the tail enlarges."""
        if self.unshuffle > 1:
            x = F.pixel_unshuffle(x, self.unshuffle)
        first: Tensor = self.conv_first(x)
        residual: Tensor = self.conv_body(self.body(first))
        return first + residual

    def tail(self, features: Tensor) -> Tensor:
        """Turns the trunk's features into the image; a strip of it sees 2 rows of them beyond its own."""
        for number in range(1, self.upsamplings + 1):
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = conv_relu(getattr(self, f"conv_up{number}"), features, SLOPE)
        image: Tensor = self.conv_last(conv_relu(self.conv_hr, features, SLOPE))
        return image
