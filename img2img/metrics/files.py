"""Files with weights that metrics need, and packages that compute them: found and checked, or named.

A file is looked for in the folders of the environment variable IMG2IMG_WEIGHTS_DIR (separated like PATH),
where torch keeps downloaded models, and in packages that bring it. Its checksum decides: another file does
not make the metric.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from img2img.errors import ConfigError, ModelError, display_path
from img2img.fetch import fetch
from img2img.files import file_digest

_SHOWN = 3  # keys in a message


class WeightsMissingError(ConfigError):
    """A file of weights is not at hand, or a package is not installed."""


@dataclass(frozen=True)
class WeightFile:
    """One file.

    Attributes:
        name: Its usual name.
        sha256: Its checksum, or the digits that it begins with.
        url: Where it can be downloaded.
        size: Roughly, for people: "233 MiB".
        title: Of what it holds the weights.
        packages: Where packages have it: pairs of a package and the path in it.
        also: Other names and folders that people keep it under, such as "lpips/v0.1/alex.pth".
    """

    name: str
    sha256: str
    url: str
    size: str
    title: str
    packages: tuple[tuple[str, str], ...] = ()
    also: tuple[str, ...] = ()

    def find(self, allow_download: bool = False) -> Path:
        """Returns where it is.

        Raises:
            WeightsMissingError: It is nowhere, or what has its name is another file.
            DownloadError: The download failed.
        """
        others = []
        for path in self._places():
            if path.is_file():
                if _digest(path).startswith(self.sha256):
                    return path
                others.append(path)
        cached = _hub() / self.name
        if allow_download and not cached.exists():
            return fetch((self.url,), cached, self.sha256)
        if others:
            raise WeightsMissingError(
                f"{display_path(others[0])} is not the file with the weights of {self.title}: its SHA-256 "
                f"begins with {_digest(others[0])[:8]}, that of the right one with {self.sha256[:8]}. "
                f"Download it from {self.url}."
            )
        raise WeightsMissingError(
            f"the weights of {self.title} are not at hand. Put {self.name} into {display_path(_hub())} or a "
            f"folder of IMG2IMG_WEIGHTS_DIR, or allow the download of {self.size} from {self.url} "
            "(`allow_download=true`)."
        )

    def checksum(self) -> str:
        """Returns its whole SHA-256; empty where it is not at hand."""
        try:
            return _digest(self.find())
        except WeightsMissingError:
            return ""

    def _places(self) -> list[Path]:
        *own, hub = weight_folders()
        places = [folder / name for folder in own for name in (*self.also, self.name)]
        places.append(hub / self.name)
        for package, inside in self.packages:
            spec = importlib.util.find_spec(package)  # imports nothing of it
            if spec is not None and spec.origin is not None:
                places.append(Path(spec.origin).parent / inside)
        return places


def read_weights(path: str | os.PathLike[str], title: str) -> Mapping[str, Tensor]:
    """Returns the tensors of a file by name, without running code that it may carry.

    Raises:
        ModelError: It is no file of weights.
    """
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever a broken file makes the reader raise
        raise ModelError(
            f"cannot be read as the weights of {title} ({type(error).__name__})", path
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"holds something other than the weights of {title} by name", path)
    return state


def fill(network: torch.nn.Module, state: Mapping[str, Tensor], title: str, path: Path) -> None:
    """Gives a network its weights and freezes it.

    Raises:
        ModelError: Some are missing or have other shapes.
    """
    wrong = [
        name
        for name, value in network.state_dict().items()
        if name not in state or state[name].shape != value.shape
    ]
    if wrong:
        raise ModelError(
            f"does not hold the weights of {title}: {', '.join(wrong[:_SHOWN])} "
            f"{'is' if len(wrong) == 1 else 'are'} missing or of another shape",
            path,
        )
    network.load_state_dict({name: state[name].float() for name in network.state_dict()}, assign=True)
    network.requires_grad_(False).eval()


def package_version(name: str, title: str) -> str:
    """Returns the version of an optional package; imports nothing.

    Raises:
        WeightsMissingError: It is not installed.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsMissingError(
            f"{title} is computed by the package {name}, which is not installed: "
            "pip install 'img2img[metrics]'."
        ) from None


def weight_folders() -> list[Path]:
    """Returns the folders for weights: those of IMG2IMG_WEIGHTS_DIR, and last the one of torch."""
    own = os.environ.get("IMG2IMG_WEIGHTS_DIR", "").split(os.pathsep)
    return [*(Path(folder).expanduser() for folder in own if folder), _hub()]


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(str(path), status.st_size, status.st_mtime_ns)


@cache
def _digest_of(path: str, size: int, time: int) -> str:
    return file_digest(path)
