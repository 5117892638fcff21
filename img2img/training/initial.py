"""Weights of others to start from."""

from __future__ import annotations

from pathlib import Path

from img2img.errors import ConfigError, display_path
from img2img.interop import open_checkpoint
from img2img.models import Generator


def load_initial(generator: Generator, path: Path) -> None:
    """Gives `generator` the weights of a model file or of any checkpoint that can be imported.

    Raises:
        ConfigError: It is of another architecture or size; both are named.
        ModelError: The file cannot be opened.
    """
    found, _ = open_checkpoint(path)
    if found.spec.name != generator.spec.name:
        raise ConfigError(
            f"{display_path(path)} is a {found.spec.name}, the configuration has a {generator.spec.name}; "
            f"--set method.generator.name={found.spec.name} takes its architecture."
        )
    own, theirs = generator.spec.arguments, found.spec.arguments
    shapes = {name: value.shape for name, value in generator.state_dict().items()}
    if {name: value.shape for name, value in found.state_dict().items()} != shapes:
        differing = [
            f"{key} {theirs.get(key)} (here {own.get(key)})"
            for key in {**own, **theirs}
            if own.get(key) != theirs.get(key)
        ]
        raise ConfigError(
            f"{display_path(path)} is a {found.spec.name} with {', '.join(differing)}; set method.generator to the same."
        )
    generator.load_state_dict(found.state_dict())
