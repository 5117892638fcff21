"""The second player of every adversarial method: a discriminator with its loss and what keeps it steady."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.losses import GanKind, GanLoss, gradient_penalty, r1_penalty
from img2img.methods.base import MethodConfig
from img2img.methods.networks import DiscriminatorConfig, InitConfig, make_discriminator


class AdversarialConfig(MethodConfig):
    """Keys that all adversarial methods share."""

    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(name="patchgan"), description="The discriminator and its arguments."
    )
    gan: GanKind = Field("vanilla", description="The adversarial loss.")
    gan_weight: float = Field(1.0, ge=0, description="Weight of the adversarial loss of the generator.")
    discriminator_weight: float = Field(
        0.5, gt=0, description="Weight of the losses of the discriminator; half of both in the translation papers."
    )
    real_label: float = Field(1.0, gt=0, le=1, description="Target for real images; 0.9 smooths the labels.")
    gradient_penalty: float = Field(
        0.0, ge=0, description="Weight of the penalty of WGAN-GP on images between real and fake; 10 in the paper."
    )
    r1: float = Field(0.0, ge=0, description="Weight gamma of the R1 penalty on real images.")
    init: InitConfig = Field(InitConfig(), description="How all weights begin.")


class Adversary(nn.Module):
    """Tells real from fake and says how wrong it was, for both players.

    Args:
        config: The keys of the method.
        in_channels: Channels of what is judged, the condition included.
        input_size: Side length of what is judged, for discriminators that need one.
    """

    def __init__(self, config: AdversarialConfig, in_channels: int, input_size: int | None = None) -> None:
        super().__init__()
        sizes = {} if input_size is None else {"input_size": input_size}
        self.discriminator = make_discriminator(
            config.discriminator, config.init, in_channels=in_channels, **sizes
        )
        self.config = config
        self.gan = GanLoss(config.gan, config.real_label)

    def judge(self, real: Tensor, fake: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the losses of the discriminator, weighted; no gradient reaches what made `fake`.

        Args:
            real, fake: (N, C, H, W).
            condition: (N, C', H, W) that both belong to, or None.
        """
        real, fake = _joined(real, condition).detach(), _joined(fake, condition).detach()
        # fake first: batch norm's running averages then move in the order of the reference implementation
        fake_logits = self.discriminator(fake)
        real_logits = self.discriminator(real)
        weight = self.config.discriminator_weight
        losses = {
            name: weight * loss for name, loss in self.gan.discriminator(real_logits, fake_logits).items()
        }
        if self.config.gradient_penalty:
            penalty = gradient_penalty(self.discriminator, real, fake)
            losses["d_penalty"] = self.config.gradient_penalty * penalty
        if self.config.r1:
            losses["d_r1"] = r1_penalty(self.discriminator, real, self.config.r1)
        return losses

    def fool(self, real: Tensor, fake: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the adversarial loss of the generator, weighted; arguments as in `judge`."""
        fake_logits = self.discriminator(_joined(fake, condition))
        real_logits = None
        if self.gan.needs_real:
            with torch.no_grad():
                real_logits = self.discriminator(_joined(real, condition))
        return {"g_gan": self.config.gan_weight * self.gan.generator(fake_logits, real_logits)}


def _joined(image: Tensor, condition: Tensor | None) -> Tensor:
    return image if condition is None else torch.cat((condition, image), 1)

