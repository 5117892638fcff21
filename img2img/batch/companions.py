"""What a picture is processed with beside itself: a mask, a map, numbers; found by the picture's name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from img2img.errors import PlanError, UsageError, display_path
from img2img.image import READABLE, Passed, discover
from img2img.registry import unknown

Companion = Path | tuple[float, ...]
"""A file with a picture, or numbers."""
Place = str | os.PathLike[str] | Sequence[float]
"""Where companions are: a folder, one file for all, or the same numbers for all."""
_SHOWN = 3


class Companions:
    """The companions of all files, by the names that a processor has for them.

    Those in a folder are found by the place of the picture in its own tree: the same folders and the same
    name, whatever the extension (`birds/1.jpg` has `birds/1.png`). Names are compared in their Unicode normal
    form, since file systems differ in it.

    Args:
        places: Where the companions of each name are.
        follow_symlinks: Look into folders that symbolic links lead to.
        hidden: Take files and folders whose names begin with a dot.

    Attributes:
        folders: Those among the places.
        files: The single files among them.

    Raises:
        PlanError: A place does not exist, cannot be listed, or holds no pictures.
    """

    def __init__(
        self, places: Mapping[str, Place], follow_symlinks: bool = False, hidden: bool = False
    ) -> None:
        self.folders: list[Path] = []
        self.files: list[Path] = []
        self._for_all: dict[str, Companion] = {}
        self._by_name: dict[str, tuple[Path, dict[str, list[Path]]]] = {}
        for name, place in places.items():
            if not isinstance(place, str | os.PathLike):
                self._for_all[name] = tuple(map(float, place))
                continue
            path = Path(place)
            if path.is_dir():
                self.folders.append(path)
                self._by_name[name] = path, _listed(name, path, follow_symlinks, hidden)
            elif path.is_file():
                self.files.append(path)
                self._for_all[name] = path
            else:
                found = "is neither a file nor a folder" if os.path.lexists(path) else "does not exist"
                raise PlanError(f"{display_path(path)}, which is to hold the {name}, {found}.")

    def of(self, relative: str) -> dict[str, Companion]:
        """Returns the companions of one file.

        Args:
            relative: Its place in the tree of the inputs, written with "/".

        Raises:
            PlanError: One is missing, or there are two candidates; the message is no sentence by itself.
        """
        found = dict(self._for_all)
        for name, (folder, files) in self._by_name.items():
            stem = os.path.splitext(relative)[0]  # noqa: PTH122  a Path for each of 100,000 names is slow
            # results for a.gif are called a.gif.png, and may be what others are processed with
            candidates = files.get(_key(stem)) or files.get(_key(relative), [])
            if not candidates:
                raise PlanError(
                    f"there is no {name} for it: {display_path(folder / stem)}.png, or with another extension"
                )
            if len(candidates) > 1:
                both = " and ".join(map(display_path, candidates[:_SHOWN]))
                raise PlanError(f"it has {len(candidates)} files as {name}, and can have one: {both}")
            found[name] = candidates[0]
        return found


def require_conditions(process: object, names: Iterable[str]) -> None:
    """Checks that `process` gets what it needs, and nothing that it does not know.

    Args:
        process: With an attribute `conditions`, the names of what it needs, unless it needs nothing.
        names: What there is.

    Raises:
        UsageError: Something is missing or unknown.
    """
    needed, given = list(getattr(process, "conditions", ())), list(names)
    for name in given:
        if not needed:
            raise UsageError(f"there is nothing here that takes a {name}: it works on the picture alone.")
        if name not in needed:
            raise UsageError(f"{unknown('condition', name, needed)} The model takes {' and '.join(needed)}.")
    missing = [name for name in needed if name not in given]
    if missing:
        how = " ".join(f"`companions` {name}=DIR" for name in missing)
        raise UsageError(f"it needs {' and '.join(missing)} for each picture; give {how}.")


def _listed(name: str, folder: Path, follow_symlinks: bool, hidden: bool) -> dict[str, list[Path]]:
    """Returns the files of `folder` by their key.

    Raises:
        PlanError: It cannot be listed, or holds none.
    """
    files: dict[str, list[Path]] = {}
    passed = Passed()
    for found in discover(folder, True, follow_symlinks, hidden, passed):
        if found.problem is not None and not found.link:
            raise PlanError(f"{display_path(found.path)}, which may hold the {name}: {found.problem}.")
        if found.path.suffix.lower() in READABLE:
            stem = found.path.relative_to(folder).with_suffix("").as_posix()
            files.setdefault(_key(stem), []).append(found.path)
    if not files:
        raise PlanError(f"{display_path(folder)} is to hold the {name}. {passed.reasons()}")
    return files


def _key(relative: str) -> str:
    return unicodedata.normalize("NFC", relative)
