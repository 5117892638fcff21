"""Segmentation as translation: from a photograph to the class of each of its pixels.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks (arXiv:1611.07004),
section 4.4, photo to labels; with the cross entropy that Luc, Couprie, Chintala, Verbeek: Semantic
Segmentation using Adversarial Networks (arXiv:1611.08408) put beside the adversarial term.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import Fields, Labels, Picture
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
from img2img.models import Generator
from img2img.types import UNIT, Batch, ValueRange


class SegmentationConfig(AdversarialConfig, ConditionsConfig):
    """The section `method:` with the name segmentation."""

    name: str = Field("segmentation", description="segmentation.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="unet"), description="The generator and its arguments; a channel for each class."
    )
    gan_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the adversarial loss of the generator; at 0 there is no discriminator, "
        "which is how pix2pix's paper found labels to come out best.",
    )
    cross_entropy_weight: float = Field(1.0, gt=0, description="Weight of the cross entropy.")
    logit_cap: float = Field(
        10.0,
        gt=0,
        description="What white of the generator's output counts as a logit, and black as its negative; 10 "
        "of a class beside -10 of another one is a likelihood of 0.999999998.",
    )


@methods.register("segmentation")
class Segmentation(Method):
    """Learns from pairs of pictures and label maps which class each pixel is of.

    The generator has a channel for each class. Its output from black to white stands for logits from
    -`logit_cap` to `logit_cap`, so every architecture will do: a tanh at its end caps the logits softly, and
    the likeliest class is the brightest channel. The discriminator sees the picture with the softmax of the
    logits, or with the one-hot truth.

    Deviations: arXiv:1611.07004 takes L1 on the labels as colours and arXiv:1611.08408 batches of whole
    pictures; here the loss is the cross entropy, which is the mean over all pixels: ignored ones add nothing
    to the sum and still count in what it is divided by, so that a batch is the mean of its samples.
    """

    fields = MappingProxyType({"source": Picture(), "target": Labels(like="source")})
    Config = SegmentationConfig
    defaults = MappingProxyType(
        {"training": {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}}}
    )
    small = MappingProxyType(
        {
            "method": {"generator": {"name": "unet", "features": 32, "downs": 7, "norm": "instance"}},
            "training": {"batch_size": 2, "schedule": {"kind": "linear"}, "ema": 0.995},
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {"name": "unet", "features": 4, "downs": 4, "norm": "instance", "dropout": False},
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
            "gan_weight": 0.1,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, SegmentationConfig)
        classes = channels["target"]
        if classes < 2:
            raise ConfigError(
                "segmentation tells classes apart, and the label maps have one colour only; see data.palette."
            )
        self.config = config
        self.conditions = conditions_of(config)
        self.notes, self.warnings = told(self.conditions)
        self.generator = conditioned_generator(config.generator, config.init, self.conditions, channels)
        judged_ = judged_channels(self.generator, channels["source"]) + classes
        self.adversary = Adversary(config, judged_, UNIT) if config.gan_weight else None
        if config.feature_matching and self.adversary is None:
            raise ConfigError(
                "method.feature_matching compares what a discriminator sees, and at gan_weight 0 there is "
                "none."
            )

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """Pictures and label maps, with the conditions that the configuration names."""
        return {**cls.fields, **conditions_of(config)}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator, and the discriminator if there is one."""
        groups = {"generator": list(self.generator.parameters())}
        if self.adversary is not None:
            groups = {"discriminator": list(self.adversary.discriminator.parameters()), **groups}
        return groups

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator, output="labels")}

    def value_range(self, field: str) -> ValueRange:
        """One-hot labels are 0 and 1."""
        return UNIT if field == "target" else self.generator.input_range

    def check(self, batch: Batch) -> None:
        """The discriminator sees what the generator makes."""
        super().check(batch)
        if self.adversary is not None:
            self.adversary.check(batch.target)

    def logits(self, output: Tensor) -> Tensor:
        """Returns what the generator made (N, classes, H, W) as logits."""
        low, high = self.generator.output_range
        return (output - (low + high) / 2) * (2 * self.config.logit_cap / (high - low))

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The discriminator if there is one, then the generator."""
        config, adversary = self.config, self.adversary
        logits = self.logits(self.generator(batch.source, **given(batch, self.conditions)).float())
        losses: dict[str, Tensor] = {}
        if adversary is not None:
            fake, condition = logits.softmax(1), judged(batch, self.generator)
            optimize("discriminator", adversary.discriminator_loss(batch.target, fake, condition))
            losses |= adversary.generator_loss(batch.target, fake, condition)
            losses |= adversary.feature_matching(fake, batch.target, condition)
        losses["g_cross_entropy"] = config.cross_entropy_weight * F.cross_entropy(logits, batch.target)
        optimize("generator", losses)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Source, conditions, the likeliest classes, the true ones."""
        output = generators["generator"](batch.source, **given(batch, self.conditions))
        likeliest = F.one_hot(output.argmax(1), output.shape[1]).permute(0, 3, 1, 2).to(batch.target)
        return {
            "source": Column(batch.source, self.generator.input_range, "input"),
            **condition_columns(batch, self.generator),
            "output": Column(likeliest, UNIT, "output"),
            "target": Column(batch.target, UNIT, "target"),
        }

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Column, Column]:
        """The likelihood of each class, of which the mean squared error is Brier's score, and the truth."""
        output = generators["generator"](batch.source, **given(batch, self.conditions))
        likelihoods = self.logits(output.float()).softmax(1)
        return Column(likelihoods, UNIT, "output"), Column(batch.target, UNIT, "target")
