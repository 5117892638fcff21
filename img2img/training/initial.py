"""Weights of others to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from img2img.errors import ConfigError, display_path
from img2img.interop import open_checkpoint
from img2img.models import Generator
from img2img.weights import find_model


def load_initial(generator: Generator, path: Path) -> None:
    """Gives `generator` the weights of a model file or of any checkpoint that can be imported.

    Raises:
        ConfigError: It is of another architecture or size; both are named.
        ModelError: The file cannot be opened.
    """
    found, _ = open_checkpoint(find_model(path))
    own, theirs = generator.spec, found.spec
    if own.name != theirs.name:
        raise ConfigError(
            f"{display_path(path)} is a {theirs.name}, the configuration has a {own.name}; "
            "leave method.generator out, and the architecture of the file is taken."
        )
    weights = found.state_dict()
    shapes = {name: value.shape for name, value in weights.items()}
    if shapes != {name: value.shape for name, value in generator.state_dict().items()}:
        differing = [
            f"{key} {theirs.arguments.get(key)} (here {value})"
            for key, value in own.arguments.items()
            if value != theirs.arguments.get(key)
        ]
        raise ConfigError(
            f"{display_path(path)} is a {theirs.name} with {', '.join(differing) or 'other weights'}; "
            "leave method.generator out, and the architecture of the file is taken."
        )
    generator.load_state_dict(weights)


def architecture(path: Path) -> tuple[dict[str, Any], int]:
    """Returns the key `generator:` that fits the weights in `path`, and the scale of the network.

    Raises:
        ModelError: The file cannot be opened.
    """
    found, _ = open_checkpoint(find_model(path))
    return {"name": found.spec.name, **found.spec.arguments}, found.scale
