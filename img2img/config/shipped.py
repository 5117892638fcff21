"""The configurations of trainings that ship, by their names."""

from __future__ import annotations

from importlib.resources import files
from os import PathLike
from pathlib import Path

from img2img.errors import ConfigError, display_path
from img2img.keys import unknown

_SUFFIX = ".yaml"


def shipped_configs() -> list[str]:
    """Returns the names of the configurations of trainings that ship, in alphabetical order."""
    names = (entry.name for entry in files("img2img.configs").iterdir())
    return sorted(
        name.removesuffix(_SUFFIX)
        for name in names
        if name.endswith(_SUFFIX) and not name.startswith("recipe_")
    )


def find_config(name: str | PathLike[str]) -> Path:
    """Returns the file of a configuration given by its path or by the name of one that ships.

    Raises:
        ConfigError: There is neither; the message offers the nearest names.
    """
    path = Path(name)
    if path.exists():
        return path
    stem = path.name.removesuffix(_SUFFIX)
    if path.parent != Path() or stem not in shipped_configs():
        reason = "" if path.parent != Path() else f"; {unknown('configuration', stem, shipped_configs())}"
        raise ConfigError(f"{display_path(path)}: there is no such file{reason}")
    return Path(str(files("img2img.configs").joinpath(stem + _SUFFIX)))
