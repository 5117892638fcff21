"""StarGAN: one generator that gives pictures any of several attributes, learned without pairs.

Choi, Choi, Kim, Ha, Kim, Choo: StarGAN: Unified Generative Adversarial Networks for Multi-Domain
Image-to-Image Translation (arXiv:1711.09020). The order of the updates and the weights are those of the
authors' code.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.fields import Fields, Picture, Vector
from img2img.losses import GanLoss, gradient_penalty
from img2img.losses.identity import IdentityKind, IdentityLoss
from img2img.losses.pixel import full
from img2img.methods.base import Column, Export, Method, MethodConfig, Optimize, methods
from img2img.methods.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    InitConfig,
    make_discriminator,
    make_generator,
)
from img2img.models import Generator, StarGANDiscriminator, generators
from img2img.types import Batch

LabelKind = Literal["attributes", "classes"]
_HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")  # of CelebA, as in the authors' code


class IdentityConfig(BaseModel):
    """The key `identity:`, a distance in the features of a network that another package brings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = Field(description="Its name among the entry points of the group img2img.features.")
    arguments: dict[str, Any] = Field({}, description="Arguments of its constructor.")
    weight: float = Field(1.0, gt=0, description="Weight of the term.")
    distance: IdentityKind = Field(
        "cosine", description="cosine: 1 minus the cosine of the angle between features; l2: their distance."
    )


class StarGANConfig(MethodConfig):
    """The section `method:` with the name stargan."""

    name: str = Field("stargan", description="stargan.")
    generator: GeneratorConfig = Field(
        GeneratorConfig(name="stargan"), description="The generator and its arguments."
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(name="stargan"),
        description="The discriminator and its arguments; input_size follows data.crop_size.",
    )
    labels: LabelKind | None = Field(
        None,
        description="What the numbers are: attributes, each of which may hold, or classes, which exclude one "
        "another. null takes classes where data.fields says so, else attributes.",
    )
    joint: bool = Field(
        False,
        description="Whether there are two data sets with labels of their own, which the fields second and "
        "second_attributes place.",
    )
    second_labels: LabelKind | None = Field(None, description="As labels, of the second data set.")
    exclusive: tuple[tuple[str, ...], ...] = Field(
        (_HAIR,),
        description="Groups of attributes of which a picture has one at most: in the grid of pictures, and "
        "where the model is used, setting one clears the others. Names that the data do not have do no harm.",
    )
    gan: Literal["wgan", "lsgan", "hinge", "vanilla"] = Field("wgan", description="The adversarial loss.")
    gradient_penalty: float = Field(
        10.0, ge=0, description="Weight of the penalty on the slope of the discriminator, lambda_gp."
    )
    n_critic: int = Field(
        5, ge=1, description="Updates of the discriminator for each of the generator; a step has one."
    )
    lambda_cls: float = Field(1.0, ge=0, description="Weight of telling the attributes right.")
    lambda_rec: float = Field(10.0, ge=0, description="Weight of the way there and back, L1.")
    identity: IdentityConfig | None = Field(
        None,
        description="Distance between a picture and what is made of it, in the features of a network that "
        "you bring, such as one that recognises faces: {network: facenet, weight: 1}.",
    )
    init: InitConfig = Field(InitConfig(kind="default"), description="How all weights begin.")

    def fitted(self, crop: tuple[int, int] | None, classes: Collection[str] = ()) -> Self:
        """The discriminator judges whole crops; the labels are what the data say."""
        changes: dict[str, Any] = {
            key: "classes" if field in classes else "attributes"
            for key, field in (("labels", "attributes"), ("second_labels", "second_attributes"))
            if getattr(self, key) is None
        }
        network = self.discriminator
        if network.has_size:
            if crop is None or crop[0] != crop[1]:
                raise ValueError(
                    f"the discriminator {network.name} judges squares of one size; set data.crop_size to a "
                    "side length"
                )
            changes["discriminator"] = network.replace(input_size=crop[0])
        return self.model_copy(update=changes)


class _DataSet(NamedTuple):
    """One of the data sets that are learned from.

    Attributes:
        generator: The network, asked for labels of this set.
        picture, own, wanted: Names of fields.
        places: Where its labels are among all that the discriminator tells.
        labels: What they are.
        end: What the names of its losses end with.
    """

    generator: Generator
    picture: str
    own: str
    wanted: str
    places: slice
    labels: LabelKind
    end: str


