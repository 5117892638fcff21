"""Johnson's style transfer: a network learns one style, and then paints any picture in it at once.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution
(arXiv:1603.08155); with the instance norm of Ulyanov, Vedaldi, Lempitsky (arXiv:1607.08022), as the authors'
code has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.losses.pixel import l2
from img2img.losses.style import gram, gram_distance, total_variation
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.features import STYLISED, FeaturesConfig
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.models import Generator
from img2img.types import Batch

STAGES = ("picture", "style")


class JohnsonConfig(MethodConfig):
    """The section `method:` with the name johnson."""

    name: str = Field("johnson", description="johnson.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="style_resnet"),
        description="The generator and its arguments.",
    )
    init: InitConfig = Field(
        InitConfig(kind="default"),
        description="How weights begin; default leaves what each architecture does.",
    )
    features: FeaturesConfig = Field(FeaturesConfig(), description="What pictures are compared by.")
    content_layers: dict[str, float] = Field(
        {"conv3_3": 1.0},
        min_length=1,
        description="A weight for each layer at which the content of the picture is to stay.",
    )
    style_layers: dict[str, float] = Field(
        {"conv1_2": 1.0, "conv2_2": 1.0, "conv3_3": 1.0, "conv4_3": 1.0},
        min_length=1,
        description="A weight for each layer whose Gram matrix is to be that of the style.",
    )
    content_weight: float = Field(1.0, ge=0, description="Weight of the content.")
    style_weight: float = Field(
        2.0, ge=0, description="Weight of the style: more is further from the picture."
    )
    tv_weight: float = Field(
        0.1, ge=0, description="Weight of the total variation, the squares of differences of neighbours."
    )


@methods.register("johnson")
class Johnson(Method):
    """Learns to paint photographs in the style of one picture.

    Several style pictures are possible; what is learned then is what they have in common. What it exports
    holds the style, and needs neither the picture nor the features.

    An entry of `training.stages` may be called picture: in it the network learns to return photographs as
    they are, which takes no features and a tenth of the time. The stage style, or a run without stages, does
    the rest; on a CPU it comes much further from there.

    References:
        arXiv:1603.08155, section 3. Deviations: features are of one size in all layers (see
        `img2img.losses.balance`) and distances of Gram matrices relative, so the weights of losses are
        others; the network is that of PyTorch's examples, see `StyleResnet`.
    """

    fields = STYLISED
    Config = JohnsonConfig
    defaults = MappingProxyType(
        {
            "training": {
                "steps": 40_000,
                "batch_size": 4,
                "learning_rate": 1e-3,
                "betas": [0.9, 0.999],
            }
        }
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "resnet", "features": 16, "blocks": 5, "upsample": "resize"},
            },
            "data": {"fit": "keep"},
            "training": {
                "batch_size": 1,
                "learning_rate": 2e-3,
                "betas": [0.9, 0.99],
                "schedule": {"kind": "cosine", "warmup": 20},
                "ema": 0.99,
            },
        }
    )
    any_size = True
    tiny = MappingProxyType(
        {
            "generator": {"name": "resnet", "features": 4, "blocks": 1, "upsample": "resize"},
            "features": {"network": "random"},
            "content_layers": {"conv2_1": 1.0},
            "style_layers": {"conv1_2": 1.0, "conv2_1": 0.5},
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, JohnsonConfig)
        self.config = config
        colours = channels["source"]
        self.generator = make_generator(
            config.generator, config.init, in_channels=colours, out_channels=colours, scale=1
        )
        layers = tuple(dict.fromkeys((*config.content_layers, *config.style_layers)))
        self.seen = config.features.open(layers, self.generator.output_range)
        if self.generator.input_range != self.generator.output_range:
            raise ConfigError(
                f"the generator {config.generator.name} answers in another range of values than it takes; "
                "resnet is one that does not."
            )
        self.notes.append(config.features.note)
        self.stage = ""

    def begin(self, stage: str) -> None:
        """Chooses what is learned: "picture" or "style"; "" is the style."""
        if stage not in ("", *STAGES):
            raise ConfigError(f"johnson has the stages {' and '.join(STAGES)}, not {stage!r}.")
        self.stage = stage

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator."""
        return {"generator": list(self.generator.parameters())}

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator, makes="source")}

    def check(self, batch: Batch) -> None:
        """The features see both pictures."""
        super().check(batch)
        self.seen.check(batch.source)
        self.seen.check(batch["style"])

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """All terms at once."""
        config = self.config
        if self.stage == "picture":
            optimize("generator", {"g_picture": l2(self.generator(batch.source), batch.source)})
            return
        with torch.no_grad():
            contents = self.seen(batch.source, config.content_layers)
            styles = {name: gram(value) for name, value in self.seen(batch["style"]).items()}
        output: Tensor = self.generator(batch.source)
        found = self.seen(output)
        content = [weight * l2(found[name], contents[name]) for name, weight in config.content_layers.items()]
        style = [
            weight * gram_distance(gram(found[name]), styles[name])
            for name, weight in config.style_layers.items()
        ]
        low, high = self.generator.output_range
        optimize(
            "generator",
            {
                "g_content": config.content_weight * torch.stack(content).sum(),
                "g_style": config.style_weight * torch.stack(style).sum(),
                "g_tv": config.tv_weight * total_variation(output / (high - low)),
            },
        )

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """The picture, the style and the picture in the style."""
        output: Tensor = generators["generator"](batch.source)
        return {
            "source": Column(batch.source, self.generator.input_range, "input"),
            "style": Column(batch["style"], self.generator.input_range, "input"),
            "output": Column(output, self.generator.output_range, "output", of="source"),
        }

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> None:
        """There is no truth."""
