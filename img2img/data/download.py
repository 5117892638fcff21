"""Public data sets by name: recipes, archives, and folders that are complete or absent.

A recipe (`NAME.yaml` in `img2img.recipes`) says where a set comes from, what it is, and on which terms.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from img2img.config import load_yaml, validate
from img2img.data.archive import inner_parts, unpack
from img2img.errors import ConfigError, DownloadError, UsageError, display_path
from img2img.fetch import fetch, require_address
from img2img.files import open_regular, read_regular, write_bytes
from img2img.registry import unknown

MARK = ".img2img-recipe.json"  # in the finished folder: which archives it was made of
_STAGE = ".img2img-unpacking-"
_LARGEST_LOCK = 2**16  # bytes
_SPARE = 64 * 2**20  # bytes that stay free on the disk


def _inner(name: str) -> str:
    """Refuses what is not the name of a folder inside of the archive or the data set."""
    if inner_parts(name) is None or "\\" in name or not (name == "" or name.isprintable()):
        raise ValueError(
            f"{name!r} leads out of its folder; give a relative name without '..', such as train"
        )
    return name


def _text(text: str) -> str:
    if not "".join(text.split()).isprintable():
        raise ValueError("holds control characters")
    return text


Inner = Annotated[str, AfterValidator(_inner)]
Text = Annotated[str, AfterValidator(_text)]


class Archive(BaseModel):
    """One file to download."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: tuple[Text, ...] = Field(
        description="Where it is, the best place first; empty when nobody offers it."
    )
    root: Inner = Field(description="The folder inside the archive that holds the pictures.")
    into: Inner = Field(
        "", description="The folder of the data set that it becomes; empty for the set itself."
    )
    size: int | None = Field(None, ge=1, description="Exact size in bytes.")
    about: str | None = Field(
        None,
        pattern=r"^[0-9]{1,6}(\.[0-9]+)?[KMGT]$",
        description="Rough size where the exact one is not known: 2.0G.",
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Checksum, where it is truly known."
    )
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="The same of a lesser kind.")

    @model_validator(mode="after")
    def _has_a_name(self) -> Archive:
        for url in self.urls:
            require_address(url)
        if len(inner_parts(self.name) or ()) != 1 or self.name[0] == "." or not self.name.isprintable():
            raise ValueError("the address must end in the name of a file, such as https://host/set.zip")
        return self

    @property
    def name(self) -> str:
        """The file name."""
        if not self.urls:
            return f"{PurePosixPath(self.root).name or 'archive'}.tar.gz"
        return unquote(urlsplit(self.urls[0]).path.rpartition("/")[2])

    @property
    def bytes(self) -> int | None:
        """The size, roughly where it is known roughly, in bytes."""
        if self.size is not None or self.about is None:
            return self.size
        return int(float(self.about[:-1]) * 1024 ** " KMGT".index(self.about[-1]))


