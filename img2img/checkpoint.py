"""The model file: one .safetensors that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Output = Literal["like_input", "own"]


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says beside the architecture and its weights.

    Attributes:
        output: "like_input": a grey picture stays grey, as in super-resolution. "own": what leaves the
            network decides, as in translation.
        size: Side length in pixels that it was trained at and works best with, or None for any.
        origin: Where it comes from, for people: {"layout": "ESRGAN, old", "file": "4x_foo.pth"}.
    """

    output: Output = "like_input"
    size: int | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
