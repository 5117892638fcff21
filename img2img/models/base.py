"""What a generator promises, so that inference, training and export need to know nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar, get_args

from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import Fields
from img2img.models.norm import NormStats, batch_norms
from img2img.models.strips import Kept, StripCost
from img2img.registry import Registry, unknown
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
        steps: After how many evaluations of the network a result is made, where they can be chosen.
        conditions: The further inputs that `forward(x, **conditions)` needs, by name, with their kinds.
            Where the arguments decide (the length of a vector), the constructor sets it.
        grown_arguments: Names of the arguments that may differ where training starts from the weights of
            another network: those of equal name and shape are taken, and what is new stays fresh.
        training_arguments: Names of the arguments that say how it learns and leave names and shapes of the
            weights as they are.
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
    steps: int | None = None
    conditions: Fields = MappingProxyType({})
    grown_arguments: ClassVar[tuple[str, ...]] = ("scale",)
    training_arguments: ClassVar[tuple[str, ...]] = ()
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

    def set_steps(self, steps: int) -> None:
        """Chooses after how many evaluations of the network a result is made.

        Raises:
            ConfigError: It takes one alone, or not so many.
        """
        raise ConfigError(f"the generator {self.name!r} makes a result in one step; leave `steps` out.")

    def placed(self, top: int, left: int, height: int, width: int) -> dict[str, Tensor]:
        """Returns what `infer` takes of a window beside picture and conditions because of where it lies.

        Args:
            top, left, height, width: Of the window in its picture.

        Returns:
            (C, height, width) each, by name; for most networks nothing.
        """
        return {}

    def exported(self) -> Generator:
        """Returns what a training writes into its model files: this network, or a simpler equal of it."""
        return self

    def check_state(self) -> None:
        """Makes sure that the weights keep what the arguments promise beyond names and shapes.

        Raises:
            ConfigError: They do not; the message begins with "the weights".
        """

    def fine_tuning_arguments(self) -> dict[str, Any]:
        """Returns the arguments of the network that a training goes on with from these weights.

        They differ from those in `spec` by some of `training_arguments` at most.
        """
        return dict(self.spec.arguments)

    def strip_costs(self, height: int, width: int, element_size: int) -> list[StripCost]:
        """Returns the ways through the network for pictures too large for memory, fastest first; often none.

        Args:
            height, width: Of the input, multiples of `multiple_of`.
            element_size: Bytes of one activation.
        """
        return []

    def in_strips(self, x: Tensor, kept: Kept, rows: int) -> Iterator[tuple[int, Tensor]]:
        """Runs on one large picture and yields finished rows from top to bottom, equal to those of `forward`.

        Norm layers may keep the statistics of the picture; the caller clears them.

        Args:
            x: (1, in_channels, H, W) in `input_range`, H and W multiples of `multiple_of`.
            kept: One of the ways that `strip_costs` names.
            rows: Input rows that a strip stands for.

        Yields:
            The first row of a strip in the output, and the strip (1, out_channels, h, W*scale), not clamped.
        """
        raise TypeError(f"{type(self).__name__} has no way through it in strips")

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


generators = _Generators("generator", "img2img.generators", Generator)


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


def set_norm_stats(generator: Generator, stats: NormStats) -> None:
    """Chooses what every batch norm of `generator` normalises by in evaluation; without any it does nothing.

    `generator.tiling` follows, because statistics of an image are not those of its tiles.

    Raises:
        ConfigError: `stats` is neither "running" nor "image".
    """
    if stats not in get_args(NormStats):
        raise ConfigError(unknown("choice of norm statistics", stats, get_args(NormStats)))
    layers = list(batch_norms(generator))
    for layer in layers:
        layer.stats = stats
    if layers and generator.tiling != "none":
        generator.tiling = "global_statistics" if stats == "image" else "local"


def get_norm_stats(generator: Generator) -> NormStats | None:
    """Returns what the batch norms of `generator` normalise by in evaluation; None if it has none."""
    return next((layer.stats for layer in batch_norms(generator)), None)
