"""`img2img completion`: the shell's completion script, and the values that it offers.

A function here is the `shell_complete` of an option or argument. It runs at each press of the key, so it
reads names off files where to import what bears them would take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_PACKAGE = Path(__file__).parent.parent
SHELLS = ("bash", "zsh", "fish", "powershell")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    It completes commands, options, and the names of models, operations, recipes, methods, configurations,
    data sets and files.

    \b
      echo 'eval "$(img2img completion bash)"' >> ~/.bashrc
      echo 'eval "$(img2img completion zsh)"' >> ~/.zshrc              after compinit
      img2img completion fish > ~/.config/fish/completions/img2img.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click has no completion for {shell}; update click to 8.5.")
    from img2img.cli.main import cli

    click.echo(found(cli, {}, "img2img", "_IMG2IMG_COMPLETE").source())


def models(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the models that have names, and the model files here."""
    from img2img.weights.finder import EXTENSIONS, available

    return _names_or_files(available(), begun, EXTENSIONS)


def recipes(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the recipes of `process` that ship, and YAML files."""
    return _names_or_files(_configs("recipe_"), begun, (".yaml", ".yml"))


def configs(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the configurations of trainings that ship, and YAML files."""
    shipped = [name for name in _configs("") if not name.startswith("recipe_")]
    return _names_or_files(shipped, begun, (".yaml", ".yml"))


def methods_and_configs(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Returns the methods of training, and the configurations that ship."""
    return [*methods(context, parameter, begun), *configs(context, parameter, begun)]


def methods(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the methods of training."""
    return _items(_registered("methods", "methods"), begun)


def datasets(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the data sets that can be downloaded, and YAML files."""
    names = (entry.name for entry in files("img2img.recipes").iterdir())
    known = sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
    return _names_or_files(known, begun, (".yaml",))


def operations(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the operations of `process`; after `model=`, the models."""
    name, equals, value = begun.partition("=")
    if equals and name != "model":
        return []
    if equals:
        from click.shell_completion import CompletionItem

        found = models(context, parameter, value)
        return [CompletionItem(f"model={each.value}") for each in found if each.type == "plain"]
    return _items(_registered("processors", "processors", "inference"), begun)


def formats(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the extensions of the formats that are written."""
    from img2img.image.formats import WRITABLE

    return _items(sorted(extension.lstrip(".") for extension in WRITABLE), begun)


def devices(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Returns the kinds of devices."""
    return _items(("auto", "cpu", "cuda", "mps"), begun)


def paths(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Leaves files and folders to the shell, for values that are not of click's type for paths."""
    return _files(begun)


def _configs(prefix: str) -> list[str]:
    names = (entry.name for entry in files("img2img.configs").iterdir() if entry.name.endswith(".yaml"))
    return sorted(name[len(prefix) :].removesuffix(".yaml") for name in names if name.startswith(prefix))


def _registered(registry: str, *packages: str) -> list[str]:
    """Returns the names in a registry, as they stand in the sources, and those that other packages bring."""
    from importlib.metadata import entry_points

    found = {point.name for point in entry_points(group=f"img2img.{registry}")}
    for package in packages:
        for file in (_PACKAGE / package).rglob("*.py"):
            found.update(
                re.findall(rf'^@{registry}\.register\("(.+?)"\)', file.read_text("utf-8"), re.MULTILINE)
            )
    return sorted(found)


def _items(names: Iterable[str], begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names if name.startswith(begun)]


def _files(begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type="file")]


def _names_or_files(names: Iterable[str], begun: str, extensions: tuple[str, ...]) -> list[CompletionItem]:
    """Returns the names and files here that begin so; where there are none, leaves files to the shell."""
    here = (path.name for path in Path().iterdir() if path.suffix.lower() in extensions and path.is_file())
    found = [] if "/" in begun else _items(dict.fromkeys((*names, *sorted(here))), begun)
    return found or _files(begun)
