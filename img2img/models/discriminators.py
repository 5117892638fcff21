"""What a discriminator promises, and the registry of them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from img2img.registry import Registry
from img2img.types import Features, Logits


class Discriminator(nn.Module):
    """A network that tells real images from made ones.

    `forward` takes (N, in_channels, H, W) and returns logits, before any sigmoid: one an image, (N, 1), or
    one for every patch or pixel, (N, 1, h, w). Higher is more real. A discriminator that looks at several
    scales returns a list of them, the finest first. A conditional one gets source and target concatenated
    along the channels.

    Attributes:
        in_channels: Channels of the input.
        input_size: Side length that the input must have, or None for any.
        multiple_of: Height and width must be multiples of this.
        minimum_size: Height and width must be at least this.
    """

    in_channels: int
    input_size: int | None = None
    multiple_of: int = 1
    minimum_size: int = 1

    def features(self, x: Tensor) -> Features:
        """Returns what every stage makes of `x`, after its activation; the last are the logits.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            A list of tensors; with several scales one such list each, the finest first.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Logits:
        """Returns the logits of `x`."""
        return logits(self.features(x))


def logits(features: Features) -> Logits:
    """Returns the logits among what `Discriminator.features` returned, of each scale if it has several."""
    last = features[-1]
    return last if isinstance(last, Tensor) else [scale[-1] for scale in features]


def outputs(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Sends `x` through the stages in a row and returns what comes out of each."""
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found


discriminators: Registry[type[Discriminator]] = Registry("discriminator")
