"""The states that a run can continue from: written whole or not at all, checked when they are read."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from img2img.errors import Img2ImgError, ModelError, display_path
from img2img.files import file_digest, replacing, sweep_parts, write_bytes

_NAME = re.compile(r"state_(\d{8,})\.pt")
_RESUME = "What was saved before is untouched; make room, then continue with `resume`."
# what torch raises for a file that is no state, or whose pickle was made by somebody else
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError)
_SPARE = 1.1  # of the size of the state, for the file system's own needs


class DiskError(Img2ImgError):
    """There is no room for what a run has to keep; what it kept before is still there."""


class States:
    """The folder of a run's states, the newest few of them.

    Args:
        folder: Where they lie; it need not exist yet.
        keep: How many stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, state: dict[str, Any]) -> Path:
        """Writes `state`, then removes the oldest beyond `keep`.

        States of later steps go, too: they are damaged, or of a future that this run left behind.

        Raises:
            DiskError: There is no room; the older states are untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep_parts(self.folder)
        require_space(self.folder, size_of(state))
        path = self.folder / f"state_{state['step']:08}.pt"
        try:
            with replacing(path) as file:
                torch.save(state, file)
                file.flush()
                # the checksum first: a state without one is never trusted, and one too many harms nobody
                write_bytes(file_digest(file.name).encode(), path.with_suffix(".sha256"))
        except (OSError, RuntimeError) as error:
            raise DiskError(
                f"{display_path(path)}: the state could not be written ({_why(error)}). The older states are "
                "untouched; make room, then continue with `resume`."
            ) from error
        paths = self.paths()
        own = paths.index(path)
        for other in paths[:own] + paths[own + self.keep :]:
            other.unlink(missing_ok=True)
            other.with_suffix(".sha256").unlink(missing_ok=True)
        return path

    def paths(self) -> list[Path]:
        """Returns the states that are there, the newest first."""
        found = [path for path in self.folder.glob("state_*.pt") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.stem[6:]), reverse=True)

    def load(self) -> tuple[dict[str, Any], list[str]]:
        """Returns the newest state that is whole, and a sentence for each newer one that is not.

        Raises:
            ModelError: There is no state, or none is whole.
        """
        warnings: list[str] = []
        for path in self.paths():
            reason = _fault(path)
            if reason is None:
                try:
                    state = torch.load(path, map_location="cpu", weights_only=True)
                    return dict(state), warnings
                except _UNREADABLE as error:
                    reason = str(error).splitlines()[0]
            warnings.append(f"{display_path(path)} is damaged ({reason}); an older state is taken.")
        if warnings:
            raise ModelError(
                "none of its states is whole; start again, from its last model file with `initial`.",
                self.folder,
            )
        raise ModelError("has no state to continue from; give the folder of a run.", self.folder)


def require_space(folder: Path, size: int, advice: str = _RESUME) -> None:
    """Checks that `size` bytes fit into the file system of `folder`.

    Args:
        folder: It exists.
        size: In bytes.
        advice: The end of the message: what to do.

    Raises:
        DiskError: They do not.
    """
    free, needed = shutil.disk_usage(folder).free, int(size * _SPARE)
    if free < needed:
        raise DiskError(
            f"{display_path(folder)}: {_mib(needed)} are to be written and {_mib(free)} are free. {advice}"
        )


def size_of(value: Any) -> int:
    """Returns how many bytes the tensors in `value` take."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    return 64


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 10 * 2**20 else f"{size / 2**20:,.0f} MiB"


def _why(error: Exception) -> str:
    """Returns the reason in one line; torch wraps what the system says in many."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).splitlines()[0].rstrip(".")


def _fault(path: Path) -> str | None:
    """Returns why the bytes of `path` cannot be trusted, or None."""
    try:
        expected = path.with_suffix(".sha256").read_text().strip()
        return None if expected == file_digest(path) else "its checksum does not match"
    except OSError as error:
        return f"its checksum cannot be read: {error.strerror}"
