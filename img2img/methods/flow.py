"""A flow from noise to the target of a pair, in pixels: many results for one source, by one network.

Li, He: Back to Basics: Let Denoising Generative Models Denoise (arXiv:2511.13720), made conditional as in
Saharia et al.: Palette: Image-to-Image Diffusion Models (arXiv:2111.05826), by the source beside the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import PAIRED, Fields, Mask, Picture, enlarging
from img2img.losses.pixel import full
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.conditioned import (
    ConditionsConfig,
    condition_columns,
    conditioned_generator,
    conditions_of,
    given,
)
from img2img.methods.networks import GeneratorConfig, InitConfig
from img2img.models import FlowUNet, Generator
from img2img.models.noise import set_noise
from img2img.types import Batch

HOLES: Fields = {"source": Picture(), "mask": Mask(like="source")}


class FlowMatchingConfig(ConditionsConfig):
    """The section `method:` with the name flow."""

    name: str = Field("flow", description="flow.")
    task: Literal["translate", "restore", "inpaint"] = Field(
        "translate",
        description="translate: pairs of pictures. restore: pairs of a damaged and a good one, or pictures "
        "and what data.degradation makes of them; results are like their sources. inpaint: pictures alone, "
        "which get holes (data.fields.mask).",
    )
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="flow_unet"), description="The generator, flow_unet, and its arguments."
    )
    init: InitConfig = Field(
        InitConfig(kind="default"), description="How weights begin; default leaves what each layer does."
    )
    time_mean: float = Field(
        -0.8, description="Times of the training are the sigmoid of normal numbers with this mean."
    )
    time_std: float = Field(0.8, ge=0, description="Standard deviation of these numbers.")
    time_uniform: float = Field(
        0.1, ge=0, le=1, description="Share of the times that lie anywhere from noise to picture."
    )
    time_left: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Of mistakes, divided by the time that is left, at least so much is left.",
    )


@methods.register("flow")
class FlowMatching(Method):
    """Learns to make the target of a source out of noise, by what it takes for the target on the way there.

    At a random time t the network sees z = t * target + (1 - t) * noise and the source, and predicts the
    target. The loss is the squared distance of velocities, (prediction - z) / (1 - t) from
    (target - z) / (1 - t): that of the targets over (1 - t)^2. With holes noise and loss are in them alone.

    References:
        arXiv:2511.13720, section 4, with a convolutional network; `time_uniform` is not in the paper. Where a
        result is made, 1 - t is not bounded, since it is never less than a step.
    """

    fields = PAIRED
    Config = FlowMatchingConfig
    defaults = MappingProxyType(
        {
            "training": {
                "steps": 200_000,
                "batch_size": 16,
                "learning_rate": 2e-4,
                "betas": [0.9, 0.999],
                "schedule": {"kind": "constant", "warmup": 1000},
                "ema": 0.9999,
            }
        }
    )
    small = MappingProxyType(
        {
            "method": {"generator": {"name": "flow_unet", "patch": 2}},
            "training": {
                "batch_size": 8,
                "learning_rate": 5e-4,
                "betas": [0.9, 0.99],
                "schedule": {"kind": "cosine", "warmup": 100},
                "ema": 0.998,
            },
        }
    )
    # without noise and with one time: what is drawn for a batch is not what is drawn for its parts
    tiny = MappingProxyType(
        {
            "generator": {"name": "flow_unet", "features": 4, "downs": 1, "noise": 0, "steps": 2},
            "time_std": 0,
            "time_uniform": 0,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, FlowMatchingConfig)
        self.config = config
        holes = config.task == "inpaint"
        self.made = "source" if holes else "target"
        self.conditions = {name: kind for name, kind in self.fields_of(config).items() if name not in PAIRED}
        network = config.generator.replace(holes=True) if holes else config.generator
        generator = conditioned_generator(
            network, config.init, self.conditions, {**channels, "target": channels[self.made]}
        )
        if not isinstance(generator, FlowUNet):
            raise ConfigError(f"the generator {generator.name} makes no flow; flow has flow_unet.")
        self.generator = generator

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """Pairs, of one size where they are to restore; or pictures and holes; with further conditions."""
        assert isinstance(config, FlowMatchingConfig)
        fields = {"translate": PAIRED, "restore": enlarging(1), "inpaint": HOLES}[config.task]
        return {**fields, **conditions_of(config)}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The generator."""
        return {"generator": list(self.generator.parameters())}

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        output: Literal["own", "like_input"] = "own" if self.config.task == "translate" else "like_input"
        return {"generator": Export(self.generator, makes=self.made, output=output)}

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """One time for each sample, and what the network predicts there."""
        network, target, more = self.generator, batch[self.made], given(batch, self.conditions)
        time = self.times(len(target), target)
        noise = network.deviation * network.start(target)
        z = torch.lerp(noise, target, time[:, None, None, None])
        z = network.keep(z, target, **more)
        predicted = full(network.predict(z, time, network.seen(batch.source, **more)))
        mistakes = (predicted - target).square()
        if self.config.task == "inpaint":
            share = batch.mask.mean((1, 2, 3), keepdim=True).clamp(min=1 / batch.mask[0].numel())
            mistakes = mistakes * (batch.mask > 0.5) / share
        left = (1 - time).clamp(min=self.config.time_left)
        optimize("generator", {"flow": (mistakes.mean((1, 2, 3)) / left.square()).mean()})

    def times(self, count: int, like: Tensor) -> Tensor:
        """Returns times from 0 (noise) to 1 (picture), (count,) like a tensor."""
        config, normal = self.config, torch.randn(count, device=like.device, dtype=like.dtype)
        time = torch.sigmoid(config.time_mean + config.time_std * normal)
        uniform = torch.rand(2, count, device=like.device, dtype=like.dtype)
        return torch.where(uniform[0] < config.time_uniform, uniform[1], time)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Source, conditions, two outputs of different noise, target."""
        generator, source = generators["generator"], batch.source
        if self.config.task == "inpaint":
            source = torch.where(batch.mask > 0.5, 0, source)
        output, target = self.compare(batch, generators)
        columns = {
            "source": Column(source, self.generator.input_range, "input"),
            **condition_columns(batch, self.generator),
            "output": output,
        }
        if set_noise(generator, 1):
            columns["another"] = self.compare(batch, generators)[0]
            set_noise(generator, 0)
        return columns | {"target": target}

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Column, Column]:
        """One output, and the truth."""
        value_range = self.generator.output_range
        made = generators["generator"](batch.source, **given(batch, self.conditions))
        return Column(made, value_range, "output"), Column(batch[self.made], value_range, "target")
