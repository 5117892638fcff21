"""The frame for other people's checkpoints: a layout recognises a state dict by its keys and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.models import ArchSpec
from img2img.registry import Registry


@dataclass(frozen=True)
class Recognised:
    """What a layout made of a state dict.

    Attributes:
        spec: The architecture with its arguments.
        state: The same tensors under our names. Reading checks that they fill the network exactly, in
            names and in shapes, and converts half precision; a layout leaves nothing out silently.
        layout: What it is, for people: "ESRGAN, old layout, x4".
        info: What the model file will say.
    """

    spec: ArchSpec
    state: dict[str, Tensor]
    layout: str
    info: ModelInfo = field(default_factory=ModelInfo)


CheckpointLayout = Callable[[Mapping[str, Tensor]], Recognised | None]
"""Returns None for what it does not know; raises ModelError (a sentence) for what it knows and cannot use."""

layouts: Registry[CheckpointLayout] = Registry("layout")


def count(state: Mapping[str, Tensor], pattern: str, start: int = 0) -> int:
    """Returns how many of the keys that `pattern` makes of start, start + 1, ... are there without a gap."""
    found = 0
    while pattern.format(start + found) in state:
        found += 1
    return found
