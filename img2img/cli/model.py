"""`img2img model`: what is inside a model file, importing one, and the models that are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from img2img.checkpoint import ModelInfo
    from img2img.models import Generator


@click.group()
def model() -> None:
    """Look into, import and list models."""


@model.command()
@click.argument("file", metavar="FILE|NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def info(file: str, as_json: bool) -> int:
    """Say what FILE is: a model file, or a checkpoint of others, recognised by its keys and shapes.

    No code in the file runs.
    """
    from img2img.cli.render import print_facts
    from img2img.interop import open_checkpoint
    from img2img.weights import find_model

    path = find_model(file)
    facts = describe(path, *open_checkpoint(path))
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        print_facts((name.replace("_", " "), _text(value)) for name, value in facts.items())
    return 0


@model.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The model file to write: NAME.safetensors.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it is there already.")
def import_(file: Path, output: Path, overwrite: bool) -> int:
    """Turn a checkpoint of others into a model file that needs nothing beside it.

    FILE is opened without running code from it; its architecture is found from its keys and shapes.
    """
    from img2img.checkpoint import save_model
    from img2img.cli.render import say
    from img2img.errors import display_path
    from img2img.interop import open_checkpoint

    if output.suffix != ".safetensors":
        raise click.UsageError(f"a model file is called NAME.safetensors; {str(output)!r} is not.")
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} is there already; --overwrite replaces it.")
    generator, model_info = open_checkpoint(file)
    save_model(output, generator, model_info)
    facts = describe(output, generator, model_info)
    what = facts["layout"] or facts["architecture"]
    say(f"{display_path(file)} is {what}, {facts['parameters'] / 1e6:.2f} million parameters.")
    say(f"Wrote {display_path(output)} ({output.stat().st_size / 2**20:.1f} MiB).")
    return 0


@model.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(as_json: bool) -> int:
    """List the models that -m finds by name, and where they lie."""
    from img2img.cli.render import print_facts, say
    from img2img.errors import display_path
    from img2img.weights import available, folders

    found = available()
    if as_json:
        click.echo(json.dumps({name: str(path) for name, path in found.items()}, indent=1))
    elif found:
        print_facts((name, display_path(path)) for name, path in found.items())
    else:
        say("No model ships with this version, and none lies in the folders that are searched.")
    if not as_json:
        say("Put .safetensors or .pth files into one of these folders and use their names with -m:")
        for folder in folders():
            say(f"  {display_path(folder)}")
    return 0


def describe(path: Path, generator: Generator, info: ModelInfo) -> dict[str, Any]:
    """Returns the facts about an opened model that `model info` prints, JSON-able."""
    origin = dict(info.origin)
    return {
        "file": str(path),
        "layout": origin.pop("layout", ""),
        "architecture": generator.spec.name,
        "arguments": generator.spec.arguments,
        "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        "scale": generator.scale,
        "input": f"{generator.in_channels} channels in [{_range(generator.input_range)}]",
        "output": f"{generator.out_channels} channels in [{_range(generator.output_range)}]",
        "result": {
            "like_input": "like the input: grey stays grey",
            "own": "what the network makes",
        }[info.output],
        "trained_size": info.size,
        "multiple_of": generator.multiple_of,
        "tiling": generator.tiling,
        "origin": origin,
    }


def _range(values: tuple[float, float]) -> str:
    return f"{values[0]:g}, {values[1]:g}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "any" if value is None else str(value)
