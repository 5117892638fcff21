"""`img2img model search` and `download`: models of others, on the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from img2img.cli.download import Transfer, confirm, file_size
from img2img.cli.options import PROGRESS
from img2img.cli.render import ProgressStyle
from img2img.cli.sources import PATH, count

if TYPE_CHECKING:
    from img2img.hubs.download import ModelOffer
    from img2img.hubs.openmodeldb import Catalogue, ModelEntry

_OPENS = {"yes": "yes", "community": "with [community]", "no": "no"}
_SITE = click.option(
    "--site",
    envvar="IMG2IMG_OPENMODELDB_URL",
    metavar="URL",
    help="OpenModelDB, or another site with its list; also IMG2IMG_OPENMODELDB_URL. "
    "[default: https://openmodeldb.info]",
)
_OFFLINE = click.option("--offline", is_flag=True, help="Ask nobody: take the list that came the last time.")


@click.command()
@click.argument("words", metavar="WORD...", nargs=-1, required=True)
@_OFFLINE
@_SITE
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def search(words: tuple[str, ...], offline: bool, site: str | None, as_json: bool) -> int:
    """Look for models on OpenModelDB.

    A model is found that has every WORD in its id, name, tags, architecture or description. Its list is kept:
    without a network the last one is searched.

    \b
      img2img model search anime compact
      img2img model download 2x-AnimeJaNai-v2-Compact
    """
    from img2img.cli.render import print_table, say

    catalogue = _read(site, offline)
    found = catalogue.search(words)
    if as_json:
        click.echo(json.dumps([_facts(entry) for entry in found], indent=1))
        return 0 if found else 4
    if not found:
        say(f"No model has {' and '.join(map(repr, words))}; try fewer words, or parts of them.", "red")
        return 4
    head = ("model", "scale", "architecture", "licence", "size", "opens here", "download")
    print_table(f"{count(len(found), 'model')} on OpenModelDB", head, map(_row, found))
    say("img2img model download MODEL gets one.")
    return 0


@click.command()
@click.argument("name", metavar="MODEL")
@click.option(
    "-o",
    "--folder",
    type=PATH,
    metavar="DIR",
    help="Where it goes. [default: the folder in which -m finds models by name]",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask: agree to the licence.")
@_OFFLINE
@_SITE
@PROGRESS
def download(
    name: str, folder: Path | None, yes: bool, offline: bool, site: str | None, progress: ProgressStyle
) -> int:
    """Download a model of OpenModelDB by its id.

    Says what it is and under which licence, and asks before it takes one that is not free, or does not open
    here. What breaks off is continued by the same command; the file has its name when its checksum is right.
    A card beside it keeps licence, origin and checksum.

    \b
      img2img model download 4x-Nomos8kSC
      img2img upscale in/ -o out/ -m 4x-Nomos8kSC
    """
    from img2img.cli.render import say, say_warning
    from img2img.errors import display_path
    from img2img.hubs.download import offer, take
    from img2img.hubs.licences import told
    from img2img.weights import available
    from img2img.weights.finder import EXTENSIONS

    entry = _read(site, offline)[name]
    authors = ", ".join(entry.author) or "nobody named"
    say(f"{entry.name} (x{entry.scale}, {entry.architecture}), by {authors}.", "bold")
    say(f"Licence: {told(entry.license)}. About it: {entry.page}")
    offered = offer(entry, folder, EXTENSIONS)
    _agree(offered, yes)
    transfer = Transfer(progress)
    try:
        recorded = take(offered, transfer)
    finally:
        transfer.close()
    path = display_path(offered.path)
    if offered.here:
        say(f"{path} is here already, with the right checksum.")
    else:
        say(f"Wrote {path}.")
        if offered.resource.sha256 is None:
            say_warning("nobody has published a checksum of it.")
    if not recorded:
        say_warning(
            f"the card {display_path(offered.path.with_suffix('.md'))} is another one, and stays as it is."
        )
    found = available().get(offered.path.stem)
    named = offered.path.stem if found is not None and found.absolute() == offered.path.absolute() else path
    say(f"Use it with -m {named}; img2img model info {named} looks into it.")
    return 0


def _read(site: str | None, offline: bool) -> Catalogue:
    from img2img.cli.render import say_warning
    from img2img.hubs.openmodeldb import read_catalogue

    catalogue = read_catalogue(site, offline)
    if catalogue.note:
        say_warning(catalogue.note)
    return catalogue


def _agree(offered: ModelOffer, yes: bool) -> None:
    """Asks where the licence is not free, or is a new one, or the model does not open."""
    from img2img.cli.render import say, say_warning
    from img2img.hubs.licences import is_free
    from img2img.weights.finder import EXTENSIONS

    entry, size = offered.entry, offered.resource.size
    say(f"File: {offered.resource.type}, {'unknown size' if size is None else file_size(size)}.")
    questions = []
    if offered.renewed:
        say_warning(f"it was downloaded under another licence before: {offered.before}.")
        questions.append("the new licence")
    elif not is_free(entry.license) and offered.before is None:
        questions.append("the licence")
    opens = entry.opens(EXTENSIONS)
    if opens == "no":
        say_warning(f"img2img does not open {entry.architecture} models.")
    elif opens == "community":
        say_warning(
            f"{entry.architecture} models open with the extra community: pip install 'img2img[community]'."
        )
    if opens != "yes" and not offered.here:
        questions.append("a model that does not open here")
    if questions and not yes:
        confirm(" and ".join(questions))


def _row(entry: ModelEntry) -> tuple[str, ...]:
    facts = _facts(entry)
    return (
        entry.id,
        f"x{entry.scale}",
        entry.architecture,
        entry.license or "none stated",
        "" if facts["bytes"] is None else file_size(facts["bytes"]),
        _OPENS[facts["opens"]],
        "direct" if facts["urls"] else "by hand",
    )


def _facts(entry: ModelEntry) -> dict[str, Any]:
    """Returns what is said of a model, JSON-able."""
    from img2img.errors import UsageError
    from img2img.hubs.download import choose
    from img2img.hubs.licences import is_free
    from img2img.hubs.links import direct
    from img2img.weights.finder import EXTENSIONS

    types = [*EXTENSIONS, *(f".{resource.type.lower()}" for resource in entry.resources)]
    try:
        resource = choose(entry, types)
    except UsageError:  # it has no file
        resource = None
    return {
        "id": entry.id,
        "name": entry.name,
        "author": list(entry.author),
        "scale": entry.scale,
        "architecture": entry.architecture,
        "license": entry.license,
        "free": is_free(entry.license),
        "opens": entry.opens(EXTENSIONS),
        "type": resource and resource.type,
        "bytes": resource and resource.size,
        "sha256": resource and resource.sha256,
        "urls": [link for url in resource.urls if (link := direct(url))] if resource else [],
        "tags": list(entry.tags),
        "date": entry.date,
        "description": entry.description,
        "page": entry.page,
    }
