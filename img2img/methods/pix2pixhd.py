"""pix2pixHD: label maps or pictures to large pictures, judged at several scales.

Wang, Liu, Zhu, Tao, Kautz, Catanzaro: High-Resolution Image Synthesis and Semantic Manipulation with
Conditional GANs (arXiv:1711.11585). The order of the updates and the weights are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.fields import Ids, Picture
from img2img.losses import GanKind
from img2img.losses.perceptual import PerceptualLoss
from img2img.losses.vgg import FeaturesMissingError
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    make_generator,
    require_size,
)
from img2img.methods.styles import centres, pooled, regions
from img2img.models import Generator, Pix2PixHD, generators
from img2img.models.pix2pixhd import boundaries
from img2img.types import Batch

_LAYERS = {"conv1_1": 1 / 32, "conv2_1": 1 / 16, "conv3_1": 1 / 8, "conv4_1": 1 / 4, "conv5_1": 1.0}
_LARGE = 1 / 64  # of a picture: objects that cover more decide on the centres of their class


class Pix2PixHDConfig(AdversarialConfig):
    """The section `method:` with the name pix2pixhd."""

    name: str = Field("pix2pixhd", description="pix2pixhd.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="pix2pixhd"),
        description="The generator and its arguments: enhancers for twice the resolution each, style for "
        "results that differ.",
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig.model_validate({"name": "multiscale", "padding": 2}),
        description="The discriminator and its arguments; the paper has 3 scales with an enhancer.",
    )
    gan: GanKind = Field("lsgan", description="The adversarial loss; it is added up over the scales.")
    feature_matching: float = Field(
        10.0, ge=0, description="Weight of the distance in the features of the discriminator."
    )
    vgg_weight: float = Field(
        10.0, ge=0, description="Weight of the distance in the features of VGG19, where they are at hand."
    )
    weights: Path | None = Field(
        None, description="File with VGG19's weights; where torch keeps models by default."
    )
    allow_download: bool = Field(
        False, description="Download them to there (548 MiB) if they are not at hand."
    )
    labels: bool | None = Field(
        None,
        description="Whether the source is a label map with a channel for each class; null takes what "
        "data.source_labels says.",
    )
    encoder_features: int = Field(
        16, ge=1, description="Channels of the encoder at full resolution, where the generator has a style."
    )
    encoder_downs: int = Field(4, ge=1, description="Halvings of the resolution in it.")
    style_samples: int = Field(
        1000,
        ge=1,
        description="Pictures whose features are divided into styles before model files are written, at "
        "most; the authors take all of the training.",
    )

    def fitted(self, crop: tuple[int, int] | None, classes: Collection[str] = ()) -> Self:
        """Takes from the data whether sources are label maps."""
        return self.model_copy(update={"labels": "source" in classes}) if self.labels is None else self


@methods.register("pix2pixhd")
class Pix2PixHDMethod(Method):
    """Learns from pairs, with numbers of objects where the data have them, to make the target of a source.

    Sources are label maps with a channel for each class, or pictures. Where the numbers of objects are known,
    their boundaries are a further channel. With `generator.style` an encoder says how each object looks: its
    features of the target, averaged over the object, which is what is of one class and one number. What the
    averages of a class have in common are the styles to choose from, in the model file.

    References:
        arXiv:1711.11585, section 3. As in the authors' code the generator learns first, the loss of a scale
        is not divided by their number, and VGG19 sees values from -1 to 1 as they are. Deviation: numbers of
        objects need not tell classes, since the label map does.
    """

    fields = MappingProxyType(
        {
            "source": Picture(),
            "target": Picture(like="source"),
            "instance": Ids(like="source", optional=True),
        }
    )
    Config = Pix2PixHDConfig
    defaults = MappingProxyType(
        {
            "data": {"source_labels": "one_hot"},
            "training": {"epochs": 200, "batch_size": 1, "schedule": {"kind": "linear"}},
        }
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "pix2pixhd", "features": 16, "downs": 3, "blocks": 6},
                "discriminator": {"name": "multiscale", "features": 16, "padding": 2},
            },
            "data": {"source_labels": "one_hot"},
            "training": {"batch_size": 1, "schedule": {"kind": "linear"}, "ema": 0.995},
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {
                "name": "pix2pixhd",
                "features": 4,
                "downs": 2,
                "blocks": 1,
                "enhancers": 1,
                "local_blocks": 1,
                "style": 2,
                "clusters": 3,
            },
            "discriminator": {"name": "multiscale", "features": 4, "layers": 1, "padding": 2},
            "vgg_weight": 0,
            "encoder_features": 4,
            "encoder_downs": 2,
            "style_samples": 3,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, Pix2PixHDConfig)
        source, target, instance = channels["source"], channels["target"], "instance" in channels
        if not issubclass(generators[config.generator.name], Pix2PixHD):
            raise ConfigError(
                f"the generator {config.generator.name} has no boundaries and no styles; take the generator "
                "pix2pixhd, or the method pix2pix."
            )
        if config.generator.arguments.get("instance") and not instance:
            raise ConfigError(
                "the generator takes numbers of objects for their boundaries, and the data have none: name "
                "their place as data.fields.instance, or set method.generator.instance to false."
            )
        generator = make_generator(
            config.generator,
            config.init,
            in_channels=source,
            out_channels=target,
            labels=bool(config.labels),
            instance=instance,
        )
        assert isinstance(generator, Pix2PixHD)
        self.config, self.generator = config, generator
        self.adversary = Adversary(config, source + instance + target, generator.output_range)
        scales = len(getattr(self.adversary.discriminator, "scales", (1,)))  # the loss is their mean
        self.adversary.config = config.model_copy(
            update={
                "gan_weight": scales * config.gan_weight,
                "discriminator_weight": scales * config.discriminator_weight,
            }
        )
        self.encoder = _encoder(config, generator, target) if generator.style else None
        self.perceptual = self._perceptual(config, target)

    def _perceptual(self, config: Pix2PixHDConfig, channels: int) -> PerceptualLoss | None:
        if not config.vgg_weight:
            return None
        if channels not in (1, 3):
            self.notes.append(
                f"It learns without the VGG loss, which sees no pictures of {channels} channels."
            )
            return None
        try:
            found = PerceptualLoss(
                _LAYERS,
                value_range=self.generator.output_range,
                before_activation=False,
                standardised=False,
                weights=config.weights,
                allow_download=config.allow_download,
            )
        except FeaturesMissingError as error:
            self.notes.append(f"It learns without the VGG loss: {error}")
            return None
        self.notes.append("The VGG loss compares features of VGG19.")
        return found

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator with the encoder; the discriminator."""
        encoder = [] if self.encoder is None else self.encoder.parameters()
        return {
            "generator": [*self.generator.parameters(), *encoder],
            "discriminator": list(self.adversary.discriminator.parameters()),
        }

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator)}

    def check(self, batch: Batch) -> None:
        """The discriminator, the encoder and the further terms see what the generator makes."""
        super().check(batch)
        self.adversary.check(batch.target)
        if self.encoder is not None:
            require_size(self.encoder, batch.target)
        if self.perceptual is not None:
            self.perceptual.check(batch.target)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The generator with the encoder, then the discriminator on the same picture."""
        condition, target = self._condition(batch), batch.target
        fake = self.generator(batch.source, **self._further(batch))
        losses = self.adversary.matched_loss(target, fake, condition)
        if self.perceptual is not None:
            losses["g_vgg"] = self.config.vgg_weight * self.perceptual(fake, target)
        optimize("generator", losses)
        optimize("discriminator", self.adversary.discriminator_loss(target, fake, condition))

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Source, output in the style of the target, target."""
        made = generators["generator"](batch.source, **self._further(batch))
        return {
            "source": Column(batch.source, self.generator.input_range, "input"),
            "output": Column(made, self.generator.output_range, "output"),
            "target": Column(batch.target, self.generator.output_range, "target"),
        }

    @torch.no_grad()
    def settle(self, generators: Sequence[Generator], samples: Callable[[int], Iterator[Batch]]) -> None:
        """Divides the features of all large objects of each class into styles.

        A class of which no object is large takes all of them.
        """
        if self.encoder is None:
            return
        found: dict[int, list[tuple[Tensor, float]]] = {}
        for batch in samples(self.config.style_samples):
            features = self._encoded(batch)
            classes = self.generator.classes(batch.source)
            for image, places in enumerate(self._regions(batch)):
                _, first, counts = _uniques(places)
                rows = features[image].flatten(1)[:, first].T.cpu()
                kinds = classes[image].flatten()[first].tolist()
                for row, kind, count in zip(rows, kinds, counts.tolist(), strict=True):
                    found.setdefault(kind, []).append((row, count / places.numel()))
        for network in generators:
            assert isinstance(network, Pix2PixHD)
            network.styles.zero_()
            network.style_counts.zero_()
        for kind, objects in found.items():
            large = [row for row, share in objects if share > _LARGE] or [row for row, _ in objects]
            made = centres(torch.stack(large), self.generator.styles.shape[1])
            for network in generators:
                assert isinstance(network, Pix2PixHD)
                network.styles[kind, : len(made)] = made.to(network.styles)
                network.style_counts[kind] = len(made)

    def _further(self, batch: Batch) -> dict[str, Tensor]:
        """Returns what the generator takes beside the source."""
        found = {name: batch[name] for name in self.generator.conditions}
        return found if self.encoder is None else found | {"features": self._encoded(batch)}

    def _condition(self, batch: Batch) -> Tensor:
        """Returns what the discriminator sees beside a picture: the source and the boundaries."""
        if not self.generator.conditions:
            return batch.source
        return torch.cat((batch.source, boundaries(batch["instance"]).to(batch.source.dtype)), 1)

    def _encoded(self, batch: Batch) -> Tensor:
        """Returns (N, style, H, W): how the target looks, averaged over each object."""
        assert self.encoder is not None
        height, width = batch.target.shape[-2:]
        step, least = self.encoder.multiple_of, self.encoder.minimum_size
        below, right = (max(-side % step, least - side) for side in (height, width))  # in validation
        seen = F.pad(batch.target, (0, right, 0, below), mode="replicate")
        return pooled(self.encoder(seen)[..., :height, :width], self._regions(batch))

    def _regions(self, batch: Batch) -> Tensor:
        """Returns (N, H * W): the object that each pixel belongs to."""
        ids = batch["instance"] if self.generator.conditions else None
        return regions(self.generator.classes(batch.source), ids)


def _encoder(config: Pix2PixHDConfig, generator: Pix2PixHD, channels: int) -> Generator:
    """Returns the network that sees how things look: a global one without residual blocks."""
    network = {
        "name": "resnet",
        "features": config.encoder_features,
        "blocks": 0,
        "downs": config.encoder_downs,
        "norm": generator.spec.arguments["norm"],
    }
    return make_generator(
        GeneratorConfig.model_validate(network),
        config.init,
        in_channels=channels,
        out_channels=generator.style,
    )


def _uniques(places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the numbers in (P,), for each where it stands first, and how often it is there."""
    numbers, back, counts = torch.unique(places, return_inverse=True, return_counts=True)
    order = torch.arange(len(places), device=places.device)
    first = torch.full_like(numbers, len(places)).scatter_reduce(0, back, order, "amin")
    return numbers, first, counts
