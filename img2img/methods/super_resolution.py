"""Super-resolution: SRResNet, SRGAN and ESRGAN are this one method with other parts.

Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network
(arXiv:1609.04802). Wang et al.: ESRGAN (arXiv:1809.00219).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.losses import PixelKind, pixel_losses
from img2img.losses.perceptual import FeaturesMissingError
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Method, MethodConfig, Optimize, Picture, methods
from img2img.methods.networks import DiscriminatorConfig, GeneratorConfig, InitConfig, make_generator
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Generator
from img2img.types import Batch


class SuperResolutionConfig(AdversarialConfig, TermsConfig):
    """The section `method:` with the name super_resolution."""

    name: str = Field("super_resolution", description="super_resolution.")
    scale: Literal[1, 2, 3, 4, 8] = Field(4, description="Output pixels per input pixel along one side.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="srresnet"), description="The generator and its arguments."
    )
    objective: Literal["psnr", "gan"] = Field(
        "psnr",
        description="psnr: the pixel loss alone. gan: all losses; the entries of training.stages may then be "
        "called psnr and gan, to do one after the other.",
    )
    pixel_loss: PixelKind = Field("l1", description="The loss between output and truth.")
    pixel_weight: float = Field(
        1.0, ge=0, description="Its weight beside the other losses; alone it counts 1."
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(name="vgg"), description="The discriminator and its arguments."
    )
    gan_weight: float = Field(5e-3, ge=0, description="Weight of the adversarial loss of the generator.")
    init: InitConfig = Field(
        InitConfig(kind="default"),
        description="How weights begin; default leaves what each architecture does.",
    )
    perceptual_fallback: bool = Field(
        True,
        description="Where the weights of VGG19 are not at hand, compare the features of the discriminator "
        "instead; false makes that an error.",
    )


@methods.register("super_resolution")
class SuperResolution(Method):
    """Learns from sharp pictures and their reduced copies to enlarge.

    In the stage psnr the generator learns from the pixel loss alone. In the stage gan the generator learns
    first, then the discriminator, as in the authors' code of ESRGAN. SRResNet is the stage psnr with the
    generator srresnet; SRGAN adds the discriminator srgan, the loss vanilla and VGG19 features after their
    activation; ESRGAN has rrdbnet, vgg, ragan and features before it.
    """

    data_kind = "super_resolution"
    Config = SuperResolutionConfig

    def __init__(self, config: MethodConfig, source_channels: int, target_channels: int) -> None:
        super().__init__(config, source_channels, target_channels)
        assert isinstance(config, SuperResolutionConfig)
        self.scale = config.scale
        self.generator = make_generator(
            config.generator,
            config.init,
            in_channels=source_channels,
            out_channels=target_channels,
            scale=config.scale,
        )
        self.config = config
        self.objective: str = config.objective
        self.pixel_loss = pixel_losses[config.pixel_loss]
        self.adversary: Adversary | None = None
        if config.objective == "psnr":
            return
        value_range = self.generator.output_range
        try:
            self.terms = Terms(config, value_range)
            if config.perceptual is not None:
                self.notes.append("The perceptual loss compares features of VGG19.")
        except FeaturesMissingError as error:
            if config.perceptual is None or not config.perceptual_fallback:
                raise
            self.notes.append(
                "The weights of VGG19 are not at hand: the perceptual loss compares features of the "
                f"discriminator instead. ({error})"
            )
            fallback = {"feature_matching": config.perceptual.weight, "perceptual": None}
            config = config.model_copy(update=fallback)
            self.terms = Terms(config, value_range)
        self.adversary = Adversary(config, target_channels, value_range)

    def begin(self, stage: str) -> None:
        """Chooses the losses: "psnr" or "gan"; "" for the one that the configuration names."""
        if stage not in ("", "psnr", "gan"):
            raise ConfigError(f"super_resolution has the stages psnr and gan, not {stage!r}.")
        if stage == "gan" and self.adversary is None:
            raise ConfigError("the stage gan needs method.objective: gan, which builds its discriminator.")
        self.objective = stage or self.config.objective

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator, and the discriminator if there is one."""
        groups = {"generator": list(self.generator.parameters())}
        if self.adversary is not None:
            groups["discriminator"] = list(self.adversary.discriminator.parameters())
        return groups

    def generators(self) -> dict[str, Generator]:
        """The one generator."""
        return {"generator": self.generator}

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The generator; in the stage gan the discriminator after it."""
        fake = self.generator(batch.source)
        pixel = self.pixel_loss(fake, batch.target)
        name = f"g_{self.config.pixel_loss}"
        if self.objective == "psnr" or self.adversary is None:
            optimize("generator", {name: pixel})
            return
        losses = {
            name: self.config.pixel_weight * pixel,
            **self.adversary.fool(batch.target, fake),
            **self.adversary.match(fake, batch.target),
            **self.terms(fake, batch.target),
        }
        optimize("generator", losses)
        optimize("discriminator", self.adversary.judge(batch.target, fake))

    def pictures(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Picture]:
        """Bicubic, output, target."""
        output, target = self.compare(batch, generators)
        low, high = self.generator.input_range
        bicubic = torch.nn.functional.interpolate(
            batch.source.float(), scale_factor=self.scale, mode="bicubic", align_corners=False
        )
        return {
            "bicubic": Picture(bicubic.clamp(low, high), self.generator.input_range),
            "output": output,
            "target": target,
        }

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Picture, Picture]:
        """The output and the truth."""
        output: Tensor = generators["generator"](batch.source)
        return (
            Picture(output, self.generator.output_range),
            Picture(batch.target, self.generator.output_range),
        )