@methods.register("stargan")
class StarGAN(Method):
    """Learns from pictures whose attributes are known to give them others.

    The discriminator tells real pictures from made ones and which attributes they have. What is made shall
    look real, have the attributes that were wanted, and become the picture again when those of the picture
    are wanted. Wanted are the labels of another picture, drawn at random for each sample.

    With `joint` there are two data sets, each with labels of its own, and a step learns from both: the labels
    of the other set are unknown, which the generator is told. Two model files come out of it, `generator` and
    `second`, with the same weights: one for the labels of each set.

    With `identity` what is made also keeps to the picture in the features of a network that recognises
    somebody or something.

    References:
        arXiv:1711.09020, section 3 and 4. As in the authors' code the penalty is on the gradient of the sum
        of an image's logits, attributes are told by binary cross entropy, summed over them, and classes by
        cross entropy. They permute the labels of a batch to get those that are wanted; here they come from
        the whole data set, with the same chances.
    """

    fields = MappingProxyType(
        {"source": Picture(), "attributes": Vector(), "target_attributes": Vector(of="attributes")}
    )
    Config = StarGANConfig
    defaults = MappingProxyType(
        {
            "data": {"load_size": 128, "crop_size": 128, "fit": "keep"},
            "training": {
                "steps": 200_000,
                "batch_size": 16,
                "learning_rate": 1e-4,
                "schedule": {"kind": "trapezoid", "descent": 100_000},
            },
        }
    )
    small = MappingProxyType(
        {
            "method": {
                "generator": {"name": "stargan", "features": 16, "blocks": 4},
                "discriminator": {"name": "stargan", "features": 16, "layers": 5},
                "n_critic": 2,
            },
            "data": {"fit": "keep"},
            "training": {
                "batch_size": 8,
                "schedule": {"kind": "trapezoid", "descent": 2000},
                "ema": 0.99,
                "sample_every": 100,
            },
        }
    )
    tiny = MappingProxyType(
        {
            "generator": {"name": "stargan", "features": 4, "blocks": 1},
            "discriminator": {"name": "stargan", "features": 4, "layers": 3},
            "n_critic": 1,
            "gradient_penalty": 0,  # its points are drawn for a whole batch
        }
    )
    turn: Tensor

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__(config, channels)
        assert isinstance(config, StarGANConfig)
        self.config, self.cycle = config, config.n_critic
        colours, own = channels["source"], channels["attributes"]
        others = channels["second_attributes"] if config.joint else 0
        if (
            not {"attributes", "others"}
            <= inspect.signature(generators[config.generator.name]).parameters.keys()
        ):
            raise ConfigError(
                f"the generator {config.generator.name} takes no labels; stargan has the generator stargan."
            )
        if config.joint and channels["second"] != colours:
            raise ConfigError(
                f"pictures of the two data sets have {colours} and {channels['second']} channels, and one "
                "network makes both. Set data.source_channels and data.target_channels to one number."
            )

        def made(asked: int, unknown: int, second: bool) -> Generator:
            labels = {"attributes": asked, "others": unknown, "second": second}
            return make_generator(config.generator, config.init, in_channels=colours, **labels)

        self.generator = made(own, others, False)
        discriminator = make_discriminator(
            config.discriminator, config.init, in_channels=colours, attributes=own + others
        )
        if not isinstance(discriminator, StarGANDiscriminator):
            raise ConfigError(
                f"the discriminator {config.discriminator.name} tells no attributes; use stargan."
            )
        self.discriminator = discriminator
        sets = [("source", "", self.generator, slice(0, own), config.labels)]
        if config.joint:
            second = made(others, own, True)
            for name, layers in self.generator.named_children():
                setattr(second, name, layers)  # the same weights, asked for other labels
            sets.append(("second", "second_", second, slice(own, None), config.second_labels))
        # in a tuple, so that the weights are in the state once
        self._sets = tuple(
            _DataSet(
                generator,
                picture,
                f"{prefix}attributes",
                f"{prefix}target_attributes",
                places,
                labels or "attributes",
                "_second" if prefix else "",
            )
            for picture, prefix, generator, places, labels in sets
        )
        self.gan = GanLoss(config.gan)
        self.identity: IdentityLoss | None = None
        if (term := config.identity) is not None:
            self.identity = IdentityLoss(
                term.network, term.arguments, self.generator.output_range, term.distance
            )
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))
        self._turn: int | None = 0  # what is in the buffer, so that no step waits for the device
        self.register_load_state_dict_post_hook(_forget_turn)  # type: ignore[no-untyped-call]

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """Pictures with their labels and those to aim at, of one data set or of two."""
        assert isinstance(config, StarGANConfig)
        found: dict[str, Any] = {
            "source": Picture(),
            "attributes": Vector(holds=config.labels or "attributes"),
            "target_attributes": Vector(of="attributes"),
        }
        if config.joint:
            found |= {
                "second": Picture(),
                "second_attributes": Vector(like="second", holds=config.second_labels or "attributes"),
                "second_target_attributes": Vector(like="second", of="second_attributes"),
            }
        return found

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The discriminator, the generator."""
        return {
            "discriminator": list(self.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def exports(self) -> dict[str, Export]:
        """The generator; of two data sets once for the labels of each."""
        return {
            "second" if one.end else "generator": Export(
                one.generator,
                one.picture,
                one.picture,
                exclusive=self._exclusive(one, self.names.get(one.own, ())),
            )
            for one in self._sets
        }

    def check(self, batch: Batch) -> None:
        """The discriminator judges pictures of one size."""
        super().check(batch)
        side = self.discriminator.input_size
        for one in self._sets:
            height, width = batch[one.picture].shape[-2:]
            if (height, width) != (side, side):
                raise ConfigError(
                    f"the discriminator {self.config.discriminator.name} judges pictures of {side}x{side}, "
                    f"these are {width}x{height}; set data.crop_size to one side length."
                )

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """For each data set the discriminator, and in every n-th step then the generator."""
        turn = int(self.turn) if self._turn is None else self._turn
        learns = (turn + 1) % self.cycle == 0
        for one in self._sets:
            self._learn(one, batch, optimize, learns)
        self._turn = turn + 1
        self.turn.add_(1)

    def _learn(self, one: _DataSet, batch: Batch, optimize: Optimize, learns: bool) -> None:
        config, end = self.config, one.end
        real, own, wanted = batch[one.picture], batch[one.own], batch[one.wanted]
        with torch.set_grad_enabled(learns):
            fake = one.generator(real, **{one.own: wanted})
        logits, told = self.discriminator.judged(torch.cat((real, fake.detach())))
        of_real, of_fake = torch.split(logits, [len(real), len(fake)])
        losses = self.gan.discriminator(of_real, of_fake)
        losses["d_class"] = config.lambda_cls * self._told(one, told[: len(real)], own)
        if config.gradient_penalty:
            losses["d_penalty"] = config.gradient_penalty * gradient_penalty(self._summed, real, fake)
        optimize("discriminator", {name + end: loss for name, loss in losses.items()})
        if not learns:
            return
        logits, told = self.discriminator.judged(fake)
        back = one.generator(fake, **{one.own: own})
        losses = {
            "g_gan": self.gan.generator(logits),
            "g_class": config.lambda_cls * self._told(one, told, wanted),
            "g_rec": config.lambda_rec * F.l1_loss(full(back), full(real)),
        }
        if self.identity is not None and config.identity is not None:
            losses["g_identity"] = config.identity.weight * self.identity(fake, real)
        optimize("generator", {name + end: loss for name, loss in losses.items()})

    def _told(self, one: _DataSet, told: Tensor, labels: Tensor) -> Tensor:
        """Returns how badly the labels of one data set are told."""
        logits = full(told[:, one.places])
        if one.labels == "classes":
            return F.cross_entropy(logits, labels.to(logits.dtype))
        summed = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
        return summed / len(logits)

    def _summed(self, images: Tensor) -> Tensor:
        """Returns logits whose mean over an image is the sum of its logits."""
        logits: Tensor = self.discriminator(images)
        return logits * logits[0].numel()

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """The picture, and what it becomes with each label set: classes one by one, attributes reversed."""
        columns = {}
        value_range = self.generator.output_range
        for one, generator in zip(self._sets, generators.values(), strict=True):
            picture = batch[one.picture]
            columns[one.picture] = Column(picture, value_range, "input")
            for caption, labels in self._each(one, batch[one.own]):
                made = generator(picture, **{one.own: labels})
                columns[caption] = Column(made, value_range, "output", one.picture)
        return columns

    def _each(self, one: _DataSet, own: Tensor) -> list[tuple[str, Tensor]]:
        """Returns the labels (N, K) with each of them set in turn, by its name."""
        names = self.names.get(one.own) or tuple(f"{one.own} {n + 1}" for n in range(own.shape[1]))
        groups = self._exclusive(one, names)
        found = []
        for place, name in enumerate(names):
            rivals = [i for i, other in enumerate(names) if any({name, other} <= set(g) for g in groups)]
            labels = own.clone()
            labels[:, rivals] = 0
            labels[:, place] = 1 if rivals else 1 - own[:, place]
            found.append((name, labels))
        return found

    def _exclusive(self, one: _DataSet, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Returns the groups among the names of its labels of which one at most holds."""
        groups = (names,) if one.labels == "classes" else self.config.exclusive
        found = (tuple(name for name in names if name in group) for group in groups)
        return tuple(group for group in found if len(group) > 1)


def _forget_turn(method: nn.Module, keys: Any) -> None:
    """Lets the number of the step be read from the buffer, which has another value now."""
    assert isinstance(method, StarGAN)
    method._turn = None
