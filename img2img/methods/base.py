"""What training one kind of model means: its networks, its losses and the order of its updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from typing_extensions import Self

from img2img.errors import ConfigError
from img2img.methods.networks import require_size
from img2img.models import Generator
from img2img.registry import Registry
from img2img.types import Batch, ValueRange

DataKind = Literal["paired", "unpaired", "super_resolution"]

Optimize = Callable[[str, Mapping[str, Tensor]], None]
"""`optimize(group, losses)` adds up the losses, sends their gradient into the parameters of that group only,
and takes one step. Values are 0-dim fp32 tensors, weighted already. See `training.Trainer.optimize`."""


class Picture(NamedTuple):
    """Images with what stands for black and white in them.

    Attributes:
        values: (N, C, H, W).
        value_range: Black and white.
    """

    values: Tensor
    value_range: ValueRange


class MethodConfig(BaseModel):
    """The section `method:` of a configuration; each method adds its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The training method.")

    def fitted(self, crop: tuple[int, int] | None) -> Self:
        """Returns the configuration with what it leaves open and the data decide.

        Args:
            crop: (height, width) of the targets that the method will see, or None for whole pictures.

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
        source_channels, target_channels: Channels of the data on both sides.

    Attributes:
        data_kind: What a batch holds: "paired", "unpaired" or "super_resolution".
        Config: The class of `config`.
        scale: Target pixels per source pixel along one side.
        notes: Sentences about choices that were made, for the run to say at its start.
    """

    data_kind: ClassVar[DataKind]
    Config: ClassVar[type[MethodConfig]]
    scale: int = 1

    @property
    def unguided(self) -> str | None:
        """A sentence where fresh weights will hardly find their way by the losses there are; else None."""
        return None

    def __init__(self, config: MethodConfig, source_channels: int, target_channels: int) -> None:
        super().__init__()
        self.notes: list[str] = []

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters that learn together, by the name that `optimize` is called with."""
        raise NotImplementedError

    def generators(self) -> dict[str, Generator]:
        """Returns what is worth keeping after training: {"generator": g}, or {"a2b": ..., "b2a": ...}."""
        raise NotImplementedError

    def begin(self, stage: str) -> None:
        """Told when a part of the run begins, by its name in `training.stages`; "" for a run of one part.

        Raises:
            ConfigError: The method knows no such stage.
        """
        if stage:
            raise ConfigError(f"the method has no stage {stage!r}; leave training.stages out.")

    def check(self, batch: Batch) -> None:
        """Makes sure that the networks can take images of the sizes in `batch`; called before `step`.

        Raises:
            ConfigError: They cannot; the message names the sizes that fit.
        """
        for generator in self.generators().values():
            require_size(generator, batch.source)

    def step(self, batch: Batch, optimize: Optimize) -> None:
        """Does one iteration on `batch`: forward passes and calls of `optimize`, in the paper's order."""
        raise NotImplementedError

    def pictures(self, batch: Batch, generators: Mapping[str, Generator]) -> dict[str, Picture]:
        """Returns the columns of the sample grid for `batch`, by their captions, in order.

        Args:
            batch: Samples, as `step` takes them.
            generators: Those of `generators()`, or their averages, in evaluation mode.
        """
        raise NotImplementedError

    def compare(self, batch: Batch, generators: Mapping[str, Generator]) -> tuple[Picture, Picture] | None:
        """Returns output and truth for validation; None without truth. Arguments as in `pictures`."""
        return None


M = TypeVar("M", bound=Method)
methods: Registry[type[Method]] = Registry("method")