class DatasetRecipe(BaseModel):
    """A public data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Text = Field(description="What it shows.")
    kind: Literal["aligned", "unpaired", "images"] = Field(description="The option that trains on it.")
    direction: Literal["AtoB", "BtoA"] = Field("AtoB", description="The direction that papers train.")
    layout: Text = Field(description="Sizes, counts and folders, for people.")
    folders: tuple[Inner, ...] = Field((), description="Folders that must be there in the end.")
    homepage: Text = Field(description="Where its authors describe it.")
    licence: Text = Field(description="The terms, as far as they are stated.")
    citation: Text = Field(description="BibTeX.")
    by_hand: Text | None = Field(None, description="How to get it when it cannot be downloaded.")
    archives: tuple[Archive, ...] = Field(description="The files to download, one at least.")

    @model_validator(mode="after")
    def _can_be_had(self) -> DatasetRecipe:
        if not self.archives:
            raise ValueError("names no archives")
        if self.by_hand is None and not all(archive.urls for archive in self.archives):
            raise ValueError("an archive without urls needs by_hand")
        goals = [inner_parts(archive.into) or () for archive in self.archives]
        for i, goal in enumerate(goals):
            if any(other[: len(goal)] == goal for other in goals[:i] + goals[i + 1 :]):
                raise ValueError(
                    "two archives become one folder, or one lies in the other; give each its own `into`"
                )
        names = [archive.name.casefold() for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError("two archives have one file name")
        return self

    @property
    def bytes(self) -> int | None:
        """The size of all archives together, or None where one is not known."""
        sizes = [archive.bytes for archive in self.archives]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True)
class Downloaded:
    """What `download` did.

    Attributes:
        folder: The data set.
        files: How many files it holds; 0 when it was there already.
        left_out: Links and special files of the archives, which were not made.
        unchecked: Archives for which no checksum is known; what they were is on record from now on.
    """

    folder: Path
    files: int
    left_out: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()


def recipes() -> list[str]:
    """Returns the names of the data sets that can be downloaded."""
    names = (entry.name for entry in files("img2img.recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def open_recipe(name: str) -> DatasetRecipe:
    """Returns the recipe of that name, or the one in a file NAME.yaml.

    Raises:
        ConfigError: There is none, or it has mistakes.
    """
    if name.endswith((".yaml", ".yml")):
        return _read(Path(name))
    if name not in recipes():
        raise ConfigError(f"{unknown('data set', display_path(name), recipes())} `list_all` shows them.")
    with as_file(files("img2img.recipes").joinpath(f"{name}.yaml")) as path:
        return _read(path)


def _read(path: Path) -> DatasetRecipe:
    recipe, problems = validate(DatasetRecipe, load_yaml(path), "the recipe")
    if recipe is None:
        raise ConfigError("\n".join(f"{display_path(path)}: {problem}" for problem in problems))
    return recipe


def download(
    recipe: DatasetRecipe,
    folder: Path,
    *,
    archives: tuple[Path, ...] = (),
    keep: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Downloaded:
    """Makes the data set `folder`: downloads, checks, unpacks beside it, and puts it there in one step.

    What a broken connection left is continued by the next call. What came is on record in `ARCHIVE.lock` by
    an archive whose checksum nobody has published, and every later download must be the same file.

    Args:
        recipe: What to get.
        folder: The data set's folder, which must not exist or be empty.
        archives: Archives that are on this disk already, in the recipe's order; nothing is downloaded then.
        keep: Leave the downloaded archives beside the folder.
        progress: Called with the bytes of an archive that are here, and all of them where that is known.
        say: Called with a sentence when a long step begins.

    Returns:
        What was done; nothing when the folder holds the data set already.

    Raises:
        UsageError: The folder holds something else, the disk is too small, or it can only be had by hand.
        DownloadError: No mirror gave the right file, or an archive is not what the recipe says.
    """
    require(recipe, folder, archives)
    if (folder / MARK).is_file():
        return Downloaded(folder, 0)
    place = folder.parent
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    _check_space(recipe, place, with_archives=not archives)
    paths, sums, unchecked, fetched = [], [], [], []
    for i, archive in enumerate(recipe.archives):
        path = archives[i] if archives else place / archive.name
        expected = archive.sha256 or _recorded(_lock(path))
        if not archives:
            if os.path.lexists(path):
                say(f"{display_path(path)} was here before; it is used, and stays.")
            else:
                fetched.append(path)
            fetch(archive.urls, path, expected, archive.size, progress)
        say(f"Checking {display_path(path)} ...")
        sums.append(_check(path, archive, expected))
        if expected is None and archive.md5 is None:
            unchecked.append(path.name)
        paths.append(path)
    say(f"Unpacking {' and '.join(display_path(path) for path in paths)} ...")
    count, left_out = _make(recipe, folder, paths, sums)
    for archive, path, sha256 in zip(recipe.archives, paths, sums, strict=True):
        if archive.sha256 is None and not archives:
            record = {"sha256": sha256, "size": path.stat().st_size}
            write_bytes(json.dumps(record).encode() + b"\n", _lock(path))
    if not keep:
        for path in fetched:
            path.unlink()
    return Downloaded(folder, count, left_out, tuple(unchecked))


def require(recipe: DatasetRecipe, folder: Path, archives: tuple[Path, ...] = ()) -> None:
    """Refuses a download that cannot end well before anybody is asked about it.

    Raises:
        UsageError: See `download`.
    """
    if (folder / MARK).is_file():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{display_path(folder)} is there already and is not this data set; name another folder."
        )
    if archives and len(archives) != len(recipe.archives):
        raise UsageError(f"this data set is {len(recipe.archives)} archives; {len(archives)} are given.")
    if not archives and not all(archive.urls for archive in recipe.archives):
        raise UsageError(f"this data set cannot be downloaded. {recipe.by_hand}")


def _check(path: Path, archive: Archive, expected: str | None) -> str:
    """Returns the SHA-256 of the archive in `path`.

    Raises:
        DownloadError: It is another file than `archive`.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    try:
        with open_regular(path) as file:
            while block := file.read(1 << 20):
                sha256.update(block)
                if archive.md5:
                    md5.update(block)
    except OSError as error:
        raise DownloadError(f"{display_path(path)} cannot be read: {error.strerror or error}.") from error
    found = [("sha256", sha256.hexdigest(), expected), ("md5", md5.hexdigest(), archive.md5)]
    for kind, value, wanted in found:
        if wanted is not None and value != wanted:
            raise DownloadError(
                f"{display_path(path)} is another file than expected: its {kind} is {value}, and should be "
                f"{wanted}. Move it away and try again."
            )
    return found[0][1]


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _recorded(lock: Path) -> str | None:
    """Returns the checksum of what was downloaded the first time, or None if this is the first time.

    Raises:
        DownloadError: The record cannot be understood.
    """
    try:
        return str(json.loads(read_regular(lock, _LARGEST_LOCK))["sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DownloadError(
            f"{display_path(lock)} should say which archive came the first time, and cannot be read "
            f"({error}). Remove it to accept whatever comes."
        ) from error


def _make(
    recipe: DatasetRecipe, folder: Path, paths: list[Path], sums: list[str]
) -> tuple[int, tuple[str, ...]]:
    """Unpacks the archives beside `folder` and gives it the result; returns files and what was left out."""
    stage = folder.parent / f"{_STAGE}{os.getpid()}"
    ready = stage / "ready"
    count = 0
    left_out: tuple[str, ...] = ()
    try:
        stage.mkdir()
        made = _identity(stage)
    except OSError as error:
        raise DownloadError(f"{display_path(stage)} cannot be made: {error.strerror or error}.") from error
    try:
        for i, (archive, path) in enumerate(zip(recipe.archives, paths, strict=True)):
            raw = stage / str(i)
            raw.mkdir()
            unpacked = unpack(path, raw)
            count, left_out = count + unpacked.files, (*left_out, *unpacked.left_out)
            root = raw / archive.root
            if not root.is_dir():
                found = ", ".join(sorted(entry.name for entry in raw.iterdir())[:5]) or "nothing"
                raise DownloadError(
                    f"{display_path(path)} should hold the folder {archive.root}, and holds "
                    f"{display_path(found)}."
                )
            goal = ready / archive.into
            goal.parent.mkdir(parents=True, exist_ok=True)
            root.rename(goal)
        missing = [name for name in recipe.folders if not (ready / name).is_dir()]
        if missing:
            raise DownloadError(
                f"the data set should hold the folders {', '.join(recipe.folders)}; {', '.join(missing)} did "
                "not come out of its archives. The recipe and the archive do not fit together."
            )
        (ready / MARK).write_text(json.dumps({"title": recipe.title, "sha256": sums}) + "\n", "utf-8")
        if folder.is_dir():
            folder.rmdir()  # empty, or this fails
        ready.rename(folder)
    except OSError as error:
        raise DownloadError(
            f"{display_path(folder)} could not be made: {error.strerror or error}"
            f"{f' ({display_path(error.filename)})' if isinstance(error.filename, str) else ''}."
        ) from error
    finally:
        if _identity(stage) == made:
            shutil.rmtree(stage, ignore_errors=True)
    return count, left_out


def _identity(folder: Path) -> tuple[int, int] | None:
    """Returns what tells a folder from every other one, or None if there is no folder of this name."""
    try:
        status = folder.lstat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _check_space(recipe: DatasetRecipe, place: Path, with_archives: bool) -> None:
    """Compares the disk with what archives and pictures need, which hardly differ in size.

    Raises:
        UsageError: It is too small.
    """
    size = recipe.bytes
    if size is None:
        return
    here = sum(_size(place / a.name) + _size(place / f"{a.name}.part") for a in recipe.archives)
    needed = size + _SPARE + (max(0, size - here) if with_archives else 0)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UsageError(
            f"{display_path(place)} has {free / 2**30:.1f} GiB free; downloading and unpacking take about "
            f"{needed / 2**30:.1f} GiB. Choose another disk."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sweep(place: Path) -> None:
    """Removes what processes left that were killed while they unpacked."""
    import psutil

    for stage in place.glob(f"{_STAGE}*"):
        number = stage.name.removeprefix(_STAGE)
        ours = number.isdecimal() and len(number) < 10 and _identity(stage) is not None
        if ours and not psutil.pid_exists(int(number)):
            shutil.rmtree(stage, ignore_errors=True)
