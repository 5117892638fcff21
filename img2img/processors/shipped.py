"""The recipes that ship with the package: `recipe_NAME.yaml` in `img2img.configs`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from img2img.errors import ConfigError, display_path
from img2img.processors.chain import Chain
from img2img.processors.recipe import read_recipe
from img2img.registry import unknown

_PREFIX, _SUFFIX = "recipe_", ".yaml"


def shipped_recipes() -> list[str]:
    """Returns the names of the recipes that ship, in alphabetical order."""
    names = (entry.name for entry in files("img2img.configs").iterdir())
    return sorted(
        name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in names if name.startswith(_PREFIX)
    )


def open_recipe(name: str) -> Chain:
    """Returns the chain of a recipe given by its path or by the name of one that ships.

    Raises:
        ConfigError: There is no such file or name, or the recipe has mistakes.
    """
    if Path(name).exists():
        return read_recipe(name)
    if name not in shipped_recipes():
        raise ConfigError(
            f"{unknown('recipe', display_path(name), shipped_recipes())} A recipe is a YAML file, or one of "
            f"these that ship: {', '.join(shipped_recipes())}."
        )
    with as_file(files("img2img.configs").joinpath(f"{_PREFIX}{name}{_SUFFIX}")) as path:
        return read_recipe(path)
