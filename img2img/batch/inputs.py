"""What the inputs hold: every file that the patterns take, with its place in the tree of outputs."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from img2img.errors import PlanError, display_path
from img2img.image import Passed, discover
from img2img.image.discovery import collision_key
from img2img.remote import RemotePath

_SHOWN = 20
_SPECIAL = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]")
_TRANSLATED = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class InputFile(NamedTuple):
    """A file among the inputs, or something that could not be looked into.

    Attributes:
        path: As a program can open it.
        relative: Its place under the output, before renaming, written with "/".
        problem: Why it cannot be looked into, or None.
        link: Whether it may be a symbolic link.
    """

    path: Path
    relative: str
    problem: str | None
    link: bool = True


def existing(inputs: list[Path]) -> list[Path]:
    """Returns `inputs` without repetitions.

    Raises:
        PlanError: There is none, or one does not exist.
    """
    if not inputs:
        raise PlanError("no input was given; name at least one file or folder.")
    missing = [display_path(path) for path in inputs if not _exists(path)]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise PlanError(f"there is no such file or folder: {shown}.")
    return list({path.absolute(): path for path in inputs}.values())


def _exists(path: Path) -> bool:
    """Returns whether `path` exists.

    Raises:
        PlanError: A store cannot be asked.
    """
    if not isinstance(path, RemotePath):
        return os.path.exists(path)  # noqa: PTH110  never raises
    try:
        return path.exists()
    except OSError as error:
        raise PlanError(f"{display_path(path)} cannot be reached: {error.strerror or error}.") from error


def sources(
    inputs: list[Path],
    takes: Callable[[str, bool], bool],
    recursive: bool,
    follow_symlinks: bool,
    hidden: bool,
    passed: Passed,
    more: Collection[str] = (),
) -> Iterator[InputFile | None]:
    """Yields the files that `inputs` name or hold, and None for each that `takes` refuses.

    `passed` receives what discovery passes over; `more` are extensions that are taken beside those of images.

    Raises:
        PlanError: Several input folders have one name.
    """
    folders = [path for path in inputs if path.is_dir()]
    keep_names = len(folders) > 1
    if keep_names:
        _check_folder_names(folders)
    for path in inputs:
        if path in folders:
            prefix = _folder_name(path) + "/" if keep_names else ""
            passed.unwanted = lambda found, folder=path: not takes(_relative(found, folder), True)
            for source in _walk(path, recursive, follow_symlinks, hidden, passed, more):
                is_folder = source.problem is not None and not source.link
                took = takes(source.relative, is_folder)
                yield source._replace(relative=prefix + source.relative) if took else None
        else:
            yield InputFile(path, path.name, file_problem(path)) if takes(path.name, False) else None


def file_problem(path: Path) -> str | None:
    """Returns why a path that was named singly cannot be an input, or None when it can."""
    return None if path.is_file() else "it is neither a file nor a folder, but a pipe, socket or device"


def taker(include: tuple[str, ...], exclude: tuple[str, ...]) -> Callable[[str, bool], bool]:
    """Returns a function of (relative path, whether it is a folder): whether the patterns take it."""
    included, excluded = matcher(include), matcher(exclude)
    folders = {"": False}  # which folders are excluded: asked once each

    def excludes_folder(folder: str) -> bool:
        if folder not in folders:
            itself = excluded is not None and excluded(folder)
            folders[folder] = itself or excludes_folder(folder.rpartition("/")[0])
        return folders[folder]

    def takes(relative: str, is_folder: bool) -> bool:
        if excluded is not None and (excluded(relative) or excludes_folder(relative.rpartition("/")[0])):
            return False
        return is_folder or included is None or included(relative)

    return takes


def _walk(
    folder: Path, recursive: bool, follow_symlinks: bool, hidden: bool, passed: Passed, more: Collection[str]
) -> Iterator[InputFile]:
    for found in discover(folder, recursive, follow_symlinks, hidden, passed, more):
        yield InputFile(found.path, _relative(os.fspath(found.path), folder), found.problem, found.link)


def _relative(found: str, folder: Path) -> str:
    """Returns the place of what `discover` found in `folder`, written with "/"."""
    start = os.fspath(folder)
    if start == os.curdir:
        found = found.removeprefix(os.curdir + os.sep)
    else:
        found = found[len(start) + (not start.endswith(os.sep)) :]
    return found.replace(os.sep, "/")


def _folder_name(folder: Path) -> str:
    """Returns the name of `folder`, which may have been given as "." or ".."."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name or "root"


def _check_folder_names(folders: list[Path]) -> None:
    by_name = defaultdict(list)
    for folder in folders:
        by_name[collision_key(_folder_name(folder))].append(folder)
    clashes = [group for group in by_name.values() if len(group) > 1]
    if clashes:
        lines = "\n".join(f"  {' and '.join(map(display_path, group))}" for group in clashes)
        raise PlanError(
            "several input folders keep their own names under the output, and these have the same one:\n"
            f"{lines}\nConvert them one by one into different output folders, or rename one."
        )


def matcher(patterns: Iterable[str]) -> Callable[[str], bool] | None:
    """Returns a function that tells whether a path matches one of `patterns`; None if there is none.

    A pattern is compared with the relative path (written with "/") and with the bare name, whatever the
    letter case: `*.jpg` takes every JPEG of the tree, `holiday/*` the files directly in `holiday`,
    `holiday/**` everything below it. `*` and `?` stop at "/", `**` does not, `[a-c]` and `[!a-c]` are one
    character of a set. A trailing "/" stands for everything below: `holiday/` is `holiday/**`.
    """
    regexes = [_translate(pattern) for pattern in patterns]
    if not regexes:
        return None
    match = re.compile("|".join(regexes), re.IGNORECASE | re.DOTALL).fullmatch

    def matches(relative: str) -> bool:
        return match(relative) is not None or match(relative.rpartition("/")[2]) is not None

    return matches


def _translate(pattern: str) -> str:
    pattern = pattern.removeprefix("./")
    if pattern.endswith("/"):
        pattern += "**"
    pieces, end = [], 0
    for token in _SPECIAL.finditer(pattern):
        text = token.group()
        pieces += [re.escape(pattern[end : token.start()]), _TRANSLATED.get(text) or _character_set(text)]
        end = token.end()
    return "".join(pieces) + re.escape(pattern[end:])


def _character_set(token: str) -> str:
    members = token[1:-1]
    negated = members.startswith("!")
    members = members.removeprefix("!")
    pieces, at = [], 0
    while at < len(members):
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            low, high = members[at], members[at + 2]
            pieces.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
            at += 3
        else:
            pieces.append(re.escape(members[at]))
            at += 1
    inside = "".join(pieces)
    if not inside:  # only ranges that run backwards: nothing is in them
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{inside}]"
