"""Which folders the page may touch: everything that is named on it is held against them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from img2img.batch.outputs import is_inside
from img2img.errors import UsageError, display_path


class Roots:
    """The folders that may be read and written, with all that is in them.

    Args:
        folders: At least one, all of them there.

    Attributes:
        folders: Them, absolute and without links.

    Raises:
        UsageError: One is no folder.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"{display_path(folder)} is no folder; `roots` are folders that exist.")
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))

    def holds(self, path: Path) -> bool:
        """Returns whether `path` leads into one of the folders, with all links on its way followed."""
        real = os.path.realpath(path)
        return any(is_inside(real, str(folder)) for folder in self.folders)

    def inside(self, text: str, what: str) -> Path:
        """Returns the place that was named, absolute and without links; it need not exist.

        Args:
            text: As somebody wrote it. What is not absolute begins in the first folder that has it.
            what: What it is to be, for the message: "the folder of pictures".

        Raises:
            UsageError: Nothing was named, or what lies outside.
        """
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"Name {what}.")
        try:
            path = Path(text.strip()).expanduser()
            places = [folder / path for folder in self.folders]
            place = Path(os.path.realpath(next((each for each in places if each.exists()), places[0])))
        except (ValueError, OSError, RuntimeError):  # a zero byte, half a character, a user who is not there
            raise UsageError(f"{display_path(text)} is no name of a file or folder.") from None
        if not self.holds(place):
            raise UsageError(
                f"{display_path(text.strip())} lies outside of what this page may touch: {self}. Name a "
                "place in there, or start img2img ui with another of the `roots`."
            )
        return place

    def shown(self, path: Path) -> str:
        """Returns a path as people write it here: from the folder that holds it, where there is only one."""
        if len(self.folders) == 1 and path.is_relative_to(self.folders[0]):
            return str(path.relative_to(self.folders[0]))
        return str(path)

    def __str__(self) -> str:
        return ", ".join(map(display_path, self.folders))
