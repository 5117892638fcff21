"""What training one kind of model means: its networks, its losses and the order of its updates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.fields import Fields, require_names
from img2img.methods.networks import require_size
from img2img.models import Generator
from img2img.registry import Registry
from img2img.types import Batch, ValueRange

Optimize = Callable[[str, Mapping[str, Tensor]], None]
"""`optimize(group, losses)` adds up the losses, sends their gradient into the parameters of that group only,
and takes one step. Values are 0-dim fp32 tensors, weighted already. See `training.Trainer.optimize`."""


Role = Literal["input", "output", "target"]


class Column(NamedTuple):
    """A column of the sample grid: one field, or what networks made of it.

    Attributes:
        values: (N, C, H, W).
        value_range: Black and white.
        role: What it is: an "input" or what it was made of, an "output", or the "target" that outputs are
            compared with.
        of: For an output the caption of the input that it was made from, where that is not the first one.
    """

    values: Tensor
    value_range: ValueRange
    role: Role
    of: str | None = None


class Export(NamedTuple):
    """A network that is worth keeping after training.

    Attributes:
        generator: The network.
        reads, makes: The fields whose pictures go in and come out.
        output: What comes out: "like_input" is the same picture, only better or larger; "own" is another one,
            "labels" how likely each class is: a label map is made of it.
        exclusive: The names of numbers that it takes of which one at most holds, in groups.
    """

    generator: Generator
    reads: str = "source"
    makes: str = "target"
    output: Literal["like_input", "own", "labels"] = "own"
    exclusive: tuple[tuple[str, ...], ...] = ()


class MethodConfig(BaseModel):
    """The section `method:` of a configuration; each method adds its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The training method.")

    def fitted(self, crop: tuple[int, int] | None, classes: Collection[str] = ()) -> Self:
        """Returns the configuration with what it leaves open and the data decide.

        Args:
            crop: (height, width) of the targets that the method will see, or None for whole pictures.
            classes: The fields that hold classes: vectors that say in which folder a picture lies, and label
                maps with a channel for each.

        Raises:
            ValueError: The two contradict each other.
        """
        return self


class Method(nn.Module):
    """Networks and the order in which they learn.

    A subclass is one file in this package: its configuration, the class, `@methods.register("name")`, one
    import line in `methods/__init__.py`. Whatever it must remember from step to step (a pool of images, a
    counter) is a buffer, so that it is saved and restored with the weights.

    Args:
        config: The section `method:`.
        channels: Channels of each field; of a vector how many numbers it has.

    Attributes:
        fields: What a batch holds, by name; `fields_of` for what the configuration decides. The first two
            pictures are what is read and what is made; further ones are prepared as the first.
        Config: The class of `config`.
        defaults: The sections of a configuration for a run that has none.
        small: The same for a CPU, where it is another one; what is not in it is as in `defaults`.
        tiny: Keys of the section `method:` for the smallest sensible networks, for tests.
        any_size: Whether what it exports is used on pictures of any size; if not, at that of the training.
        scale: Target pixels per source pixel along one side.
        cycle: After how many steps all groups have learned; where it is not 1, steps differ.
        names: What the numbers of vectors are called, where that is known; whoever runs the method says it.
        notes: Sentences about choices that were made, for the run to say at its start.
        warnings: Sentences about what may not be meant so.
        frozen_networks: Networks that it asks and that are in no state, as a teacher: they take memory.
        facts: What beside the configuration decides how it learns, as the weights in a file that it names:
            the same in all processes of a run, and in one that continues it.
    """

    fields: ClassVar[Fields]
    Config: ClassVar[type[MethodConfig]]
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    small: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    any_size: ClassVar[bool] = False
    scale: int = 1
    cycle: int = 1
    names: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        require_names(cls.__dict__.get("fields", {}))

    @classmethod
    def fields_of(cls, config: MethodConfig) -> Fields:
        """Returns what a batch holds for a configuration."""
        return cls.fields

    @property
    def unguided(self) -> str | None:
        """A sentence where fresh weights will hardly find their way by the losses there are; else None."""
        return None

    def __init__(self, config: MethodConfig, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.frozen_networks: list[nn.Module] = []
        self.facts: dict[str, str] = {}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters that learn together, by the name that `optimize` is called with."""
        raise NotImplementedError

    def exports(self) -> dict[str, Export]:
        """Returns what is worth keeping after training, by name."""
        raise NotImplementedError

    def generators(self) -> dict[str, Generator]:
        """Returns the networks of `exports`."""
        return {name: export.generator for name, export in self.exports().items()}

    def value_range(self, field: str) -> ValueRange:
        """Returns what black and white are in a picture of a batch.

        By default those of the output of the first export where it makes the field, else of its input.
        """
        first = next(iter(self.exports().values()))
        made = field == first.makes != first.reads
        return first.generator.output_range if made else first.generator.input_range

    def begin(self, stage: str) -> None:
        """Told when a part of the run begins, by its name in `training.stages`; "" for a run of one part.

        By default names are for people alone.

        Raises:
            ConfigError: The method knows stages, and not this one.
        """

    def check(self, batch: Batch) -> None:
        """Makes sure that the networks can take `batch`, its fields and sizes; called before `step`.

        Raises:
            ConfigError: They cannot; the message names the sizes that fit.
        """
        for export in self.exports().values():
            require_size(export.generator, batch[export.reads])
            for name, field in export.generator.conditions.items():
                if name not in batch.fields:
                    raise ConfigError(
                        f"the generator {export.generator.name} takes the {field.kind} {name!r}, and the "
                        f"method has {', '.join(batch.fields)}; choose another generator."
                    )

    def settle(self, generators: Sequence[Generator], samples: Callable[[int], Iterator[Batch]]) -> None:
        """Gives networks what they keep of the data beside their weights; called before they are written.

        Args:
            generators: Those of `generators()`, and their averages, in evaluation mode.
            samples: `samples(n)` yields up to n samples of the training data one by one, the same each time.
        """

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """Does one iteration on `batch`: forward passes and calls of `optimize`, in the paper's order."""
        raise NotImplementedError

    def columns(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Column]:
        """Returns the columns of the sample grid for `batch`, by their captions, in order.

        Args:
            batch: Samples, as `step` takes them.
            generators: Those of `generators()`, or their averages, in evaluation mode.
        """
        raise NotImplementedError

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Column, Column] | None:
        """Returns output and truth for validation; None without truth. Arguments as in `columns`."""
        columns = self.columns(batch, generators).values()
        target = next((column for column in columns if column.role == "target"), None)
        output = next((column for column in columns if column.role == "output"), None)
        return None if output is None or target is None else (output, target)


M = TypeVar("M", bound=Method)
methods: Registry[type[Method]] = Registry("method", "img2img.methods", Method)


def fields_in(section: Mapping[str, Any]) -> Fields:
    """Returns what a batch holds for a section `method:`; of one that is wrong, what it holds by default.

    Raises:
        ConfigError: There is no such method.
    """
    cls = methods[section["name"]]
    for given in (section, {"name": section["name"]}):
        try:
            return cls.fields_of(cls.Config.model_validate(given))
        except (ValueError, ConfigError):  # what is wrong is told where the configuration is read
            continue
    return cls.fields
