"""Getting a model of OpenModelDB: what would come is known before anybody is asked; it comes whole or not."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import DownloadError, UsageError, display_path
from img2img.fetch import Progress, fetch
from img2img.files import file_digest, user_cache
from img2img.hubs.links import direct
from img2img.hubs.openmodeldb import ModelEntry, ModelResource
from img2img.hubs.record import UNSTATED, record, recorded

_SPARE = 64 * 2**20  # bytes that stay free on the disk


@dataclass(frozen=True)
class ModelOffer:
    """What a download would bring.

    Attributes:
        entry: The model.
        resource: The one of its files that is taken.
        path: Where it will be.
        urls: Addresses that give the file.
        pages: Addresses of pages about it, for people.
        before: The licence under which it was downloaded before; None where there is no record of that.
        here: Whether it is there already, complete and unchanged.
    """

    entry: ModelEntry
    resource: ModelResource
    path: Path
    urls: tuple[str, ...]
    pages: tuple[str, ...]
    before: str | None
    here: bool

    @property
    def renewed(self) -> bool:
        """Whether its licence is another one than it was."""
        return self.before is not None and self.before != (self.entry.license or UNSTATED)


def model_folder() -> Path:
    """Returns the folder where models are found by their names: the user's."""
    return user_cache() / "weights"


def choose(entry: ModelEntry, types: Sequence[str]) -> ModelResource:
    """Returns the file of a model to take: of the first of `types` that can be had directly, else of any.

    Raises:
        UsageError: It has none of these types.
    """
    fitting = [
        resource for kind in types for resource in entry.resources if f".{resource.type.lower()}" == kind
    ]
    if not fitting:
        there = ", ".join(sorted({display_path(resource.type) for resource in entry.resources})) or "no file"
        raise UsageError(
            f"OpenModelDB has {there} of {entry.id}; files that open here are {' and '.join(types)}."
        )
    return next((each for each in fitting if any(map(direct, each.urls))), fitting[0])


def offer(entry: ModelEntry, folder: Path | None, types: Sequence[str]) -> ModelOffer:
    """Returns what `take` would do, and refuses what cannot end well.

    Args:
        entry: The model.
        folder: Where it goes; None takes `model_folder()`.
        types: Extensions of files that are opened, the best one first.

    Raises:
        UsageError: None of its files has such a type, or the disk is too small.
        DownloadError: Its checksum is none, its name is taken by another file, or it cannot be had directly.
    """
    resource = choose(entry, types)
    path = (model_folder() if folder is None else folder) / f"{entry.id}.{resource.type.lower()}"
    name, sha256 = display_path(path), resource.sha256
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise DownloadError(
            f"OpenModelDB states the sha256 {display_path(sha256)[:80]!r} for {entry.id}, which is none; "
            "without a checksum that holds it is not downloaded."
        )
    facts = recorded(path) if path.exists() else {}
    here = os.path.lexists(path) and _is_the_file(path, sha256 or str(facts.get("sha256", "")))
    links = {url: direct(url) for url in resource.urls}
    urls = tuple(link for link in links.values() if link)
    pages = tuple(display_path(url) for url, link in links.items() if not link)
    if not here and not urls:
        where = " or ".join(pages) or entry.page
        check = f" (sha256 {sha256})" if sha256 else ""
        raise DownloadError(
            f"{entry.id} has no address that gives the file itself. Get it by hand from {where}, put it "
            f"there as {name}{check}, and run the command again: it checks the file and records its licence."
        )
    if not here:
        _require_room(path, resource.size)
    before = facts.get("license")
    return ModelOffer(entry, resource, path, urls, pages, before if isinstance(before, str) else None, here)


def take(offered: ModelOffer, progress: Progress | None = None) -> bool:
    """Downloads what was offered, unless it is here, and writes its card.

    Returns:
        Whether the card is about this model; False where somebody's own stands in its place.

    Raises:
        DownloadError: No address gave the file, whole and with the right checksum.
    """
    path, resource = offered.path, offered.resource
    if not offered.here:
        try:
            fetch(offered.urls, path, resource.sha256, resource.size, progress)
        except DownloadError as error:
            if offered.pages:
                raise DownloadError(f"{error} It is also at {' and '.join(offered.pages)}.") from error
            raise
    try:
        return record(path, offered.entry, resource.sha256 or file_digest(path))
    except OSError as error:
        raise DownloadError(
            f"{display_path(path)} is complete, and its card could not be written: {error.strerror or error}."
        ) from error


def _is_the_file(path: Path, sha256: str) -> bool:
    """Returns whether the file that has the name is the one to download.

    Raises:
        DownloadError: It is another one.
    """
    try:
        found = file_digest(path)
    except OSError as error:
        raise DownloadError(f"{display_path(path)} is in the way: {error.strerror or error}.") from error
    if found != sha256.lower():
        known = f"that of the model {sha256[:16]}" if sha256 else "and nobody has published that of the model"
        raise DownloadError(
            f"{display_path(path)} is another file: its sha256 begins with {found[:16]}, {known}; move it "
            "away and try again."
        )
    return True


def _require_room(path: Path, size: int | None) -> None:
    """Raises UsageError where the disk has no room for a file, as far as its size is known."""
    place = next(folder for folder in (path.absolute().parent, *path.absolute().parents) if folder.exists())
    part = path.with_name(f"{path.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    free = max(0, shutil.disk_usage(place).free - _SPARE)
    if size is not None and size - have > free:
        raise UsageError(
            f"{display_path(path.name)} has {size / 2**20:,.0f} MiB, and the disk of {display_path(place)} "
            f"{free / 2**20:,.0f} MiB free; name a folder on another one."
        )
