"""The second player of every adversarial method: a discriminator with its loss and what keeps it steady."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.losses import (
    AdaptiveAugment,
    AdaptiveAugmentation,
    Augmentation,
    DiffAugment,
    GanKind,
    GanLoss,
    feature_matching,
    gradient_penalty,
    r1_penalty,
)
from img2img.losses.warp import SMALLEST
from img2img.methods.base import MethodConfig
from img2img.methods.networks import DiscriminatorConfig, InitConfig, make_discriminator, mixes_images
from img2img.models.discriminators import logits
from img2img.types import Logits, ValueRange


class AdaConfig(BaseModel):
    """The key `ada:`, augmentation as strong as the overfitting of the discriminator asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: tuple[AdaptiveAugmentation, ...] = Field(
        ("blit", "geometry", "color"),
        min_length=1,
        description="What may be done; noise and cutout are further ones, which the paper leaves out.",
    )
    target: float | None = Field(
        0.6,
        gt=-1,
        lt=1,
        description="The mean sign of the logits of real images, 1 where all are known by heart, that the "
        "probability is steered towards; null leaves it as it is.",
    )
    kimg: float = Field(
        500.0,
        gt=0,
        description="Thousands of real images that it takes the probability from 0 to 1; 100 where a run "
        "starts from trained weights.",
    )
    interval: int = Field(4, ge=1, description="Steps between two corrections.")
    p: float = Field(0.0, ge=0, le=1, description="The probability at the start.")


class AdversarialConfig(MethodConfig):
    """Keys that all adversarial methods share."""

    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(name="patchgan"), description="The discriminator and its arguments."
    )
    gan: GanKind = Field("vanilla", description="The adversarial loss.")
    gan_weight: float = Field(1.0, ge=0, description="Weight of the adversarial loss of the generator.")
    discriminator_weight: float = Field(
        0.5,
        gt=0,
        description="Weight of the losses of the discriminator; half of both in the translation papers.",
    )
    real_label: float = Field(1.0, gt=0, le=1, description="Target for real images; 0.9 smooths the labels.")
    feature_matching: float = Field(
        0.0,
        ge=0,
        description="Weight of the distance in the features of the discriminator; 10 in pix2pixHD.",
    )
    diffaugment: tuple[Augmentation, ...] = Field(
        (), description="What is changed in all that the discriminator sees, for small data sets."
    )
    ada: AdaConfig | None = Field(
        None,
        description="Change all that the discriminator sees, as much as it overfits, for small data sets: {} "
        "is the paper's. The condition moves with the picture.",
    )
    gradient_penalty: float = Field(
        0.0,
        ge=0,
        description="Weight of the penalty of WGAN-GP on images between real and fake; 10 in the paper, "
        "whose other losses have discriminator_weight 1.",
    )
    r1: float = Field(
        0.0,
        ge=0,
        description="Weight gamma of the R1 penalty on real images, on the gradient of an image's mean "
        "logit. With a PatchGAN that is the mean of many patches, and gamma must be far larger.",
    )
    init: InitConfig = Field(InitConfig(), description="How all weights begin.")

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        if self.gan == "wgan" and self.ada is not None and self.ada.target is not None:
            raise ValueError(
                "the logits of the loss wgan have no sign that says real, so ada has nothing to go by; set "
                "ada.target to null and ada.p to a probability, or take another loss"
            )
        return self


