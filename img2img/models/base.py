"""What a generator promises, so that inference, training and export need to know nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import Fields
from img2img.registry import Registry
from img2img.types import UNIT, ValueRange

Tiling = Literal["local", "global_statistics", "none"]


@dataclass(frozen=True)
class ArchSpec:
    """An architecture by name with every constructor argument, defaults included: enough to rebuild it."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Generator(nn.Module):
    """A network that turns one image into another.

    A subclass is one file in this package: the class, `@generators.register("name")`, one import line in
    `models/__init__.py`. Its constructor takes JSON-serialisable keyword arguments only; they are its
    configuration schema and are recorded in `spec`. `forward` takes (N, in_channels, H, W) in `input_range`,
    with H and W multiples of `multiple_of`, and returns (N, out_channels, H*scale, W*scale) in
    `output_range`, not clamped.

    Attributes:
        in_channels, out_channels: Channels of the input and of the output.
        scale: Output pixels per input pixel along one side.
        multiple_of: H and W must be multiples of this; the caller pads and crops.
        minimum_size: H and W must not be smaller than this; the caller pads and crops.
        input_range, output_range: What stands for black and white; separate facts.
        receptive_field: How many input pixels beyond its own cell of `multiple_of` x `multiple_of` an output
            pixel can see; for tiles, which start at multiples of `multiple_of`.
        tiling: "local": tiles with a halo of `receptive_field` equal the whole. "global_statistics":
            layers normalise over the image. "none": not tileable.
        live_features: Peak number of activation values alive at once per input pixel in `infer`, input and
            output included, at 64x64 and larger; with the element size it gives the memory of a tile.
        output_layers: Names of the submodules that make the output, in half precision kept in fp32.
        half_precision: Whether it computes well in bf16 and fp16.
        conditions: The further inputs that `forward(x, **conditions)` needs, by name, with their kinds.
            Where the arguments decide (the length of a vector), the constructor sets it.
        tiny: The smallest sensible arguments, for tests that walk the registry.
        spec: Name and arguments of this instance.
    """

    in_channels: int
    out_channels: int
    scale: int = 1
    multiple_of: int = 1
    minimum_size: int = 1
    input_range: ValueRange = UNIT
    output_range: ValueRange = UNIT
    receptive_field: int
    tiling: Tiling = "local"
    live_features: int
    output_layers: tuple[str, ...] = ()
    half_precision: bool = True
    conditions: Fields = MappingProxyType({})
    tiny: ClassVar[dict[str, Any]] = {}
    name: ClassVar[str]
    spec: ArchSpec

    def infer(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """Does what `forward` does, for use without gradients; a network overrides it to take less memory.

        Args:
            x: (N, in_channels, H, W) in `input_range`.
            **conditions: The further inputs named in `conditions`.

        Returns:
            (N, out_channels, H*scale, W*scale), equal to that of `forward` within rounding.
        """
        result: Tensor = self(x, **conditions)
        return result

    def exported(self) -> Generator:
        """Returns what a training writes into its model files: this network, or a simpler equal of it."""
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Returns `init` so that it also files its arguments, defaults included, as `spec`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Generator, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        init(self, *args, **kwargs)
        if type(self).__init__ is wrapper:  # of nested constructors the outermost says how to rebuild it
            arguments = dict(list(bound.arguments.items())[1:])
            self.spec = ArchSpec(getattr(type(self), "name", type(self).__name__), arguments)

    return wrapper


G = TypeVar("G", bound=Generator)


class _Generators(Registry[type[Generator]]):
    """The registry of generators; it also tells each class its name, and returns it as the type it is."""

    def register(self, name: str) -> Callable[[type[G]], type[G]]:
        """Returns a decorator that files a generator class under `name`."""
        file = super().register(name)

        def decorate(cls: type[G]) -> type[G]:
            cls.name = name
            file(cls)
            return cls

        return decorate


generators = _Generators("generator")


def build(spec: ArchSpec) -> Generator:
    """Builds the generator that `spec` describes, with fresh weights.

    Raises:
        ConfigError: The name is not registered, or the arguments do not fit its constructor.
    """
    cls = generators[spec.name]
    signature = inspect.signature(cls)
    try:
        signature.bind(**spec.arguments)
    except TypeError as error:
        allowed = ", ".join(signature.parameters)
        raise ConfigError(f"the generator {spec.name!r}: {error}; its arguments are: {allowed}.") from None
    return cls(**spec.arguments)
