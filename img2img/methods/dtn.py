"""DTN: pictures of one kind become pictures of another that a given network sees the same in.

Taigman, Polyak, Wolf: Unsupervised Cross-Domain Image Generation (arXiv:1611.02200).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F

from img2img.checkpoint import read_tensors
from img2img.errors import ConfigError, ModelError
from img2img.fields import UNPAIRED
from img2img.interop import open_checkpoint
from img2img.losses.pixel import full
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    InitConfig,
    make_discriminator,
    make_generator,
    require_size,
)
from img2img.models import Generator
from img2img.models.dtn import CLASSIFIERS, DTN
from img2img.types import Batch
from img2img.weights import find_model

MADE_OF_SOURCE, MADE_OF_TARGET, REAL = range(3)
"""What the discriminator tells apart."""
_SHOWN = 3  # names in a message


class FConfig(BaseModel):
    """The key `f:`, for example {classifier: resnet18, weights: mine.pth, layer: layer2}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classifier: str | None = Field(
        None, description="An architecture of torchvision: resnet18, vgg16, squeezenet1_1, ..."
    )
    weights: Path | None = Field(
        None, description="The file of its weights (.pth, .safetensors), by torchvision's names."
    )
    model: str = Field(
        "clean",
        description="Where no classifier is named, a model that img2img opens: a file, or a name of "
        "`model list`.",
    )
    layer: str = Field(
        "blocks.7", description="The layer whose features are taken, by its name in the network."
    )


class DTNConfig(MethodConfig):
    """The section `method:` with the name dtn."""

    name: str = Field("dtn", description="dtn.")
    f: FConfig = Field(
        FConfig(),
        description="The network that says what matters in a picture.",
    )
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="dtn"), description="The generator, dtn, and the arguments of its drawing part."
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(name="patchgan"), description="The discriminator, patchgan, and its arguments."
    )
    init: InitConfig = Field(InitConfig(), description="How weights begin, but for those of f.")
    const_weight: float = Field(15.0, ge=0, description="Weight of the distance in f, alpha in the paper.")
    const_distance: Literal["mse", "cosine"] = Field("mse", description="That distance.")
    tid_weight: float = Field(
        15.0,
        ge=0,
        description="Weight of the distance of targets to what is made of them, beta in the paper.",
    )
    tv_weight: float = Field(0.0, ge=0, description="Weight of the total variation, gamma in the paper.")


