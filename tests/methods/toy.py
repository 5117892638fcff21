"""A method with a field of every kind, and its networks: `python toy.py train ...` is img2img that knows it.

So a method of one's own is one file, and a program that imports it before img2img's command line.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.fields import Ids, Mask, Picture, Vector
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import GeneratorConfig, InitConfig, make_generator
from img2img.models import Generator, generators
from img2img.types import SYMMETRIC, UNIT, Batch


class ToyGenerator(Generator):
    """Two convolutions over two pictures, the borders of objects and a mask, steered by numbers."""

    name = "toy"
    multiple_of = 2
    receptive_field = 4
    live_features = 60
    output_layers = ("last",)
    tiny: ClassVar[dict[str, Any]] = {"features": 4}

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, features: int = 8, attributes: int = 5
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.input_range, self.output_range = UNIT, SYMMETRIC
        self.conditions = {
            "guide": Picture(),
            "instance": Ids(),
            "mask": Mask(),
            "attributes": Vector(size=attributes),
        }
        self.first = nn.Conv2d(2 * in_channels + 3, features, 3, padding=1)
        self.numbers = nn.Linear(attributes, features)
        self.last = nn.Conv2d(features, out_channels, 3, padding=1)

    def forward(self, x: Tensor, **conditions: Tensor) -> Tensor:
        instance, mask = conditions["instance"], conditions["mask"]
        edges = torch.zeros_like(mask)
        edges[..., 1:] = (instance[..., 1:] != instance[..., :-1]).to(mask.dtype)
        guide = conditions["guide"].to(x.dtype)
        seen = torch.cat([x, guide, edges, (instance % 7).to(x.dtype) / 7, mask.to(x.dtype)], 1)
        y = self.first(seen) + self.numbers(conditions["attributes"].to(x.dtype))[:, :, None, None]
        return torch.tanh(self.last(torch.nn.functional.silu(y)))


class ToyConfig(MethodConfig):
    """The section `method:` with the name toy."""

    name: str = Field("toy", description="toy.")
    generator: GeneratorConfig = Field(
        default_factory=lambda: GeneratorConfig(name="toy"), description="The generator and its arguments."
    )
    init: InitConfig = Field(InitConfig(kind="default"), description="How weights begin.")


class Toy(Method):
    """Learns pairs with a generator and a critic that guesses the numbers; the loss grows with a counter."""

    fields = MappingProxyType(
        {
            "source": Picture(),
            "target": Picture(like="source"),
            "guide": Picture(like="source"),
            "instance": Ids(like="source"),
            "mask": Mask(like="source"),
            "attributes": Vector(),
        }
    )
    Config = ToyConfig
    defaults = MappingProxyType({"training": {"steps": 20, "batch_size": 2}})
    small = MappingProxyType({"training": {"batch_size": 2}})
    any_size = True
    tiny = MappingProxyType({"generator": {"name": "toy", "features": 4}})
    done: Tensor

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, ToyConfig)
        self.generator = make_generator(
            config.generator,
            config.init,
            in_channels=channels["source"],
            out_channels=channels["target"],
            attributes=channels["attributes"],
        )
        self.critic = nn.Linear(channels["target"], channels["attributes"])
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"generator": list(self.generator.parameters()), "critic": list(self.critic.parameters())}

    def exports(self) -> dict[str, Export]:
        return {"generator": Export(self.generator)}

    def step(self, batch: Batch, optimize: Optimize) -> None:
        output = self.made(batch, self.generator)
        outside = (output - batch.target).abs() * (1 + batch.mask)
        guess = self.critic(output.mean((2, 3)))
        losses = {
            "l1": (1 + 0.1 * self.done) * outside.mean(),
            "numbers": (guess - batch.attributes).square().mean(),
        }
        optimize("generator", losses)
        guess = self.critic(batch.target.mean((2, 3)))
        optimize("critic", {"c_numbers": (guess - batch.attributes).square().mean()})
        self.done.add_(1)

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        return {
            "source": Column(batch.source, UNIT, "input"),
            "output": Column(self.made(batch, generators["generator"]), SYMMETRIC, "output"),
            "target": Column(batch.target, SYMMETRIC, "target"),
        }

    def made(self, batch: Batch, generator: nn.Module) -> Tensor:
        result: Tensor = generator(
            batch.source, **{name: batch[name] for name in ("guide", "instance", "mask", "attributes")}
        )
        return result


def register() -> None:
    """Makes both known, once."""
    if "toy" not in methods:
        generators.register("toy")(ToyGenerator)
        methods.register("toy")(Toy)


if __name__ == "__main__":
    from img2img.cli.main import main

    register()
    sys.argv[0] = "img2img"
    main()
