"""The image files in a folder: one rule for converting, training and measuring (see docs/pictures.md)."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from img2img.errors import ImageFormatError, display_path
from img2img.files import is_part
from img2img.image.formats import READABLE, recognise
from img2img.image.kinds import NOT_READ, RAW
from img2img.remote import RemotePath, is_plain_part

CANDIDATES = READABLE | frozenset(NOT_READ)

_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r"))
# What systems, shops of pictures and version control keep for themselves: deleted files, thumbnails, old
# versions, caches. Nobody means these when naming the folder around them.
_SYSTEM_FOLDERS = frozenset(
    (
        "$recycle.bin", "recycler", "recycled", "#recycle", "@recycle", "#snapshot", "@recently-snapshot",
        "network trash folder", "temporary items", "__macosx", "system volume information", "lost+found",
        "@eadir", "@__thumb", ".@__thumb", ".thumb", ".thumbs", ".thumbnails", ".cache", ".dropbox.cache",
        "__pycache__", ".ipynb_checkpoints", ".git", ".svn", ".hg", ".bzr", "cvs", ".dvc", ".stversions",
        ".stfolder", ".sync", ".snapshot", ".snapshots", ".zfs", ".appledouble", ".appledb", ".appledesktop",
        ".fseventsd", ".spotlight-v100", ".documentrevisions-v100", ".temporaryitems",
    )
)  # fmt: skip
_TEMPORARY = ("~$", "~syncthing~")  # how the names of files begin that a program has not finished
_DIGITS = re.compile("([0-9]+)")
_NAMED = 3  # files in one message
_WORDS = {
    "hidden": ("hidden file or folder", "hidden files and folders"),
    "link": ("link to a folder", "links to folders"),
    "folder": ("folder", "folders"),
    "system": (
        "folder of deleted files, thumbnails or versions",
        "folders of deleted files, thumbnails, versions",
    ),
    "special": ("pipe, socket or device", "pipes, sockets or devices"),
}

Entries = dict[Path, dict[str, list[str]]]
"""The names in folders, by what they are compared by."""


@dataclass(frozen=True)
class Found:
    """One finding of `discover`.

    Attributes:
        path: A file that may be an image, or what could not be looked into.
        problem: Why it could not: a folder that cannot be listed, a link that leads nowhere; None for a file.
        link: Whether it is a symbolic link.
    """

    path: Path
    problem: str | None = None
    link: bool = False


@dataclass
class Passed:
    """What `discover` passed over, counted.

    Attributes:
        first: The first paths of each kind.
        count: How many of each kind: "hidden", "link" (to a folder), "system", "special" (pipes, devices) and
            "folder" (when not recursive).
        others: How many files have which other extension.
        unwanted: Says of a path whether the user has excluded it: that is not counted.
    """

    first: dict[str, list[str]] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    unwanted: Callable[[str], bool] | None = None

    def add(self, kind: str, path: str) -> None:
        """Counts one."""
        if self.unwanted is not None and self.unwanted(path):
            return
        self.count[kind] += 1
        some = self.first.setdefault(kind, [])
        if len(some) < _NAMED:
            some.append(path)

    def notes(self, hidden: str = "`hidden`", links: str = "`follow_symlinks`") -> list[str]:
        """Returns sentences about what may have been meant.

        Args:
            hidden: What takes hidden files, for the reader.
            links: What follows links to folders.
        """
        return [
            self._sentence(kind, option)
            for kind, option in (("hidden", hidden), ("link", links))
            if kind in self.count
        ]

    def reasons(self, hidden: str = "`hidden`", links: str = "`follow_symlinks`") -> str:
        """Returns sentences that say why there is nothing, for where nothing was found."""
        sentences = []
        if self.others:
            kinds = ", ".join(f"{count} {extension}" for extension, count in self.others.most_common(5))
            total = self.others.total()
            files = "The file there has" if total == 1 else f"The {total} files there have"
            sentences.append(f"{files} no extension of a picture: {display_path(kinds)}.")
        sentences += self.notes(hidden, links)
        if "folder" in self.count:
            sentences.append(self._sentence("folder", "`recursive`"))
        sentences += [self._sentence(kind) for kind in ("system", "special") if kind in self.count]
        return " ".join(sentences) or "It is empty."

    def _sentence(self, kind: str, option: str = "") -> str:
        count, first = self.count[kind], self.first[kind]
        names = ", ".join(map(display_path, first)) + (", ..." if count > len(first) else "")
        them = "it" if count == 1 else "them"
        remedy = f"; {option} takes {them}" if option else ""
        return f"Passed over: {count} {_WORDS[kind][count != 1]} ({names}){remedy}."


@dataclass
class Listing:
    """The image files of one folder.

    Attributes:
        files: Those that may be read, in natural order. One that turns out to be broken is among them, and so
            is a link that leads nowhere: opening it tells.
        not_read: Those of a kind that is known and not read, by the name of the kind.
        problems: Folders that could not be listed.
        passed: What was passed over.
    """

    files: list[Path] = field(default_factory=list)
    not_read: dict[str, list[Path]] = field(default_factory=dict)
    problems: list[Found] = field(default_factory=list)
    passed: Passed = field(default_factory=Passed)


def list_images(folder: Path, follow_symlinks: bool = False, hidden: bool = False) -> Listing:
    """Returns the image files below `folder`; see `discover` for the arguments."""
    listing = Listing()
    for found in discover(folder, True, follow_symlinks, hidden, listing.passed):
        kind = None if found.problem else kind_not_read(found.path)
        if kind is not None:
            listing.not_read.setdefault(kind, []).append(found.path)
        elif found.problem is None or found.link:
            listing.files.append(found.path)
        else:
            listing.problems.append(found)
    return listing


def kind_not_read(path: Path) -> str | None:
    """Returns the name of the kind of file that `path` is if it is known and not read, otherwise None.

    Only files whose name says so are looked into: a JPEG that is called .heic is read.
    """
    extension = path.suffix.lower()
    if extension not in NOT_READ:
        return None
    if extension not in RAW:
        try:
            with path.open("rb") as file:
                recognise(file.read(512))
        except ImageFormatError:
            pass
        except OSError:
            return None  # opening it tells
        else:
            return None
    return NOT_READ[extension]


def sentences_not_read(groups: dict[str, list[Path]]) -> list[str]:
    """Returns one sentence for each kind of file that is not read, with its number and name."""
    sentences = []
    for kind, paths in groups.items():
        files, them = ("1 file is", "it") if len(paths) == 1 else (f"{len(paths)} files are", "them")
        names = ", ".join(display_path(path) for path in paths[:_NAMED])
        more = ", ..." if len(paths) > _NAMED else ""
        sentences.append(
            f"{files} {kind}, which is not read: {names}{more}. Convert {them} to PNG, TIFF or JPEG first."
        )
    return sentences


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character


def collision_key(path: str) -> str:
    """Returns a string that is equal for paths which some file system takes for the same one.

    Letter case and Unicode normal form do not count. Folding goes character by character as file systems do
    it: `ß` and `ss` stay different, because they are different files everywhere.
    """
    if path.isascii():
        return path.lower()
    folded = "".join(map(_folded, unicodedata.normalize("NFD", path)))
    return unicodedata.normalize("NFC", folded)


def as_stored(path: Path, entries: Entries) -> Path:
    """Returns `path` in the letter case and Unicode form that its file has, where only one can be meant."""
    if os.path.exists(path) or path == path.parent:  # noqa: PTH110  whatever may be wrong with it
        return path
    folder = as_stored(path.parent, entries)
    if folder not in entries:
        entries[folder] = defaultdict(list)
        if os.path.isdir(folder):  # noqa: PTH112
            for name in os.listdir(folder):  # noqa: PTH208
                entries[folder][collision_key(name)].append(name)
    names = entries[folder].get(collision_key(path.name), ())
    return folder / names[0] if len(names) == 1 else path


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Returns a sort key that puts "img2" before "img10"; no two names share one."""
    parts = _DIGITS.split(name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def is_system_file(name: str) -> bool:
    """Returns whether `name` belongs to an operating system or to us, and never is a user's picture."""
    return (
        name.casefold() in _SYSTEM_FILES or name.startswith(("._", ".img2img", *_TEMPORARY)) or is_part(name)
    )


def _is_system_folder(name: str) -> bool:
    name = name.casefold()
    return name in _SYSTEM_FOLDERS or name.startswith((".trash", ".img2img")) or name.endswith(".lrdata")


def discover(
    folder: str | os.PathLike[str],
    recursive: bool = True,
    follow_symlinks: bool = False,
    hidden: bool = False,
    passed: Passed | None = None,
    more: Collection[str] = (),
) -> Iterator[Found]:
    """Yields the image files below `folder`, in the natural order of their names, folder by folder.

    A file is a candidate when its extension is that of an image, readable or not, in any letter case; what it
    really is shows when it is opened. A link to a file counts as a file of the name that the link has.

    Args:
        folder: Where to look, whatever its own name. The paths that are yielded start with it.
        recursive: Look into folders below it.
        follow_symlinks: Look into folders that symbolic links lead to. Each is listed once; one that lies
            below `folder` is listed in its own place, so loops end.
        hidden: Take files and folders whose name begins with a dot, too. What systems, file servers and
            version control keep (trash, thumbnails, `.git`) is never taken.
        passed: Receives what was passed over.
        more: Extensions of other files that are taken as well.
    """
    candidates = CANDIDATES.union(more)
    passed = Passed() if passed is None else passed
    if isinstance(folder, RemotePath):
        yield from _discover_remote(folder, recursive, hidden, passed, candidates)
        return
    root = os.path.realpath(folder) if follow_symlinks else ""
    seen: set[tuple[int, int]] = set()
    stack: list[Iterator[os.DirEntry[str]]] = []

    def enter(path: str) -> str | None:
        """Puts the sorted entries of `path` on the stack; returns what went wrong."""
        try:
            if follow_symlinks:
                status = os.stat(path)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in seen:
                    return None
                seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                stack.append(iter(sorted(entries, key=lambda entry: natural_key(entry.name))))
        except OSError as error:
            return f"the folder cannot be listed: {error.strerror or type(error).__name__}"
        return None

    def found_folder(entry: os.DirEntry[str], is_link: bool) -> Found | None:
        if not _takes_folder(entry.name, entry.path, recursive, hidden, passed):
            return None
        if is_link and not follow_symlinks:
            passed.add("link", entry.path)
        elif not is_link or not _has_own_place(os.path.realpath(entry.path), root, hidden):
            problem = enter(entry.path)
            if problem is not None:
                return Found(Path(entry.path), problem)
        return None

    def found_file(entry: os.DirEntry[str], is_link: bool) -> Found | None:
        if not _takes_file(entry.name, entry.path, candidates, hidden, passed):
            return None
        if entry.is_file():
            return Found(Path(entry.path), None, is_link)
        elif is_link and not os.path.exists(entry.path):  # noqa: PTH110
            target = display_path(os.readlink(entry.path))  # noqa: PTH115
            return Found(Path(entry.path), f"it is a symbolic link to {target}, which does not exist", True)
        else:
            passed.add("special", entry.path)
        return None

    problem = enter(os.fspath(folder))
    if problem is not None:
        yield Found(Path(folder), problem)
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        is_link = entry.is_symlink()
        try:
            found = (found_folder if entry.is_dir() else found_file)(entry, is_link)
        except OSError as error:
            reason = f"it cannot be examined: {error.strerror or type(error).__name__}"
            found = Found(Path(entry.path), reason, is_link)
        if found is not None:
            yield found


def _discover_remote(
    folder: RemotePath, recursive: bool, hidden: bool, passed: Passed, candidates: Collection[str]
) -> Iterator[Found]:
    """Yields what `discover` yields, of a store, where one listing tells all that is below a folder."""
    try:
        objects = sorted(folder.below(), key=lambda each: list(map(natural_key, each[0].split("/"))))
    except OSError as error:
        yield Found(folder, f"the folder cannot be listed: {error.strerror or type(error).__name__}")
        return
    known: dict[str, bool] = {"": True}  # folders, and whether they are looked into

    def looks_into(inner: str) -> bool:
        if inner not in known:
            above, _, name = inner.rpartition("/")
            known[inner] = looks_into(above) and _takes_folder(
                name, str(folder / inner), recursive, hidden, passed
            )
        return known[inner]

    for relative, facts in objects:
        inner, _, name = relative.rpartition("/")
        if not looks_into(inner):
            continue
        path = folder / relative.lstrip("/")
        if not _takes_file(name, str(path), candidates, hidden, passed):
            continue
        if str(path) != f"{folder}/{relative}" or not all(map(is_plain_part, relative.split("/"))):
            yield Found(path, f"{display_path(relative)} is no name that a file can have; name it otherwise")
        else:
            path.facts = facts
            yield Found(path)


def _takes_folder(name: str, place: str, recursive: bool, hidden: bool, passed: Passed) -> bool:
    """Returns whether a folder is looked into, and notes it in `passed` where not."""
    if _is_system_folder(name):
        if not name.startswith(".img2img"):
            passed.add("system", place)
    elif name.startswith(".") and not hidden:
        passed.add("hidden", place)
    elif not recursive:
        passed.add("folder", place)
    else:
        return True
    return False


def _takes_file(name: str, place: str, candidates: Collection[str], hidden: bool, passed: Passed) -> bool:
    """Returns whether a file may be a picture by its name, and notes it in `passed` where not."""
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if extension not in candidates:
        if not is_system_file(name):
            passed.others[extension or "without any"] += 1
    elif not is_system_file(name):
        if hidden or not name.startswith("."):
            return True
        passed.add("hidden", place)
    return False


def _has_own_place(real: str, root: str, hidden: bool) -> bool:
    """Returns whether the folder `real` lies below `root` where it is listed without any link."""
    if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
        return False
    below = Path(real).parts[len(Path(root).parts) :]
    return not any(_is_system_folder(name) or (name.startswith(".") and not hidden) for name in below)