@methods.register("dtn")
class DomainTransfer(Method):
    """Learns from pictures of two kinds, one way: g(f(picture)) looks like a target and means the same to f.

    The discriminator tells three kinds apart: made of a source, made of a target, real. The generator wants
    both that it makes taken for real; f of a result shall be f of its source, and targets shall come out as
    they are.

    References:
        arXiv:1611.02200, section 4, equations 3 to 9. Deviations: all terms are means, and the discriminator
        judges patches and is a PatchGAN; in the paper it judges whole pictures of 32 and 96 pixels.
    """

    fields = UNPAIRED
    Config = DTNConfig
    defaults = MappingProxyType(
        {"training": {"epochs": 200, "batch_size": 16, "schedule": {"kind": "linear"}}}
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "dtn", "features": 32, "norm": "instance"},
                "discriminator": {"name": "patchgan", "features": 32, "norm": "instance"},
            },
            "training": {"batch_size": 4, "schedule": {"kind": "linear"}, "ema": 0.995},
        }
    )
    tiny = MappingProxyType(
        {
            "f": {"model": "clean", "layer": "first"},
            "generator": {"name": "dtn", "features": 4, "blocks": 1, "norm": "instance"},
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
            "tv_weight": 0.1,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, DTNConfig)
        self.config = config
        network, arguments, weights = _trained(config.f)
        generator = make_generator(
            config.generator.replace(network=network, arguments=arguments, layer=config.f.layer),
            config.init,
            in_channels=channels["source"],
            out_channels=channels["target"],
            scale=1,
        )
        if not isinstance(generator, DTN):
            raise ConfigError(f"the generator {generator.name} draws nothing of features; dtn has dtn.")
        if wrong := generator.f.fill(weights):
            some = ", ".join(wrong[:_SHOWN]) + ", ..." * (len(wrong) > _SHOWN)
            raise ConfigError(
                f"method.f.weights is no file of weights of {network.removeprefix(CLASSIFIERS)}: {some} "
                "are missing, or of another shape."
            )
        self.generator = generator
        self.discriminator = make_discriminator(
            config.discriminator, config.init, in_channels=channels["target"], classes=3
        )
        self.notes.append(f"f is {network}, layer {config.f.layer}: {generator.f.channels} features.")

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The discriminator; g, the part of the generator that learns."""
        return {
            "discriminator": list(self.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def exports(self) -> dict[str, Export]:
        """The one generator, with f in it."""
        return {"generator": Export(self.generator)}

    def check(self, batch: Batch) -> None:
        """The generator and the discriminator see pictures of both kinds."""
        super().check(batch)
        require_size(self.generator, batch.target)
        least = self.discriminator.minimum_size
        for images in (batch.source, batch.target):
            if min(images.shape[-2:]) < least:
                raise ConfigError(
                    f"the discriminator judges images of {least} pixels and more along each side; these are "
                    f"{images.shape[-1]}x{images.shape[-2]}. Set data.crop_size to such a size."
                )

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The discriminator, then the generator."""
        source, target, config = batch.source, batch.target, self.config
        of_source, of_target = self.generator(source), self.generator(target)
        optimize(
            "discriminator",
            {
                "d_made_of_source": self._taken_for(of_source.detach(), MADE_OF_SOURCE),
                "d_made_of_target": self._taken_for(of_target.detach(), MADE_OF_TARGET),
                "d_real": self._taken_for(target, REAL),
            },
        )
        with torch.no_grad():
            meant = self.generator.f(source)
        losses = {
            "g_gan": self._taken_for(of_source, REAL) + self._taken_for(of_target, REAL),
            "g_const": config.const_weight * self._distance(self.generator.f(of_source), meant),
            "g_tid": config.tid_weight * F.mse_loss(full(of_target), full(target)),
        }
        if config.tv_weight:
            losses["g_tv"] = config.tv_weight * variation(full(of_source))
        optimize("generator", losses)

    def _taken_for(self, images: Tensor, kind: int) -> Tensor:
        """Returns how far patches are from being taken for a kind: the cross entropy, a mean over them."""
        logits = self.discriminator(images)
        assert isinstance(logits, Tensor)
        wanted = torch.full_like(logits[:, 0], kind, dtype=torch.int64)
        return F.cross_entropy(full(logits), wanted)

    def _distance(self, made: Tensor, meant: Tensor) -> Tensor:
        made, meant = full(made), full(meant)
        if self.config.const_distance == "mse":
            return F.mse_loss(made, meant)
        return 1 - F.cosine_similarity(made.flatten(1), meant.flatten(1)).mean()

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Sources and what becomes of them; targets, and what becomes of those."""
        generator, seen = generators["generator"], self.generator.output_range
        return {
            "A": Column(batch.source, seen, "input"),
            "A to B": Column(generator(batch.source), seen, "output", "A"),
            "B": Column(batch.target, seen, "input"),
            "B to B": Column(generator(batch.target), seen, "output", "B"),
        }


def variation(images: Tensor) -> Tensor:
    """Returns the mean length of the gradient of (N, C, H, W), a 0-dim tensor.

    References:
        arXiv:1611.02200, equation 9, with B = 1.
    """
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    return (down.square() + across.square() + 1e-12).sqrt().mean()  # of a root at 0 there is no gradient


@unset_fake_temporarily()
def _trained(config: FConfig) -> tuple[str, str, Mapping[str, Tensor]]:
    """Returns architecture, arguments and weights of a network; for real, where a dry run pretends the rest.

    Raises:
        ConfigError: The model takes more than a picture, or the file of weights is not named.
        ModelError: Its file cannot be read.
    """
    if config.classifier is None:
        generator, _ = open_checkpoint(find_model(config.model))
        if generator.conditions:
            raise ConfigError(
                f"the model {config.model} takes more than a picture, and f takes a picture alone."
            )
        return generator.spec.name, json.dumps(generator.spec.arguments), generator.state_dict()
    if config.weights is None:
        raise ConfigError(
            f"method.f.weights is missing: the file of the weights of {config.classifier}. Without them "
            "f says nothing of a picture."
        )
    return f"{CLASSIFIERS}{config.classifier}", "{}", _weights(config.weights)


def _weights(path: Path) -> Mapping[str, Tensor]:
    """Returns the tensors of a file by name; nothing in it is run."""
    if path.suffix.lower() == ".safetensors":
        return read_tensors(path)
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", path) from error
    except Exception as error:  # whatever a broken file makes the reader raise
        raise ModelError(
            "is no file of weights that torch reads (.pth or .safetensors), or is broken", path
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping):
            held = held[wrapper]
    if not isinstance(held, Mapping) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ModelError(
            "holds something other than weights by name; store the state_dict of the network.", path
        )
    prefix = "module." if all(str(name).startswith("module.") for name in held) else ""
    return {str(name).removeprefix(prefix): value for name, value in held.items()}