class Adversary(nn.Module):
    """Tells real from fake and says how wrong it was, for both players.

    Args:
        config: The keys of the method.
        in_channels: Channels of what is judged, the condition included.
        value_range: Black and white of the images.
        roles: What it judges and whose work that is, for the names of the losses where there are several
            adversaries: ("b", "a2b") makes them "d_b_real", "g_a2b" and "features_b" in place of "d_real",
            "g_gan" and "g_features".
    """

    def __init__(
        self,
        config: AdversarialConfig,
        in_channels: int,
        value_range: ValueRange,
        roles: tuple[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = make_discriminator(config.discriminator, config.init, in_channels=in_channels)
        self.config = config
        self.gan = GanLoss(config.gan, config.real_label)
        judged, maker = roles or ("", "")
        self._d = f"d_{judged}_" if judged else "d_"
        self._gan = f"g_{maker}" if maker else "g_gan"
        self._features = f"features_{judged}" if judged else "g_features"
        # colours are changed in the image alone, places in the image and its condition alike
        policy = config.diffaugment
        self._colours = DiffAugment([name for name in policy if name == "color"], value_range)
        self._places = DiffAugment([name for name in policy if name != "color"], value_range)
        self.ada: AdaptiveAugment | None = None
        if config.ada is not None:
            self.ada = AdaptiveAugment(value_range=value_range, **config.ada.model_dump())
        self._together = not mixes_images(self.discriminator)

    def check(self, images: Tensor) -> None:
        """Makes sure that the discriminator can judge images of this size, (N, C, H, W).

        Raises:
            ConfigError: It cannot; the message names the sizes that fit.
        """
        height, width = images.shape[-2:]
        size, step = self.discriminator.input_size, self.discriminator.multiple_of
        name = self.config.discriminator.name
        if size is not None and (height, width) != (size, size):
            raise ConfigError(
                f"the discriminator {name} judges images of {size}x{size}, these are {width}x{height}; set "
                "method.discriminator.input_size to data.crop_size."
            )
        if height % step or width % step:
            raise ConfigError(
                f"the discriminator {name} judges images whose sides are multiples of {step}, these are "
                f"{width}x{height}; set data.crop_size to such a size."
            )
        if min(height, width) < (least := self.discriminator.minimum_size):
            raise ConfigError(
                f"the discriminator {name} judges images of {least} pixels and more along each side, these "
                f"are {width}x{height}; set data.crop_size to such a size, or give the discriminator fewer "
                "layers or scales."
            )
        if self.ada is not None and min(height, width) < SMALLEST:
            raise ConfigError(
                f"method.ada moves images of {SMALLEST} pixels and more along each side, these are "
                f"{width}x{height}; leave it out."
            )

    def discriminator_loss(
        self, real: Tensor, fake: Tensor, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns the losses of the discriminator, weighted; no gradient reaches what made `fake`.

        Args:
            real, fake: (N, C, H, W).
            condition: (N, C', H, W) that both belong to, or None.

        Returns:
            The losses; with `ada` also the mean sign of the real logits and the probability, which are
            constants and change no gradient.
        """
        fake, real = fake.detach(), real.detach()
        fake_logits, real_logits = self._both(self._seen(fake, condition), self._seen(real, condition))
        losses = self.gan.discriminator(real_logits, fake_logits)
        losses = {name: self.config.discriminator_weight * loss for name, loss in losses.items()}
        if self.ada is not None:
            sign = self.gan.certainty(real_logits, fake_logits).detach()
            self.ada.observe(sign, len(real))
            losses |= {"d_ada_sign": sign, "d_ada_p": self.ada.p.to(sign, copy=True)}
        if self.config.gradient_penalty:
            penalty = gradient_penalty(partial(self._logits, condition), real, fake)
            losses["d_penalty"] = self.config.gradient_penalty * penalty
        if self.config.r1:
            losses["d_r1"] = r1_penalty(partial(self._logits, condition), real, self.config.r1)
        return self._named(losses)

    def generator_loss(
        self, real: Tensor, fake: Tensor, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns the adversarial loss of the generator, weighted; arguments as in `discriminator_loss`."""
        fake_logits = self._logits(condition, fake)
        real_logits = None
        if self.gan.needs_real:
            with torch.no_grad():
                real_logits = self._logits(condition, real)
        return {self._gan: self.config.gan_weight * self.gan.generator(fake_logits, real_logits)}

    def feature_matching(
        self, made: Tensor, truth: Tensor, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns the distance of two images in the features of the discriminator, weighted, if it is wanted.

        Args:
            made: (N, C, H, W) from the generator.
            truth: What it should have been; both are looked at without augmentation.
            condition: As in `discriminator_loss`.
        """
        if not self.config.feature_matching:
            return {}
        with torch.no_grad():
            wanted = self.discriminator.features(_joined(truth, condition))
        distance = feature_matching(self.discriminator.features(_joined(made, condition)), wanted)
        return {self._features: self.config.feature_matching * distance}

    def matched_loss(self, real: Tensor, fake: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Returns `generator_loss` and `feature_matching`, from one look at each where that is the same.

        Args:
            real: What `fake` should have been.
            fake: (N, C, H, W) from the generator.
            condition: As in `discriminator_loss`.
        """
        if not (self.config.feature_matching and self._unchanged and self._together):
            losses = self.generator_loss(real, fake, condition)
            return losses | self.feature_matching(fake, real, condition)
        found = self.discriminator.features(_joined(fake, condition))
        with torch.no_grad():
            wanted = self.discriminator.features(_joined(real, condition))
        gan = self.gan.generator(logits(found), logits(wanted))
        return {
            self._gan: self.config.gan_weight * gan,
            self._features: self.config.feature_matching * feature_matching(found, wanted),
        }

    @property
    def _unchanged(self) -> bool:
        """Whether the discriminator is shown images as they are."""
        return self.ada is None and not self.config.diffaugment

    def _seen(self, image: Tensor, condition: Tensor | None) -> Tensor:
        """Returns what the discriminator is shown."""
        if self.ada is not None:
            image, condition = self.ada(image, condition)
        if not self.config.diffaugment:
            return _joined(image, condition)
        return self._places(_joined(self._colours(image), condition))

    def _logits(self, condition: Tensor | None, image: Tensor) -> Logits:
        logits: Logits = self.discriminator(self._seen(image, condition))
        return logits

    def _both(self, fake: Tensor, real: Tensor) -> tuple[Logits, Logits]:
        """Returns the logits of both, from one call where that is the same."""
        if not self._together or fake.shape[1:] != real.shape[1:]:
            # fake first: batch norm's running averages then move in the order of the original
            return self.discriminator(fake), self.discriminator(real)
        sizes = [len(fake), len(real)]
        logits: Logits = self.discriminator(torch.cat((fake, real)))
        if isinstance(logits, Tensor):
            of_fake, of_real = torch.split(logits, sizes)
            return of_fake, of_real
        pairs = [torch.split(scale, sizes) for scale in logits]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def _named(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self._d + name.removeprefix("d_"): loss for name, loss in losses.items()}


def _joined(image: Tensor, condition: Tensor | None) -> Tensor:
    return image if condition is None else torch.cat((condition, image), 1)
