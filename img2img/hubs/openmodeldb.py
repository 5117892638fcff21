"""OpenModelDB's list of upscalers: read from its site, kept for when there is no network, and searched.

The site has one JSON file with every model, by its id: what it is, its licence, and of each file the size,
the SHA-256 and the addresses. What is kept beside that is when it came and by which version (ETag or date).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from img2img.errors import ConfigError, DownloadError, display_path
from img2img.fetch import read_url
from img2img.files import read_regular, user_cache, write_bytes
from img2img.registry import unknown

SITE = "https://openmodeldb.info"
PLACE = "IMG2IMG_OPENMODELDB_URL"
"""The environment variable that names another site with the same list."""
LAYOUTS = {
    "compact": "compact",
    "edsr": "edsr",
    "esrgan": "esrgan",
    "realplksr": "plksr",
    "realplksr-dysample": "plksr",
    "span": "span",
    "sr-res-net": "msrresnet",
}
"""The families that img2img opens, by OpenModelDB's names, with ours."""
COMMUNITY = frozenset(
    [
        "atd",
        "craft",
        "dat",
        "dctlsa",
        "ditn",
        "drct",
        "esrgan+",
        "grl",
        "hat",
        "mosr",
        "omnisr",
        "rcan",
        "real-cugan",
        "rgt",
        "swift-srgan",
        "swinir",
    ]
)
"""Those that open with the extra "community"."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_LARGEST = 64 * 2**20  # bytes of the whole list, which has 1.3 MiB
_UNUSED = ("images", "thumbnail")

Opens = Literal["yes", "community", "no"]


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value or []


def _text(value: Any) -> Any:
    return "" if value is None else value


ListedTexts = Annotated[tuple[str, ...], BeforeValidator(_several)]
ListedText = Annotated[str, BeforeValidator(_text)]


class ModelResource(BaseModel):
    """One file of a model, in one format."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = Field(description="Its format and extension: safetensors, pth or onnx.")
    size: int | None = Field(None, ge=0, description="Bytes.")
    sha256: str | None = Field(None, description="Checksum, hexadecimal; None where nobody has stated one.")
    urls: ListedTexts = Field((), description="Where it is, in the list's order; some are pages, not files.")


