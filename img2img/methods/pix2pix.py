"""pix2pix: a U-Net and a conditional PatchGAN on pairs of images.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (arXiv:1611.07004).
The order of the updates, the weights and the initialisation are those of the authors' PyTorch code.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import nn

from img2img.losses import PixelKind, pixel_losses
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Method, MethodConfig, Optimize, Picture, methods
from img2img.methods.networks import GeneratorConfig, make_generator
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Generator
from img2img.types import Batch


class Pix2PixConfig(AdversarialConfig, TermsConfig):
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

    References:
        arXiv:1611.07004, section 3. As in the authors' PyTorch code the discriminator learns first, from the
        mean of its two losses, and dropout leaves the innermost level alone.
    """

    data_kind = "paired"
    Config = Pix2PixConfig

    def __init__(self, config: MethodConfig, source_channels: int, target_channels: int) -> None:
        super().__init__(config, source_channels, target_channels)
        assert isinstance(config, Pix2PixConfig)
        self.generator = make_generator(
            config.generator, config.init, in_channels=source_channels, out_channels=target_channels, scale=1
        )
        self.adversary = Adversary(config, source_channels + target_channels, self.generator.output_range)
        self.pixel_name, self.pixel_weight = f"g_{config.pixel_loss}", config.pixel_weight
        self.pixel_loss = pixel_losses[config.pixel_loss]
        self.terms = Terms(config, self.generator.output_range)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Both players."""
        return {
            "discriminator": list(self.adversary.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def generators(self) -> dict[str, Generator]:
        """The one generator."""
        return {"generator": self.generator}

    def check(self, batch: Batch) -> None:
        """The discriminator and the further terms see what the generator makes."""
        super().check(batch)
        self.adversary.check(batch.target)
        self.terms.check(batch.target)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The discriminator, then the generator."""
        fake = self.generator(batch.source)
        optimize("discriminator", self.adversary.discriminator_loss(batch.target, fake, batch.source))
        losses = {
            **self.adversary.generator_loss(batch.target, fake, batch.source),
            self.pixel_name: self.pixel_weight * self.pixel_loss(fake, batch.target),
            **self.adversary.feature_matching(fake, batch.target, batch.source),
            **self.terms(fake, batch.target),
        }
        optimize("generator", losses)

    def pictures(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Picture]:
        """Source, output, target."""
        output, target = self.compare(batch, generators)
        return {
            "source": Picture(batch.source, self.generator.input_range),
            "output": output,
            "target": target,
        }

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Picture, Picture]:
        """The output and its target."""
        output_range = self.generator.output_range
        return (
            Picture(generators["generator"](batch.source), output_range),
            Picture(batch.target, output_range),
        )
