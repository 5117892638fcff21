"""OASIS: pictures from label maps, by a discriminator that tells the classes apart and nothing else.

Schoenfeld, Sushko, Zhang, Gall, Schiele, Khoreva: You Only Need Adversarial Supervision for Semantic Image
Synthesis (arXiv:2012.04781). The order of the updates, the weights and the initialisation are those of the
authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from img2img.errors import ConfigError
from img2img.fields import PAIRED
from img2img.losses.segmentation import is_class_loss, is_made_loss, label_mix_loss, mixing_mask
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.methods.terms import Terms, TermsConfig
from img2img.models import Generator
from img2img.models.init import initialize
from img2img.models.segmentation_discriminator import SegmentationDiscriminator
from img2img.types import Batch


class SegmentationDiscriminatorConfig(BaseModel):
    """The key `discriminator:`, for example {features: 64, downs: 6}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: int = Field(64, ge=1, description="Channels at full resolution, up to 8 times as many below.")
    downs: int = Field(6, ge=1, description="Halvings of the resolution.")
    spectral: bool = Field(True, description="Divide convolutions by their largest singular value.")


class OASISConfig(TermsConfig):
    """The section `method:` with the name oasis."""

    name: str = Field("oasis", description="oasis.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="spade_resnet"), description="The generator and its arguments."
    )
    discriminator: SegmentationDiscriminatorConfig = Field(
        SegmentationDiscriminatorConfig(), description="The segmentation discriminator and its arguments."
    )
    balance: bool = Field(True, description="Whether rare classes count as much as frequent ones.")
    unknown: int | None = Field(
        None,
        ge=0,
        description="Place in data.palette, counted from 0, of the colour that stands for no class: the "
        "generator sees it, and it teaches nothing.",
    )
    label_mix: float = Field(
        10.0,
        ge=0,
        description="Weight of seeing in pictures that are mixed, class by class, of real and made ones what "
        "is seen in both by themselves; 5 on Cityscapes, 0 for none.",
    )
    init: InitConfig = Field(
        InitConfig(kind="xavier"),
        description="How weights begin, but for those that are spectrally normalised, which begin as torch "
        "makes them.",
    )


@methods.register("oasis")
class OASIS(Method):
    """Learns from label maps and photographs to make a photograph of a label map, or many of one.

    The discriminator says of each pixel which class it shows, or that it is made; the generator wants each
    of its pixels taken for the class that the map says. No feature network takes part unless `perceptual`
    asks for one. A source is one-hot (`data.source_labels: one_hot`); pixels of no class, 0 in all channels,
    teach no class.

    References:
        arXiv:2012.04781, section 3. As in the authors' code the generator learns first, the discriminator
        then from new pictures of it. Deviations: where weights are averaged, so are the statistics of batch
        norm, which the authors collect anew; and see `mixing_mask`.
    """

    fields = PAIRED
    Config = OASISConfig
    defaults = MappingProxyType(
        {
            "data": {"source_labels": "one_hot"},
            "training": {
                "epochs": 200,
                "batch_size": 32,
                "learning_rate": 1e-4,
                "learning_rates": {"discriminator": 4e-4},
                "betas": [0.0, 0.999],
                "ema": 0.9999,
            },
        }
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {
                    "name": "spade_resnet",
                    "features": 8,
                    "noise": 8,
                    "norm": "instance",
                    "hidden": 16,
                },
                "discriminator": {"features": 8},
            },
            "data": {"source_labels": "one_hot"},
            "training": {
                "batch_size": 2,
                "learning_rate": 4e-4,
                "betas": [0.0, 0.999],
                "ema": 0.995,
            },
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {
                "name": "spade_resnet",
                "features": 2,
                "downs": 2,
                "noise": 0,
                "norm": "instance",
                "hidden": 4,
            },
            "discriminator": {"features": 2, "downs": 2},
            "balance": False,  # the weights of a batch are not those of its parts
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, OASISConfig)
        self.config = config
        classes, colours = channels["source"], channels["target"]
        if config.unknown is not None and config.unknown >= classes:
            raise ConfigError(
                f"method.unknown is {config.unknown}, and the places of the {classes} classes are 0 to "
                f"{classes - 1}."
            )
        as_built = InitConfig(kind="default")
        self.generator = make_generator(
            config.generator, as_built, in_channels=classes, out_channels=colours, scale=1
        )
        if self.generator.conditions:
            raise ConfigError(
                "oasis learns from label maps alone, and method.generator.further names "
                f"{', '.join(self.generator.conditions)}; leave it out."
            )
        self.discriminator = SegmentationDiscriminator(colours, classes, **config.discriminator.model_dump())
        for network in (self.generator, self.discriminator):
            _begin(network, config.init)
        self.terms = Terms(config, self.generator.output_range)
        if classes in (1, 3):
            self.notes.append(
                f"The {classes} channels of the source count as classes. If it is a label map in colours or "
                "levels, set data.source_labels to one_hot."
            )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Both players."""
        return {
            "generator": list(self.generator.parameters()),
            "discriminator": list(self.discriminator.parameters()),
        }

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator)}

    def check(self, batch: Batch) -> None:
        """The discriminator and the further terms see what the generator makes."""
        super().check(batch)
        height, width = batch.target.shape[-2:]
        unit = self.discriminator.multiple_of
        if height % unit or width % unit:
            raise ConfigError(
                f"the segmentation discriminator judges images whose sides are multiples of {unit}, these "
                f"are {width}x{height}; set data.crop_size to such a size, or give the discriminator fewer "
                f"downs than {self.config.discriminator.downs} (method.discriminator.downs)."
            )
        self.terms.check(batch.target)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The generator, then the discriminator."""
        config, real, labels = self.config, batch.target, self._labels(batch.source)
        fake = self.generator(batch.source)
        wanted = is_class_loss(self.discriminator(fake), labels, config.balance)
        optimize("generator", {"g_gan": wanted, **self.terms(fake, real)})

        with torch.no_grad():
            fake = self.generator(batch.source)
        of_fake, of_real = self.discriminator(fake), self.discriminator(real)
        losses = {
            "d_fake": is_made_loss(of_fake),
            "d_real": is_class_loss(of_real, labels, config.balance),
        }
        if config.label_mix:
            mask = mixing_mask(labels)
            mixed = self.discriminator(torch.where(mask > 0, real, fake))
            losses["d_label_mix"] = config.label_mix * label_mix_loss(mixed, of_real, of_fake, mask)
        optimize("discriminator", losses)

    def _labels(self, source: Tensor) -> Tensor:
        """Returns the classes (N, K, H, W), 1 where one is known and 0 elsewhere."""
        low, high = self.generator.input_range
        labels = (source - low) / (high - low)
        if self.config.unknown is not None:
            labels[:, self.config.unknown] = 0
        return labels

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Source, output, target."""
        output_range = self.generator.output_range
        made: Tensor = generators["generator"](batch.source)
        return {
            "source": Column(batch.source, self.generator.input_range, "input"),
            "output": Column(made, output_range, "output"),
            "target": Column(batch.target, output_range, "target"),
        }


def _begin(network: nn.Module, init: InitConfig) -> None:
    """Draws new weights, and sets all constants of convolutions to 0."""
    if init.kind == "default":
        return
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and is_parametrized(layer, "weight"):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif not list(layer.children()):
            initialize(layer, init.kind, init.gain)
