"""`img2img model`: what is inside a model file, making one of others, and the models that are at hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from img2img.cli import completion
from img2img.cli.export import export
from img2img.cli.hubs import download, search
from img2img.cli.push import push

if TYPE_CHECKING:
    from img2img.checkpoint import ModelInfo
    from img2img.models import Generator
    from img2img.weights.card import Card

F = TypeVar("F", bound=Callable[..., Any])
RESULTS = {
    "like_input": "like the input: grey stays grey",
    "own": "what the network makes",
    "labels": "a label map",
}


@click.group()
def model() -> None:
    """Look into, import, blend, list, find, download and push models."""


model.add_command(export)
model.add_command(search)
model.add_command(download)
model.add_command(push)


@model.command()
@click.argument("file", metavar="FILE|NAME", shell_complete=completion.models)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def info(file: str, as_json: bool) -> int:
    """Say what FILE is: a model file, or a checkpoint of others, recognised by its keys and shapes.

    No code in the file runs.
    """
    from img2img.cli.render import print_facts
    from img2img.interop import open_checkpoint
    from img2img.weights import find_model
    from img2img.weights.card import read_card

    path = find_model(file)
    facts = describe(path, *open_checkpoint(path))
    card = read_card(path)
    if card is not None:
        facts["card"] = card.model_dump(mode="json")
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        lines = [
            (name.replace("_", " "), _text(value))
            for name, value in facts.items()
            if name != "card" and value not in ("", {})
        ]
        print_facts([*lines, *_card_lines(card, path)])
    return 0


def _writing(command: F) -> F:
    """Adds what both commands that write a model file take."""
    for add in (
        click.option("--overwrite", is_flag=True, help="Replace the output if it is there already."),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16", "fp16"]),
            default="fp32",
            show_default=True,
            help="What the weights are stored as; the half ones take half the space.",
        ),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(dir_okay=False, path_type=Path),
            help="The model file to write: NAME.safetensors.",
        ),
    ):
        command = add(command)
    return command


@model.command("import")
@click.argument("file", metavar="FILE|NAME", shell_complete=completion.models)
@_writing
def import_(file: str, output: Path, precision: str, overwrite: bool) -> int:
    """Turn a checkpoint of others into a model file that needs nothing beside it.

    FILE is opened without running code from it; its architecture is found from its keys and shapes. A model
    file can be imported, too: with --precision fp16 it becomes half as large.
    """
    from img2img.cli.render import say
    from img2img.errors import display_path
    from img2img.interop import open_checkpoint
    from img2img.weights import find_model

    _check_output(output, overwrite)
    path = find_model(file)
    generator, model_info = open_checkpoint(path)
    size = _save(output, generator, model_info, precision)
    facts = describe(output, generator, model_info)
    what = facts["layout"] or facts["architecture"]
    say(f"{display_path(path)} is {what}, {facts['parameters'] / 1e6:.2f} million parameters.")
    say(f"Wrote {display_path(output)} ({size}).")
    return 0


@model.command()
@click.argument("first", metavar="A", shell_complete=completion.models)
@click.argument("second", metavar="B", shell_complete=completion.models)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="Share of B in the weights: 0 is A, 1 is B.",
)
@_writing
def blend(first: str, second: str, alpha: float, output: Path, precision: str, overwrite: bool) -> int:
    """Make the model between A and B, which have one architecture.

    Their weights are mixed, (1 - alpha) * A + alpha * B, as ESRGAN does between its PSNR-oriented model and
    its GAN model. That works for models of which one was trained from the other.
    """
    from img2img.checkpoint import fingerprint
    from img2img.cli.render import say
    from img2img.errors import ConfigError, display_path
    from img2img.interop import open_checkpoint
    from img2img.models.interpolation import interpolate
    from img2img.weights import find_model

    _check_output(output, overwrite)
    paths = find_model(first), find_model(second)
    (a, info_a), (b, info_b) = (open_checkpoint(path) for path in paths)
    if info_a.output != info_b.output:
        raise ConfigError(
            f"the two models cannot be blended: the result of the first is {RESULTS[info_a.output]}, that of "
            f"the second {RESULTS[info_b.output]}."
        )
    if (info_a.palette, info_a.nearest, info_a.labels) != (info_b.palette, info_b.nearest, info_b.labels):
        raise ConfigError("the two models cannot be blended: they were trained on different label maps.")
    if (info_a.attributes, info_a.exclusive) != (info_b.attributes, info_b.exclusive):
        raise ConfigError(
            "the two models cannot be blended: the numbers that they take stand for other things."
        )
    if (info_a.range, info_a.target_range) != (info_b.range, info_b.target_range):
        raise ConfigError("the two models cannot be blended: they were trained on different data.range.")
    origin = {
        "blend": f"{1 - alpha:g} of {paths[0].name}, {alpha:g} of {paths[1].name}",
        "alpha": str(alpha),
    }
    for letter, generator, info in (("a", a, info_a), ("b", b, info_b)):
        origin |= {f"{letter} {name}": value for name, value in info.origin.items()}
        origin[f"{letter} sha256"] = fingerprint(generator.state_dict())
    size = (info_b if alpha > 0.5 else info_a).size
    gan = [info.adversarial for share, info in ((1 - alpha, info_a), (alpha, info_b)) if share > 0]
    adversarial = True if True in gan else None if None in gan else False
    synthetic = info_a.synthetic or info_b.synthetic
    info = replace(info_a, size=size, origin=origin, adversarial=adversarial, synthetic=synthetic)
    written = _save(output, interpolate(a, b, alpha), info, precision)
    say(f"Wrote {display_path(output)}: {origin['blend']} ({written}).")
    return 0


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix != ".safetensors":
        raise click.UsageError(f"a model file is called NAME.safetensors; {str(output)!r} is not.")
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} is there already; --overwrite replaces it.")


def _save(output: Path, generator: Generator, info: ModelInfo, precision: str) -> str:
    """Writes the model file and returns its size for people."""
    from img2img.checkpoint import save_model
    from img2img.inference.precision import DTYPES

    save_model(output, generator, info, DTYPES[precision])
    return f"{output.stat().st_size / 2**20:.1f} MiB, {precision}"


@model.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_(as_json: bool) -> int:
    """List the models that -m finds by name: those that ship, and where others are looked for."""
    from img2img.cli.render import print_facts, say
    from img2img.errors import display_path
    from img2img.weights import available, folders, ships

    found = available()
    if as_json:
        click.echo(json.dumps({name: str(path) for name, path in found.items()}, indent=1))
        return 0
    if not any(ships(path) for path in found.values()):
        say("No model ships with this installation: it was made from a source tree without its weights.")
    print_facts((name, _line(path)) for name, path in found.items())
    say(
        "Put model files (.safetensors, .pth, .param, .onnx) into one of these folders, and use their names "
        "with -m:"
    )
    for folder in folders()[1:]:
        say(f"  {display_path(folder)}")
    return 0


def _line(path: Path) -> str:
    """Returns what one line says of a model: its card and size, and where it lies unless it ships."""
    from img2img.errors import ConfigError, display_path
    from img2img.weights import ships
    from img2img.weights.card import read_card

    size = f"{path.stat().st_size / 2**20:.1f} MiB"
    try:
        card = read_card(path)
        words = [] if card is None else [card.summary()]
        if card is not None and not ships(path):
            words.append(f"licence {card.license}")
    except ConfigError as error:
        words = [f"its card is wrong: {error}"]
    return "; ".join([*words, size, *([] if ships(path) else [display_path(path)])])


def _card_lines(card: Card | None, path: Path) -> list[tuple[str, str]]:
    """Returns the key facts of a model card."""
    from img2img.errors import display_path

    if card is None:
        return []
    scores = [
        (
            score.name,
            f"{score.psnr_y:.2f} dB, SSIM {score.ssim_y:.4f} "
            f"({card.before} {score.bicubic_psnr_y:.2f} dB, {score.bicubic_ssim_y:.4f})",
        )
        for score in card.results
    ]
    return [
        ("for", card.purpose),
        ("trained on", card.training_data),
        *scores,
        ("licence", card.license),
        ("card", display_path(path.with_suffix(".md"))),
    ]


def describe(path: Path, generator: Generator, info: ModelInfo) -> dict[str, Any]:
    """Returns the facts about an opened model that `model info` prints, JSON-able."""
    from img2img.checkpoint import plain_size
    from img2img.models.pix2pixhd import style_count

    origin = dict(info.origin)
    count = sum(parameter.numel() for parameter in generator.parameters())
    ranges = {"range": info.range, "target_range": info.target_range}
    return {
        "file": str(path),
        "layout": origin.pop("layout", ""),
        "architecture": generator.spec.name,
        "arguments": generator.spec.arguments,
        **({"parameters": count} if count else {}),  # an ONNX file does not say
        "scale": generator.scale,
        "input": f"{generator.in_channels} channels in [{_range(generator.input_range)}]",
        "output": f"{generator.out_channels} channels in [{_range(generator.output_range)}]",
        "result": RESULTS[info.output],
        **({} if info.adversarial is None else {"adversarial": info.adversarial}),
        **({"synthetic": True} if info.synthetic else {}),
        **({"classes": list(map(info.labels.name, range(len(info.labels))))} if info.labels else {}),
        **{name: _range(value) for name, value in ranges.items() if value is not None},
        **({"conditions": _conditions(generator, info)} if generator.conditions else {}),
        **({"use": use(str(path), generator, info)} if generator.conditions else {}),
        **({"styles": styles} if (styles := style_count(generator)) else {}),
        "trained_size": plain_size(info.size),
        **({"fit": info.fit} if info.size else {}),
        "multiple_of": generator.multiple_of,
        "tiling": generator.tiling,
        "origin": origin,
    }


def use(model: str, generator: Generator, info: ModelInfo) -> str:
    """Returns the command that takes a model, with all that it needs beside pictures."""
    from img2img.inference.inpainting import fills_holes

    words = ["img2img", "upscale" if generator.scale > 1 else "translate", "IN", "-o", "OUT", "-m", model]
    if fills_holes(generator):
        words[1] = "inpaint"
        words += ["--mask", "DIR"]
    else:
        for name, field in generator.conditions.items():
            place = "DIR" if field.spatial else "TABLE.csv" if name in info.attributes else "NUMBERS"
            words += ["--with", f"{name}={place}"]
    return shlex.join(words)


def _conditions(generator: Generator, info: ModelInfo) -> dict[str, Any]:
    """Returns kinds and names of what the network takes beside the picture."""
    from img2img.fields import describe

    found = describe(generator.conditions)
    for name, names in info.attributes.items():
        found[name]["names"] = list(names)
    return found


def _condition(facts: Mapping[str, Any]) -> str:
    """Returns "vector of 2: Blond_Hair, Male"."""
    size = f" of {facts['size']}" if "size" in facts else ""
    names = f": {', '.join(facts['names'])}" if "names" in facts else ""
    return f"{facts['kind']}{size}{names}"


def _range(values: tuple[float, float]) -> str:
    return f"{values[0]:g}, {values[1]:g}"


def _text(value: Any) -> str:
    if isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()) and value:
        return "; ".join(f"{key} ({_condition(item)})" for key, item in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, list):
        return f"{value[1]} x {value[0]}"
    return "any" if value is None else str(value)
