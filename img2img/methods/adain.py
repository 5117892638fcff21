"""AdaIN: one network paints pictures in any style, by the means and deviations of its features.

Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization
(arXiv:1703.06868).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from pydantic import Field
from torch import nn

from img2img.errors import ConfigError
from img2img.losses.pixel import l2
from img2img.losses.style import moments_distance
from img2img.losses.vgg import VggWeights
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.features import STYLISED, FeaturesConfig
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.models import AdaIN, Generator
from img2img.models.adain import Moments, moments
from img2img.types import Batch

_SETTLED = 64  # styles whose mean a model file begins with


class AdaINConfig(MethodConfig):
    """The section `method:` with the name adain."""

    name: str = Field("adain", description="adain.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="adain"),
        description="The generator and its arguments; its encoder is that of features.network.",
    )
    init: InitConfig = Field(InitConfig(kind="kaiming"), description="How the weights of the decoder begin.")
    features: FeaturesConfig = Field(
        FeaturesConfig(network="vgg19"),
        description="Whose weights the encoder has; they go into the model file.",
    )
    content_weight: float = Field(1.0, gt=0, description="Weight of the content.")
    style_weight: float = Field(10.0, gt=0, description="Weight of the style.")


@methods.register("adain")
class AdaINMethod(Method):
    """Learns from photographs and pictures of many styles to paint any photograph in any style.

    The encoder never learns; the decoder learns to make pictures whose features are what AdaIN made of those
    of the photograph (content), and have the means and deviations of the style in four layers (style).

    References:
        arXiv:1703.06868, sections 4 to 6. The authors scaled VGG19 such that each channel is 1 on average,
        and with other weights of it training fails at their weights of the losses; here any weights are
        scaled, layer by layer (see `img2img.losses.balance`). In their code the encoder
        has a 1x1 convolution in front that changes colours to those of Caffe; here its first one does that.
    """

    fields = STYLISED
    Config = AdaINConfig
    defaults = MappingProxyType(
        {
            "data": {"load_size": 512, "fit": "keep", "crop_size": 256},
            "training": {
                "steps": 160_000,
                "batch_size": 8,
                "learning_rate": 1e-4,
                "betas": [0.9, 0.999],
            },
        }
    )
    small = MappingProxyType(
        {
            "data": {"fit": "keep"},
            "training": {
                "batch_size": 1,
                "learning_rate": 5e-4,
                "betas": [0.9, 0.99],
                "schedule": {"kind": "cosine", "warmup": 20},
                "ema": 0.99,
            },
        }
    )
    any_size = True
    tiny = MappingProxyType(
        {
            "generator": {"name": "adain", "features": 4, "encoder": "vgg16"},
            "features": {"network": "random"},
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, AdaINConfig)
        self.config = config
        generator = make_generator(
            config.generator,
            config.init,
            in_channels=channels["source"],
            out_channels=channels["style"],
        )
        if not isinstance(generator, AdaIN) or generator.adain is None:
            raise ConfigError(
                f"the generator {config.generator.name} takes no style; adain with transfer: true does."
            )
        self.generator = generator
        fill(generator, config.features.read())
        self.notes.append(config.features.note)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The decoder."""
        generator = self.generator
        return {"decoder": [*generator.decoder.parameters(), *generator.last.parameters()]}

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator, makes="source")}

    def settle(self, generators: Sequence[Generator], samples: Callable[[int], Iterator[Batch]]) -> None:
        """A model for which no style is chosen has the mean one."""
        found = [self.generator.moments(batch["style"]) for batch in samples(_SETTLED)]
        mean, deviation = (torch.cat(some).mean(0, keepdim=True) for some in zip(*found, strict=True))
        for network in generators:
            assert isinstance(network, AdaIN)
            network.set_style(Moments(mean, deviation))

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """Both terms at once."""
        generator, config = self.generator, self.config
        with torch.no_grad():
            styles = {name: moments(value) for name, value in generator.encode(batch["style"]).items()}
            content = generator.encoder(batch.source)
            deepest = list(styles)[-1]
        output, target = generator.transfer(content, styles[deepest])
        found = generator.encode(output)
        style = [moments_distance(moments(found[name]), styles[name]) for name in styles]
        losses = {
            "g_content": config.content_weight * l2(found[deepest], target),
            "g_style": config.style_weight * torch.stack(style).sum(),
        }
        optimize("decoder", losses)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """The picture, the style and the picture in the style."""
        value_range = self.generator.input_range
        mean, deviation = self.generator.moments(batch["style"])  # all encoders are one
        output = generators["generator"](batch.source, mean=mean, deviation=deviation)
        return {
            "source": Column(batch.source, value_range, "input"),
            "style": Column(batch["style"], value_range, "input"),
            "output": Column(output, value_range, "output", of="source"),
        }

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> None:
        """There is no truth."""


@torch.no_grad()
def fill(generator: AdaIN, weights: VggWeights) -> None:
    """Gives the encoder the weights of a network of features; its first layer then takes values as they are.

    Raises:
        ConfigError: It has another width or depth.
        ModelError: The file does not hold the weights.
    """
    vgg = weights.vgg
    convolutions = [layer for layer in generator.encoder if isinstance(layer, nn.Conv2d)]
    own = [layer.out_channels for layer in convolutions]
    theirs = [width for width, depth in zip(vgg.widths, vgg.depths, strict=True) for _ in range(depth)]
    if own != theirs[: len(own)]:
        encoder = "vgg19" if vgg.depths[2] > 3 else "vgg16"
        raise ConfigError(
            f"the encoder of method.generator has other layers than {vgg.title}: set "
            f"method.generator.encoder to {encoder} and method.generator.features to {vgg.widths[0]}."
        )
    names = [str(place) for place in sorted(vgg.places)][: len(own)]
    shapes = {
        f"{name}.{kind}": tuple(getattr(layer, kind).shape)
        for name, layer in zip(names, convolutions, strict=True)
        for kind in ("weight", "bias")
    }
    state = weights.take(shapes)
    for name, layer in zip(names, convolutions, strict=True):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if layer is convolutions[0]:  # (x - mean) / deviation, exact since borders are reflected
            weight = weight / weight.new_tensor(vgg.deviation).view(3, 1, 1)
            bias = bias - (weight * weight.new_tensor(vgg.mean).view(3, 1, 1)).sum((1, 2, 3))
        assert layer.bias is not None
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
