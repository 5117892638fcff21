"""CycleGAN: two generators, one each way, on two sets of images without pairs.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks
(arXiv:1703.10593). The order of the updates, the weights and the initialisation are those of the authors'
PyTorch code. With other losses it is DiscoGAN (Kim et al., arXiv:1703.05192).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import UNPAIRED
from img2img.losses import GanKind, PixelKind, pixel_losses
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    make_generator,
    mixes_images,
    with_instance_norm,
)
from img2img.methods.pool import ImagePool
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Generator
from img2img.types import Batch


class CycleGANConfig(AdversarialConfig, TermsConfig):
    """The section `method:` with the name cyclegan."""

    name: str = Field("cyclegan", description="cyclegan.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="resnet"), description="Both generators and their arguments."
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig.model_validate({"name": "patchgan", "norm": "instance"}),
        description="Both discriminators and their arguments.",
    )
    gan: GanKind = Field("lsgan", description="The adversarial loss.")
    cycle_loss: PixelKind = Field("l1", description="The loss between an image and its way there and back.")
    lambda_a: float = Field(10.0, ge=0, description="Its weight for the way A to B to A.")
    lambda_b: float = Field(10.0, ge=0, description="Its weight for the way B to A to B.")
    identity: float = Field(
        0.5,
        ge=0,
        description="Weight, times lambda, of leaving an image of the target domain as it is.",
    )
    pool: int = Field(
        50,
        ge=0,
        description="Images of earlier steps for each discriminator, all of one size; 0 for none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _instance_norm(cls, values: Any) -> Any:
        """Gives networks whose arguments say nothing of a norm that of the paper."""
        return with_instance_norm(values)


@methods.register("cyclegan")
class CycleGAN(Method):
    """Learns from images of two kinds, A and B, to make images of each look like those of the other.

    `a2b` makes images of B from those of A; `judge_b` tells them from real ones. `b2a` and `judge_a` do the
    reverse. Losses are named after the domain of the image that they look at: `cycle_a` compares an image of
    A with what comes back from B, `identity_a` with what `b2a` makes of it.

    References:
        arXiv:1703.10593, section 3 and 7.1. As in the authors' PyTorch code the generators learn first, and
        the identity loss, which the paper uses for paintings alone, is on.
    """

    fields = UNPAIRED
    Config = CycleGANConfig
    defaults = MappingProxyType(
        {"training": {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}}}
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "resnet", "features": 24, "blocks": 6},
                "discriminator": {"name": "patchgan", "features": 32},
            },
            "training": {
                "batch_size": 1,
                "schedule": {"kind": "linear"},
                "ema": 0.995,
                "sample_every": 50,
                "grid_samples": 2,
            },
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {"name": "resnet", "features": 4, "blocks": 1},
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1},
            "pool": 4,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, CycleGANConfig)
        a, b = channels["source"], channels["target"]
        if config.identity and a != b:
            raise ConfigError(
                f"images of A have {a} channels and those of B {b}: none can "
                "pass unchanged through the generator of its own domain. Set data.source_channels and "
                "data.target_channels to one number, or method.identity to 0."
            )
        self.a2b = make_generator(config.generator, config.init, in_channels=a, out_channels=b, scale=1)
        self.b2a = make_generator(config.generator, config.init, in_channels=b, out_channels=a, scale=1)
        if self.a2b.input_range != self.a2b.output_range:
            raise ConfigError(
                f"the generator {config.generator.name} takes images in {tuple(self.a2b.input_range)} and "
                f"makes them in {tuple(self.a2b.output_range)}: what one makes, the other cannot take. "
                "Use resnet or unet."
            )
        self.judge_a = Adversary(config, a, self.b2a.output_range, ("a", "b2a"))
        self.judge_b = Adversary(config, b, self.a2b.output_range, ("b", "a2b"))
        self.pool_a, self.pool_b = ImagePool(config.pool), ImagePool(config.pool)
        self.cycle_loss, self.identity_loss = pixel_losses[config.cycle_loss], pixel_losses["l1"]
        self.terms_a = Terms(config, self.a2b.output_range, "{}_a")
        self.terms_b = Terms(config, self.a2b.output_range, "{}_b")
        self.lambda_a, self.lambda_b, self.identity = config.lambda_a, config.lambda_b, config.identity
        self._together = not mixes_images(self.a2b)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Both generators, both discriminators."""
        return {
            "generator": [*self.a2b.parameters(), *self.b2a.parameters()],
            "discriminator": [
                *self.judge_a.discriminator.parameters(),
                *self.judge_b.discriminator.parameters(),
            ],
        }

    def exports(self) -> dict[str, Export]:
        """Both generators."""
        return {"a2b": Export(self.a2b), "b2a": Export(self.b2a, "target", "source")}

    def check(self, batch: Batch) -> None:
        """Both generators and both discriminators see images of both sizes."""
        super().check(batch)
        for images in (batch.source, batch.target):
            self.judge_a.check(images)
        self.terms_a.check(batch.source)
        self.terms_b.check(batch.target)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The generators, then the discriminators."""
        real_a, real_b = batch.source, batch.target
        if self.identity:
            fake_b, same_b = self._both(self.a2b, real_a, real_b)
            fake_a, same_a = self._both(self.b2a, real_b, real_a)
        else:
            fake_b, fake_a = self.a2b(real_a), self.b2a(real_b)
        back_a, back_b = self.b2a(fake_b), self.a2b(fake_a)
        losses = {
            **self.judge_b.generator_loss(real_b, fake_b),
            **self.judge_a.generator_loss(real_a, fake_a),
            "cycle_a": self.lambda_a * self.cycle_loss(back_a, real_a),
            "cycle_b": self.lambda_b * self.cycle_loss(back_b, real_b),
            **self._further(back_a, real_a, back_b, real_b),
        }
        if self.identity:
            losses["identity_a"] = self.identity * self.lambda_a * self.identity_loss(same_a, real_a)
            losses["identity_b"] = self.identity * self.lambda_b * self.identity_loss(same_b, real_b)
        optimize("generator", losses)
        optimize(
            "discriminator",
            {
                **self.judge_a.discriminator_loss(real_a, self.pool_a(fake_a)),
                **self.judge_b.discriminator_loss(real_b, self.pool_b(fake_b)),
            },
        )

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """A, what becomes of it in B, and back; the same for B."""
        a2b, b2a, seen = generators["a2b"], generators["b2a"], self.a2b.output_range
        fake_b, fake_a = a2b(batch.source), b2a(batch.target)
        return {
            "A": Column(batch.source, seen, "input"),
            "A to B": Column(fake_b, seen, "output", "A"),
            "A to B to A": Column(b2a(fake_b), seen, "output", "A"),
            "B": Column(batch.target, seen, "input"),
            "B to A": Column(fake_a, seen, "output", "B"),
            "B to A to B": Column(a2b(fake_a), seen, "output", "B"),
        }

    def _further(self, back_a: Tensor, real_a: Tensor, back_b: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """Returns what else a configuration may want of the way there and back; usually nothing."""
        return {
            **self.judge_a.feature_matching(back_a, real_a),
            **self.judge_b.feature_matching(back_b, real_b),
            **self.terms_a(back_a, real_a),
            **self.terms_b(back_b, real_b),
        }

    def _both(self, generator: Generator, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what `generator` makes of both batches, in one call where that is the same."""
        if not self._together or first.shape[1:] != second.shape[1:]:
            return generator(first), generator(second)
        one, other = generator(torch.cat((first, second))).split((len(first), len(second)))
        return one, other