class ModelEntry(BaseModel):
    """One model of the list."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: str
    author: ListedTexts = ()
    license: str | None = Field(None, description="An SPDX expression.")
    tags: ListedTexts = ()
    description: ListedText = ""
    date: ListedText = ""
    architecture: str
    scale: int = Field(ge=1)
    dataset: ListedText = Field("", description="What it was trained on, in its author's words.")
    resources: tuple[ModelResource, ...] = ()

    @property
    def page(self) -> str:
        """The page about it, for people."""
        return f"{SITE}/models/{self.id}"

    def opens(self, types: Iterable[str]) -> Opens:
        """Returns whether it opens here: "yes", "no", or with the extra "community" that is not installed.

        It goes by the name of its family, of which only ONNX is independent; what the file really holds shows
        when it is opened.

        Args:
            types: Extensions of files that are opened, with their dots.
        """
        fitting = {kind for each in self.resources if (kind := f".{each.type.lower()}") in types}
        if not fitting:
            return "no"
        if self.architecture in LAYOUTS or fitting == {".onnx"}:
            return "yes"
        if self.architecture in COMMUNITY:
            return "yes" if find_spec("spandrel") else "community"
        return "no"


@dataclass(frozen=True)
class Catalogue:
    """The list as it was at one time.

    Attributes:
        entries: The models by id.
        url: Where it came from.
        fetched: When the site last confirmed it, in seconds since 1970.
        left_out: How many entries could not be understood.
        note: A sentence where it is an older copy: why, and how old it is; else empty.
    """

    entries: dict[str, ModelEntry]
    url: str
    fetched: float
    left_out: int = 0
    note: str = ""

    def search(self, words: Iterable[str]) -> list[ModelEntry]:
        """Returns the models that have every word in id, name, tags, architecture or description.

        Case does not matter. Those with the words in their names come first.
        """
        wanted = [word.casefold() for word in words]
        found = []
        for entry in self.entries.values():
            names = f"{entry.id}\n{entry.name}".casefold()
            rest = "\n".join((*entry.tags, entry.architecture, entry.description)).casefold()
            if all(word in names or word in rest for word in wanted):
                exact = any(word in (entry.id.casefold(), entry.name.casefold()) for word in wanted)
                hits = sum(word in names for word in wanted)
                found.append((not exact, -hits, entry.id.casefold(), entry))
        return [entry for *_, entry in sorted(found, key=lambda each: each[:3])]

    def __getitem__(self, name: str) -> ModelEntry:
        """Returns the model with the id `name`, in whatever case.

        Raises:
            ConfigError: There is none; the message offers the nearest one.
        """
        for key, entry in self.entries.items():
            if key.casefold() == name.casefold():
                return entry
        near = [entry.id for entry in self.search([name])][:5] if name.strip() else []
        if near:
            raise ConfigError(
                f"there is no model {display_path(name)[:80]!r} on OpenModelDB; "
                f"like it are {', '.join(near)}."
            )
        raise ConfigError(_first(unknown("model", display_path(name), self.entries)))


def _first(sentence: str) -> str:
    """Cuts the names of hundreds of models off a sentence."""
    head, known, _ = sentence.partition("; known are: ")
    return f"{head} on OpenModelDB; search by words shows what there is." if known else sentence


def read_catalogue(url: str | None = None, offline: bool = False, cache: Path | None = None) -> Catalogue:
    """Returns OpenModelDB's list: the current one, or where that cannot be had the last one that came.

    The site is asked each time whether its list has changed; only then is it transferred.

    Args:
        url: The site, or the list itself where it ends in .json; None takes the environment variable
            IMG2IMG_OPENMODELDB_URL or the real one.
        offline: Ask nobody.
        cache: The folder that keeps it; None takes the user's.

    Raises:
        ConfigError: The address is malformed.
        DownloadError: It cannot be had, and there is no copy.
    """
    address = list_url(url or os.environ.get(PLACE) or SITE)
    place = (user_cache() if cache is None else cache) / "openmodeldb.json"
    kept, record = _kept(place)
    if offline:
        if kept is None:
            raise DownloadError(
                f"there is no copy of OpenModelDB's list in {display_path(place)}; search once with the "
                "network."
            )
        return replace(kept, note=f"This is the list of {age(kept.fetched)}.")
    same = record if kept is not None and record.get("url") == address else {}
    try:
        answer = read_url(address, _LARGEST, str(same.get("etag", "")), str(same.get("date", "")))
        if answer is None:  # said of the copy alone
            models, etag, date = record["models"], record["etag"], record["date"]
        else:
            models, etag, date = _models(answer.body, address), answer.etag, answer.date
        found = _catalogue(models, address, time.time())
    except DownloadError as error:
        if kept is None:
            raise DownloadError(
                f"OpenModelDB's list cannot be had: {error} There is no copy of it on this machine either; "
                "check the connection and try again."
            ) from error
        return replace(
            kept, note=f"OpenModelDB's list cannot be had: {error} This is that of {age(kept.fetched)}."
        )
    _keep(place, {"url": address, "etag": etag, "date": date, "fetched": found.fetched, "models": models})
    return found


def list_url(url: str) -> str:
    """Returns the address of the list on a site."""
    url = url.rstrip("/")
    if url.endswith(".json"):
        return url
    return f"{url}/models.json" if url.endswith("/api/v1") else f"{url}/api/v1/models.json"


def age(then: float, now: float | None = None) -> str:
    """Returns how long ago a time was, with its date: "3 hours ago (2026-11-29 01:02)"."""
    seconds = max(0.0, (time.time() if now is None else now) - then)
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = int(seconds // size)
            words = f"{number} {unit}{'s' if number > 1 else ''} ago"
            break
    else:
        words = "less than a minute ago"
    return f"{words} ({time.strftime('%Y-%m-%d %H:%M', time.localtime(then))})"


def _models(body: bytes, url: str) -> dict[str, Any]:
    """Returns the models of an answer without what is not used.

    Raises:
        DownloadError: It is no such list.
    """
    try:
        models = json.loads(body)
    except (ValueError, RecursionError):
        models = None
    if not isinstance(models, dict) or not models:
        start = " ".join(body[:40].decode("utf-8", "replace").split())
        raise DownloadError(
            f"{display_path(url)} sends no list of models; it begins with {display_path(start)!r}."
        )
    return {
        key: {name: value for name, value in entry.items() if name not in _UNUSED}
        for key, entry in models.items()
        if isinstance(entry, dict)
    }


def _catalogue(models: dict[str, Any], url: str, fetched: float) -> Catalogue:
    """Makes entries of plain values; one that is wrong is left out, and all of them wrong is no list.

    Raises:
        DownloadError: Nothing of it is a model.
    """
    entries = {}
    for key, facts in models.items():
        if _ID.fullmatch(key) and not key.endswith("."):  # it becomes the name of a file
            try:
                entries[key] = ModelEntry.model_validate({**facts, "id": key})
            except (ValidationError, TypeError):
                continue
    if not entries:
        raise DownloadError(f"{display_path(url)} sends a list that holds no model.")
    return Catalogue(entries, url, fetched, len(models) - len(entries))


def _kept(place: Path) -> tuple[Catalogue | None, dict[str, Any]]:
    """Returns the copy on the disk, and all that stands in it; None for one that is not there or damaged."""
    try:
        record = json.loads(read_regular(place, _LARGEST))
        found = _catalogue(record["models"], str(record["url"]), float(record["fetched"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, DownloadError):
        return None, {}
    return found, {"etag": "", "date": "", **record}


def _keep(place: Path, record: dict[str, Any]) -> None:
    """Writes the copy; where nothing can be written there is none."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(json.dumps(record).encode(), place)
    except OSError:
        return
