"""Networks named in a configuration, built and with fresh weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrize import is_parametrized
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.models import ArchSpec, Generator, build, generators
from img2img.models.discriminators import Discriminator, discriminators
from img2img.models.dropout import Dropout
from img2img.models.init import InitKind, initialize
from img2img.registry import unknown


class _Network(BaseModel):
    """An architecture by name with the arguments of its constructor, checked against it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(description="The architecture.")

    @property
    def arguments(self) -> dict[str, Any]:
        """Those given in the configuration."""
        return dict(self.__pydantic_extra__ or {})

    def replace(self, **arguments: Any) -> Self:
        """Returns the same with other arguments."""
        return self.model_validate({"name": self.name, **self.arguments, **arguments})


class GeneratorConfig(_Network):
    """The key `generator:`, for example {name: unet, features: 64}."""

    @model_validator(mode="after")
    def _check(self) -> GeneratorConfig:
        _check_arguments("generator", self)
        return self


class DiscriminatorConfig(_Network):
    """The key `discriminator:`, for example {name: patchgan, layers: 3}."""

    @model_validator(mode="after")
    def _check(self) -> DiscriminatorConfig:
        _check_arguments("discriminator", self)
        return self

    @property
    def has_size(self) -> bool:
        """Whether the architecture judges images of one size only, its argument `input_size`."""
        return "input_size" in inspect.signature(discriminators[self.name]).parameters


class InitConfig(BaseModel):
    """The key `init:`, how weights begin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: InitKind = Field("normal", description="Distribution; default leaves what each layer does.")
    gain: float = Field(0.02, gt=0, description="Its standard deviation, or its gain.")


def with_instance_norm(section: Any) -> Any:
    """Returns a section `method:` whose networks have instance norm where their arguments name no norm.

    For a validator before the others: what is no mapping or names no network comes back as it is.
    """
    if not isinstance(section, Mapping):
        return section
    filled = dict(section)
    for role, registry in (("generator", generators), ("discriminator", discriminators)):
        network = filled.get(role)
        if not isinstance(network, Mapping) or "norm" in network or network.get("name") not in registry:
            continue
        if "norm" in inspect.signature(registry[network["name"]]).parameters:
            filled[role] = {**network, "norm": "instance"}
    return filled


def _check_arguments(role: Literal["generator", "discriminator"], network: _Network) -> None:
    """Raises ValueError with every problem of `network`."""
    registry = generators if role == "generator" else discriminators
    if network.name not in registry:
        raise ValueError(registry.missing(network.name))
    cls: type = registry[network.name]
    problems = []
    parameters = inspect.signature(cls).parameters
    for key, value in network.arguments.items():
        if key not in parameters:
            problems.append(unknown(f"argument of {network.name}", key, parameters))
            continue
        try:
            hint, adapter = _argument_type(cls, key)
            strict = isinstance(value, bool) or hint is bool  # no text for yes and no, no yes for 1
            adapter.validate_python(value, strict=strict)
        except ValidationError as error:
            problems.append(f"{network.name}: {key} is {value!r}; {error.errors()[0]['msg'].lower()}")
    if problems:
        raise ValueError(" ".join(problem.rstrip(".") + "." for problem in problems))


@cache  # making an adapter takes many times as long as using it
def _argument_type(cls: type, key: str) -> tuple[Any, TypeAdapter[Any]]:
    """Returns the type of an argument of a constructor, and what checks its values."""
    hint = get_type_hints(cls.__init__).get(key, Any)  # type: ignore[misc]
    return hint, TypeAdapter(hint)


def make_generator(config: GeneratorConfig, init: InitConfig, **defaults: Any) -> Generator:
    """Returns the generator of `config` with fresh weights.

    Args:
        config: Name and arguments.
        init: How the weights begin.
        **defaults: Arguments that the data decide (`in_channels`, `scale`), used where the configuration is
            silent and the architecture has them.

    Raises:
        ConfigError: The arguments do not fit together, or contradict the data.
    """
    accepted = inspect.signature(generators[config.name]).parameters
    arguments = {key: value for key, value in defaults.items() if key in accepted} | config.arguments
    generator = build(ArchSpec(config.name, arguments))
    for key, value in defaults.items():
        own = getattr(generator, key, generator.spec.arguments.get(key))
        if own != value:
            raise ConfigError(
                f"generator {config.name} has {key} {own}, the data need {value}; "
                f"leave {key} out of the configuration, or change the data (data.source_channels and "
                "data.target_channels, where it is a number of channels)."
            )
    _initialize(generator, init)
    return generator


def make_discriminator(config: DiscriminatorConfig, init: InitConfig, **defaults: Any) -> Discriminator:
    """Returns the discriminator of `config` with fresh weights; arguments as in `make_generator`.

    Raises:
        ConfigError: The arguments do not fit together.
    """
    cls = discriminators[config.name]
    accepted = inspect.signature(cls).parameters
    arguments: Mapping[str, Any] = {key: value for key, value in defaults.items() if key in accepted}
    discriminator = cls(**{**arguments, **config.arguments})
    _initialize(discriminator, init)
    return discriminator


def mixes_images(network: nn.Module) -> bool:
    """Returns whether two calls of `network` in training differ from one call with both batches together."""
    random = (_BatchNorm, _DropoutNd, Dropout)
    return any(isinstance(m, random) or is_parametrized(m) for m in network.modules())


def require_size(generator: Generator, images: Tensor) -> None:
    """Checks that `generator` can learn from images of this size.

    Args:
        generator: Of any architecture.
        images: (N, C, H, W).

    Raises:
        ConfigError: Their sides are not multiples of `generator.multiple_of`, or smaller than its smallest.
    """
    height, width = images.shape[-2:]
    step = generator.multiple_of
    smallest = max(generator.minimum_size, step)
    if height % step or width % step or min(height, width) < smallest:
        downs = generator.spec.arguments.get("downs")
        fewer = f", or give the generator fewer downs than {downs} (generator.downs)" if downs else ""
        raise ConfigError(
            f"the generator {generator.name} takes images whose sides are multiples of {step}, {smallest} at "
            f"least; they are {width}x{height}. Set data.crop_size to such a size{fewer}."
        )


def _initialize(network: nn.Module, init: InitConfig) -> None:
    if init.kind != "default":
        initialize(network, init.kind, init.gain)
