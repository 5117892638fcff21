"""CUT and FastCUT: one generator between two sets of images without pairs, held to its input by contrasts.

Park, Efros, Zhang, Zhu: Contrastive Learning for Unpaired Image-to-Image Translation (arXiv:2007.15651). The
order of the updates, the weights and the initialisation are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.fields import UNPAIRED
from img2img.losses import GanKind
from img2img.losses.pixel import full
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    InitConfig,
    make_generator,
    require_size,
    with_instance_norm,
)
from img2img.models import Generator
from img2img.models.init import initialize
from img2img.models.resnet import Resnet
from img2img.types import Batch

_NO_LENGTH = 1e-7  # new heads make vectors of some 1e-3


class CUTConfig(AdversarialConfig):
    """The section `method:` with the name cut."""

    name: str = Field("cut", description="cut.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="cut_resnet"), description="The generator, cut_resnet or resnet."
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig.model_validate({"name": "patchgan", "norm": "instance", "blur": True}),
        description="The discriminator and its arguments.",
    )
    gan: GanKind = Field("lsgan", description="The adversarial loss.")
    init: InitConfig = Field(InitConfig(kind="xavier"), description="How all weights begin.")
    lambda_nce: float = Field(1.0, gt=0, description="Weight of the contrasts; 10 in FastCUT.")
    nce_identity: bool = Field(
        True,
        description="Whether half of that weight holds an image of the target domain to itself; false in "
        "FastCUT.",
    )
    nce_layers: tuple[int, ...] = Field(
        (0, 4, 8, 12, 16),
        min_length=1,
        description="Layers whose features are compared, counted as in the authors' code: 0 is the padded "
        "image, then every convolution, norm, activation and blur counts, and every residual block.",
    )
    patches: int = Field(256, ge=2, description="Places that are compared in each layer.")
    projection: int = Field(256, ge=1, description="Length of the vectors that places are projected to.")
    temperature: float = Field(0.07, gt=0, description="What similarities are divided by, tau in the paper.")
    flip_equivariance: bool = Field(
        False,
        description="Whether half of the steps mirror what the generator sees, and its features back; true "
        "in FastCUT.",
    )

    @model_validator(mode="before")
    @classmethod
    def _instance_norm(cls, values: Any) -> Any:
        """Gives networks whose arguments say nothing of a norm that of the paper."""
        return with_instance_norm(values)

    @field_validator("feature_matching")
    @classmethod
    def _no_truth(cls, value: float) -> float:
        if value:
            raise ValueError("it compares an output with its truth, and here is none; leave it at 0")
        return value


@methods.register("cut")
class CUT(Method):
    """Learns from images of two kinds, A and B, to make images of A look like those of B.

    Each place of an output shall resemble the same place of its input more than other places of that input,
    in the features of the generator's own encoder. With `nce_identity` false, `lambda_nce` 10 and
    `flip_equivariance` true it is FastCUT.

    `heads` project features to unit vectors, one for each layer. They learn with the generator, from the same
    losses and in the same group; Adam treats every parameter by itself, so that is what the authors' second
    optimizer does.

    References:
        arXiv:2007.15651, section 3 and appendix. As in the authors' code the discriminator learns first, from
        the mean of its two losses and without a pool, and all images of a batch are compared at the same
        places, each with its own alone.
    """

    fields = UNPAIRED
    Config = CUTConfig
    defaults = MappingProxyType(
        {"training": {"epochs": 400, "batch_size": 1, "schedule": {"kind": "linear"}}}
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "cut_resnet", "features": 24, "blocks": 6},
                "discriminator": {"name": "patchgan", "features": 32, "blur": True},
            },
            "training": {
                "batch_size": 1,
                "schedule": {"kind": "linear"},
                "ema": 0.995,
                "sample_every": 50,
                "grid_samples": 2,
            },
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {"name": "cut_resnet", "features": 4, "blocks": 1},
            "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "blur": True},
            "nce_layers": [0, 4, 8, 12],
            "patches": 20,
            "projection": 8,
        }
    )

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, CUTConfig)
        a, b = channels["source"], channels["target"]
        if a != b:
            raise ConfigError(
                f"images of A have {a} channels and those of B {b}, and cut compares both in one encoder. "
                "Set data.source_channels and data.target_channels to one number."
            )
        generator = make_generator(config.generator, config.init, in_channels=a, out_channels=b, scale=1)
        if not isinstance(generator, Resnet):
            raise ConfigError(
                f"cut compares the layers of a residual generator, and {config.generator.name} is another; "
                "use cut_resnet or resnet."
            )
        self.config, self.generator = config, generator
        widths = _widths(generator)
        if not all(0 <= layer < len(widths) for layer in config.nce_layers):
            raise ConfigError(
                f"method.nce_layers is {list(config.nce_layers)}, and the encoder of this generator has the "
                f"layers 0 to {len(widths) - 1}. Choose among them, or give the generator more blocks."
            )
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(widths[layer], config.projection),
                nn.ReLU(),
                nn.Linear(config.projection, config.projection),
            )
            for layer in config.nce_layers
        )
        initialize(self.heads, config.init.kind, config.init.gain)
        self.adversary = Adversary(config, b, generator.output_range)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The discriminator; the generator with the heads."""
        return {
            "discriminator": list(self.adversary.discriminator.parameters()),
            "generator": [*self.generator.parameters(), *self.heads.parameters()],
        }

    def exports(self) -> dict[str, Export]:
        """The one generator."""
        return {"generator": Export(self.generator)}

    def check(self, batch: Batch) -> None:
        """The generator also sees images of B, and the discriminator images of both sizes."""
        super().check(batch)
        require_size(self.generator, batch.target)
        for images in (batch.source, batch.target):
            self.adversary.check(images)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """The discriminator, then the generator with the heads."""
        source, target = batch.source, batch.target
        mirrored = self._coin(source)
        fake, same = self._make(_mirror(source, mirrored), _mirror(target, mirrored))
        optimize("discriminator", self.adversary.discriminator_loss(target, fake))
        losses = self.adversary.generator_loss(target, fake)
        weight = self.config.lambda_nce
        if same is None:
            losses["nce"] = weight * self.contrast(source, fake, mirrored)
        else:
            losses["nce"] = weight / 2 * self.contrast(source, fake, mirrored)
            losses["nce_identity"] = weight / 2 * self.contrast(target, same, mirrored)
        optimize("generator", losses)

    def contrast(self, seen: Tensor, made: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Returns how badly places of what was made are told by what was seen there, a 0-dim tensor.

        Args:
            seen: (N, C, H, W), the input; no gradient passes through its features.
            made: (N, C, H, W), the output, mirrored as a whole where that is so.
            mirrored: 0-dim and boolean, whether it is; None is no.
        """
        layers, losses = self.config.nce_layers, []
        # queries first: what autocast narrows without a gradient it would hand on to them
        queries = encode(self.generator, made, layers)
        with torch.no_grad():
            keys = encode(self.generator, seen, layers)
        for head, query, key in zip(self.heads, queries, keys, strict=True):
            places = draw_places(key, self.config.patches)
            query = project(head, _mirror(query, mirrored), places)
            with torch.no_grad():
                key = project(head, key, places)
            losses.append(patch_nce(query, key, self.config.temperature))
        return torch.stack(losses).mean()

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """A and what becomes of it; B, and with the identity what becomes of that."""
        generator, seen = generators["generator"], self.generator.output_range
        columns = {
            "A": Column(batch.source, seen, "input"),
            "A to B": Column(generator(batch.source), seen, "output", "A"),
            "B": Column(batch.target, seen, "input"),
        }
        if self.config.nce_identity:
            columns["B to B"] = Column(generator(batch.target), seen, "output", "B")
        return columns

    def _make(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns what the generator makes of A, and of B where that is wanted, in one call if possible."""
        if not self.config.nce_identity:
            return self.generator(source), None
        if source.shape[1:] != target.shape[1:]:
            return self.generator(source), self.generator(target)
        fake, same = self.generator(torch.cat((source, target))).split((len(source), len(target)))
        return fake, same

    def _coin(self, images: Tensor) -> Tensor | None:
        """Returns whether this step mirrors, on the device so that nothing waits; None where none does."""
        return torch.rand((), device=images.device) < 0.5 if self.config.flip_equivariance else None


def encode(generator: Resnet, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Returns the features of a residual generator in some layers of its encoder, counted as the authors do.

    Args:
        generator: In training or evaluation.
        images: (N, C, H, W) in its input range.
        layers: 0 is the image with its border of 3 reflected pixels; see `CUTConfig.nce_layers`.

    Returns:
        One (N, C', H', W') each, in the order of `layers`. Where an activation follows in place, it is what
        the activation made of it, as in the authors' code.
    """
    found, x = {0: F.pad(images, (3, 3, 3, 3), mode="reflect")}, images
    for number, layer in enumerate(_encoder(generator)[: max(layers)], 1):
        x = layer(x)
        if number in layers:
            found[number] = x
    return [found[layer] for layer in layers]


def draw_places(features: Tensor, count: int) -> Tensor:
    """Returns `count` different places of a map of features, or all, drawn from the device's generator.

    Args:
        features: (N, C, H, W).
        count: How many at most.

    Returns:
        (P,), numbers of places row by row.
    """
    area = features.shape[-2] * features.shape[-1]
    return torch.rand(area, device=features.device).topk(min(count, area)).indices


def project(head: nn.Module, features: Tensor, places: Tensor) -> Tensor:
    """Returns what `head` makes of the features at some places, as vectors of length 1.

    Args:
        head: Takes (N, P, C) and returns (N, P, D).
        features: (N, C, H, W).
        places: (P,), see `draw_places`.
    """
    vectors = full(head(features.flatten(2).index_select(2, places).mT))
    lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / (lengths + _NO_LENGTH)


def patch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Returns the cross-entropy of finding for each query its own key among all keys of the same image.

    Args:
        query, key: (N, P, D), vectors of length 1; no gradient passes through the keys.
        temperature: Similarities are divided by it.

    Returns:
        The mean, a 0-dim fp32 tensor.

    References:
        arXiv:2007.15651, equations 3 and 4, with the other places of the image as negatives.
    """
    with torch.autocast(query.device.type, enabled=False):  # the temperature magnifies what is rounded
        logits = full(query) @ full(key).detach().mT / temperature
    own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), own.flatten())


def _encoder(generator: Resnet) -> list[nn.Module]:
    """Returns the layers from 1 on; the first convolution reflects the border itself, which is layer 0."""
    return [layer for stage in generator.head for layer in stage.children()] + list(generator.blocks)


def _widths(generator: Resnet) -> list[int]:
    """Returns the channels of every layer of the encoder, from 0 on."""
    widths = [generator.in_channels]
    for layer in _encoder(generator):
        widths.append(layer.out_channels if isinstance(layer, nn.Conv2d) else widths[-1])
    return widths


def _mirror(images: Tensor, mirrored: Tensor | None) -> Tensor:
    """Returns (N, C, H, W), left and right exchanged where `mirrored` is true."""
    return images if mirrored is None else torch.where(mirrored, images.flip(-1), images)
