"""pix2pix: a U-Net and a conditional PatchGAN on pairs of images.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (arXiv:1611.07004).
The order of the updates, the weights and the initialisation are those of the authors' PyTorch code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field
from torch import nn

from img2img.fields import PAIRED, Fields
from img2img.losses import PixelKind, pixel_losses
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.conditioned import (
    ConditionsConfig,
    condition_columns,
    conditioned_generator,
    conditions_of,
    given,
    judged,
    judged_channels,
    told,
)
from img2img.methods.networks import GeneratorConfig
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Generator
from img2img.types import Batch


class Pix2PixConfig(AdversarialConfig, TermsConfig, ConditionsConfig):
    """The section `method:` with the name pix2pix."""

    name: str = Field("pix2pix", description="pix2pix.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="unet"), description="The generator and its arguments."
    )
    pixel_loss: PixelKind = Field("l1", description="The loss between output and target.")
    pixel_weight: float = Field(100.0, ge=0, description="Its weight, lambda in the paper.")


@methods.register("pix2pix")
class Pix2Pix(Method):
    """Learns from pairs to make the target of a source; the discriminator sees both.

    Further conditions (`method.conditions`) become channels beside the source, for both networks.

    References:
        arXiv:1611.07004, section 3. As in the authors' PyTorch code the discriminator learns first, from the
        mean of its two losses, and dropout leaves the innermost level alone.
    """

    fields = PAIRED
    Config = Pix2PixConfig
    defaults = MappingProxyType(
        {"training": {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}}}
    )
    # What two cores learn in half an hour. Instance norm is the same in training and in use; a weaker
    # adversary, because it soon knows few pictures by heart; averaged weights, because they are calmer.
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "unet", "features": 32, "downs": 7, "norm": "instance"},
                "discriminator": {"name": "patchgan", "features": 32, "norm": "instance"},
                "gan_weight": 0.2,
            },
            "training": {"batch_size": 1, "schedule": {"kind": "linear"}, "ema": 0.995},
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {"name": "unet", "features": 4, "downs": 4, "norm": "instance", "dropout": False},
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, Pix2PixConfig)
        self.conditions = conditions_of(config)
        self.notes, self.warnings = told(self.conditions)
        self.generator = conditioned_generator(config.generator, config.init, self.conditions, channels)
        judged_ = judged_channels(self.generator, channels["source"]) + channels["target"]
        self.adversary = Adversary(config, judged_, self.generator.output_range)
        self.pixel_name, self.pixel_weight = f"g_{config.pixel_loss}", config.pixel_weight
        self.pixel_loss = pixel_losses[config.pixel_loss]
        self.terms = Terms(config, self.generator.output_range)

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """Pairs, with the conditions that the configuration names."""
        return {**PAIRED, **conditions_of(config)}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Both players."""
        return {
            "discriminator": list(self.adversary.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator)}

    def check(self, batch: Batch) -> None:
        """The discriminator and the further terms see what the generator makes."""
        super().check(batch)
        self.adversary.check(batch.target)
        self.terms.check(batch.target)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The discriminator, then the generator."""
        condition = judged(batch, self.generator)
        fake = self.generator(batch.source, **given(batch, self.conditions))
        optimize("discriminator", self.adversary.discriminator_loss(batch.target, fake, condition))
        losses = {
            **self.adversary.generator_loss(batch.target, fake, condition),
            self.pixel_name: self.pixel_weight * self.pixel_loss(fake, batch.target),
            **self.adversary.feature_matching(fake, batch.target, condition),
            **self.terms(fake, batch.target),
        }
        optimize("generator", losses)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Source, conditions, output, target."""
        output_range = self.generator.output_range
        made = generators["generator"](batch.source, **given(batch, self.conditions))
        return {
            "source": Column(batch.source, self.generator.input_range, "input"),
            **condition_columns(batch, self.generator),
            "output": Column(made, output_range, "output"),
            "target": Column(batch.target, output_range, "target"),
        }
