"""Penalties on the slope of a discriminator.

Under autocast they leave it: second derivatives are computed in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from img2img.losses.pixel import full

Critic = Callable[[Tensor], Tensor | Sequence[Tensor]]
"""Images (N, C, H, W) to logits; a conditional discriminator is given with its condition filled in."""


def gradient_penalty(
    discriminator: Critic,
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns mean((|gradient| - 1) ** 2) at random points between real and made images.

    The gradient is that of an image's mean logit, over patches and scales, which is what the "wgan" loss
    compares; so its weight, 10 in the paper, does not depend on their number. The discriminator should not
    normalise over the batch, because the gradients of its images would then depend on each other.

    Args:
        discriminator: Images to logits.
        real, fake: (N, C, H, W); no gradient passes to where they come from.
        generator: Where the points come from, on the device of the images; torch's own by default.

    Returns:
        A 0-dim fp32 tensor that can be differentiated for the discriminator's parameters.

    References:
        Gulrajani et al., Improved Training of Wasserstein GANs (arXiv:1704.00028).
    """
    real, fake = full(real.detach()), full(fake.detach())
    place = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype, generator=generator)
    slope = _gradient(discriminator, torch.lerp(real, fake, place))
    penalty: Tensor = (slope.norm(dim=1) - 1).square().mean()
    return penalty


def r1_penalty(discriminator: Critic, real: Tensor, gamma: float = 10.0) -> Tensor:
    """Returns gamma / 2 * mean(|gradient| ** 2) at real images.

    The gradient is that of an image's mean logit, over patches and scales.

    Args:
        discriminator: Images to logits.
        real: (N, C, H, W).
        gamma: As in the paper.

    Returns:
        A 0-dim fp32 tensor that can be differentiated for the discriminator's parameters.

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge? (arXiv:1801.04406).
    """
    return gamma / 2 * _gradient(discriminator, full(real.detach())).square().sum(1).mean()


def _gradient(discriminator: Critic, images: Tensor) -> Tensor:
    """Returns (N, values) of the gradients of each image's mean logit."""
    images = images.detach().requires_grad_()
    with torch.autocast(images.device.type, enabled=False), torch.enable_grad():
        logits = discriminator(images)
        scales = [logits] if isinstance(logits, Tensor) else logits
        values = torch.stack([full(scale).reshape(len(scale), -1).mean(1) for scale in scales]).mean(0)
        (gradient,) = torch.autograd.grad(values.sum(), images, create_graph=True)
    return gradient.flatten(1)
