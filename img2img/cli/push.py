"""`img2img model push`: a model and its card into a repository of Hugging Face."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli import completion
from img2img.cli.download import confirm, file_size

if TYPE_CHECKING:
    from img2img.checkpoint import ModelInfo
    from img2img.hubs.cards import OwnCard
    from img2img.hubs.huggingface import HubReference
    from img2img.hubs.push import Content, Push
    from img2img.models import Generator

_PICKLES = (".pth", ".pt", ".ckpt", ".bin")
_OF_THIS_MACHINE = ("file", "use")  # facts that hold its paths


@click.command()
@click.argument("file", metavar="MODEL", shell_complete=completion.models)
@click.argument("target", metavar="hf:OWNER/NAME")
@click.option(
    "--license",
    "licence",
    metavar="SPDX",
    help="Of the weights, such as Apache-2.0; must be given where neither the file nor its card states one.",
)
@click.option("--private", is_flag=True, help="A repository that is made for it is seen by its owner only.")
@click.option("--overwrite", is_flag=True, help="Replace files of the same names that are there.")
@click.option("--dry-run", is_flag=True, help="Send nothing: print the card, and say what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def push(
    file: str, target: str, licence: str | None, private: bool, overwrite: bool, dry_run: bool, yes: bool
) -> int:
    """Put MODEL into a repository of Hugging Face, with its card.

    The card is made of what stands in NAME.md beside the model and in the file. What would be sent is shown
    first; it goes there in one commit. Other files of the same names are replaced with --overwrite only.
    Needs the extra hub, and a token: HF_TOKEN, or hf auth login. hf:OWNER/NAME:FILE gives it another name.

    \b
      img2img model push runs/facades/best.safetensors hf:me/facades --license MIT --dry-run
      img2img model push runs/facades/best.safetensors hf:me/facades --license MIT
    """
    from img2img import __version__
    from img2img.cli.render import say
    from img2img.errors import display_path
    from img2img.hubs import push as module
    from img2img.hubs.cards import read_own_card
    from img2img.hubs.huggingface import library
    from img2img.interop import open_checkpoint
    from img2img.weights import find_model
    from img2img.weights.card import read_card
    from img2img.weights.finder import EXTENSIONS

    library()
    path = find_model(file)
    place = module.destination(target, path)
    account = None if dry_run else module.require_account()
    generator, info = open_checkpoint(path)
    read_card(path)  # says what is wrong in it
    own = read_own_card(path)
    licence, questions = _licence(licence, own, info, path)
    contents = _contents(path, place)
    planned = module.compare(place, contents, _look(place, dry_run))
    reference = module.short_reference(planned, EXTENSIONS)
    command, card = _card(path, generator, info, own, licence, place, reference)
    contents[module.CARD] = card.encode()
    planned = module.compare(place, contents, planned.found)
    _show(planned, account, licence, private)
    if dry_run:
        click.echo(card, nl=False)
        return 0
    module.require(planned, private, overwrite)
    if planned.new or planned.replaced:
        if not yes:
            say("The card: img2img model push with --dry-run prints it.")
            confirm(" and ".join(["what is sent", *questions]))
        module.send(planned, f"{place.file}, pushed by img2img {__version__}", private, overwrite)
        say(f"Sent to {planned.page}.", "bold")
    else:
        say(f"All of it is at {planned.page} already, unchanged.")
    say(f"Use it: {display_path(command)}")
    return 0


def _licence(given: str | None, own: OwnCard, info: ModelInfo, model: Path) -> tuple[str, list[str]]:
    """Returns the licence of a model, asked for where nobody has stated it, and what else is to be asked.

    What is given goes before what the card says, and that before the metadata of the file.

    Raises:
        click.UsageError: Nobody has, and nobody can be asked.
    """
    from img2img.cli.render import say, say_warning
    from img2img.errors import display_path
    from img2img.hubs.cards import stated_license

    stated = {"card": own.license, "file": stated_license(info.origin)}
    author = own.facts.get("author")
    if given is None and not any(stated.values()):
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"nobody has stated the licence of {display_path(model.name)}: --license states it, such as "
                "--license Apache-2.0, or a card beside it."
            )
        say("Under which licence may others use the weights? Such as Apache-2.0, MIT, CC-BY-NC-4.0.")
        given = str(click.prompt("Licence", err=True))
    licence = " ".join((given if given is not None else next(filter(None, stated.values()))).split())
    if not re.fullmatch("[A-Za-z0-9][ -~]{0,99}", licence):
        where = "" if given is not None else ", which stands with the model,"
        raise click.UsageError(
            f"{display_path(licence)[:100]!r}{where} is no licence: write its SPDX identifier, such as MIT, "
            "or its name, with --license."
        )
    others = {place: text for place, text in stated.items() if text and text.lower() != licence.lower()}
    for place, text in others.items():
        say_warning(f"its {place} says {text}, and it is pushed under {licence}.")
    questions = ["the other licence"] if others else []
    if author:
        names = ", ".join(map(str, author)) if isinstance(author, list) else str(author)
        say_warning(f"its card says that it is by {names}; it will be public under your name.")
        questions.append("publishing the work of others")
    return licence, questions


def _contents(path: Path, place: HubReference) -> dict[str, Content]:
    """Returns what is sent beside the card: the model, and of one of ncnn its second file.

    Raises:
        click.UsageError: The weights of an ONNX file lie in another one.
    """
    from img2img.errors import display_path

    for data in (path.with_name(f"{path.name}{end}") for end in (".data", "_data")):
        if path.suffix.lower() == ".onnx" and data.exists():
            raise click.UsageError(
                f"{display_path(path.name)} has {display_path(data.name)} beside it, without which it would "
                "not open there; save it as one file."
            )
    name = place.file or path.name
    found: dict[str, Content] = {name: path}
    if path.suffix.lower() == ".param":
        from img2img.interop.ncnn_files import beside

        found[str(Path(name).with_suffix(".bin").as_posix())] = beside(path, ".bin")
    return found


def _look(place: HubReference, dry_run: bool) -> Any:
    """Returns what stands in a repository; a dry run goes without where nobody can be asked."""
    from img2img.cli.render import say_warning
    from img2img.errors import UploadError, UsageError
    from img2img.hubs.push import look

    try:
        return look(place)
    except (UploadError, UsageError) as error:
        if not dry_run:
            raise
        say_warning(f"what stands there is not known: {error}")
        return None


def _card(
    path: Path,
    generator: Generator,
    info: ModelInfo,
    own: OwnCard,
    licence: str,
    place: HubReference,
    reference: str,
) -> tuple[str, str]:
    """Returns the command that takes the model from there, and the card."""
    from img2img.cli.model import describe, use
    from img2img.files import file_digest
    from img2img.hubs.cards import hub_card

    facts = describe(path, generator, info)
    facts = {
        name.replace("_", " "): value
        for name, value in facts.items()
        if name not in _OF_THIS_MACHINE and value not in ("", {}, None)
    }
    facts["sha256"] = file_digest(path)
    kinds = _kinds(generator, info)
    title = Path(place.file or path.name).stem
    if not own.text.strip():
        what = f"{kinds[0].replace('-', ' ')}, {facts['architecture']}"
        own = replace(own, text=f"A model for img2img: {what}.")
    command = use(reference, generator, info)
    text = hub_card(own, licence, facts, title=title, kinds=kinds, reference=reference, command=command)
    return command, text


def _kinds(generator: Generator, info: ModelInfo) -> list[str]:
    """Returns words for what a network does, by which it is found."""
    from img2img.inference.inpainting import fills_holes

    if generator.scale > 1:
        return ["super-resolution", f"{generator.scale}x"]
    if fills_holes(generator):
        return ["inpainting"]
    if info.output == "labels":
        return ["segmentation"]
    return ["image-restoration"] if info.output == "like_input" else ["image-translation"]


def _show(planned: Push, account: str | None, licence: str, private: bool) -> None:
    """Says what would be sent, and where it goes."""
    from img2img.cli.render import say, say_warning
    from img2img.errors import display_path
    from img2img.hubs.licences import told

    if (planned.target.file or "").lower().endswith(_PICKLES):
        say_warning(
            "it is a pickle, which other programs may run code from; img2img model import makes a "
            ".safetensors of it."
        )
    if planned.found is None:
        there = "a new repository, private" if private else "a new repository, public"
    else:
        there = "a private repository" if planned.found.private else "a public repository"
    say(f"{planned.page}: {there}{f', as {display_path(account)}' if account else ''}.", "bold")
    say(f"Licence: {told(licence)}.")
    for name, content in planned.files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        state = (
            "new" if name in planned.new else "replaces another one" if name in planned.replaced else "there"
        )
        shown = file_size(size) if size >= 2**19 else f"{size:,} bytes"
        say(f"  {display_path(name)}, {shown}: {state}")
