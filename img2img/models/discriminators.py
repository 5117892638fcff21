"""What a discriminator promises, and the registry of them."""

from __future__ import annotations

from torch import Tensor, nn

from img2img.registry import Registry


class Discriminator(nn.Module):
    """A network that tells real images from made ones.

    `forward` takes (N, in_channels, H, W) and returns logits, before any sigmoid: one an image, (N, 1), or
    one for every patch or pixel, (N, 1, h, w). Higher is more real. A conditional one gets source and target
    concatenated along the channels.

    Attributes:
        in_channels: Channels of the input.
        input_size: Side length that the input must have, or None for any.
    """

    in_channels: int
    input_size: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of `x`."""
        raise NotImplementedError


discriminators: Registry[type[Discriminator]] = Registry("discriminator")
