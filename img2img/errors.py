"""Every failure that img2img expects, as one tree.

    Img2ImgError                     anything a user can cause or meet; its text is a complete sentence
    ├── UsageError                   the request itself is wrong: nothing was started
    │   ├── ConfigError              a configuration, recipe or option has a wrong value
    │   └── PlanError                inputs and output do not fit together
    ├── ImageError                   one image, named in `path`
    │   ├── ImageReadError           unreadable, truncated or not an image
    │   │   ├── ImageFormatError     a kind of file that is not read
    │   │   └── ImageLimitError      larger than the limits allow; nothing was decoded
    │   └── ImageWriteError          could not be encoded or stored; no partial file is left
    │       └── ImageFitError        the format cannot hold this depth, alpha or number of channels
    ├── ModelError                   a model or checkpoint, named in `path`
    │   ├── UnsafeCheckpointError    opening it would run code that it carries
    │   └── UnknownModelError        neither a name nor a layout that is known
    ├── DownloadError                a file could not be fetched from the network, whole and unchanged
    ├── UploadError                  files could not be sent to the network; none of them is there
    └── ProcessingError              the file was fine, the work on it failed

Messages say where, what was found, what is allowed and what to do next.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path


def display_path(path: str | PathLike[str]) -> str:
    """Returns `path` so that a terminal shows it and nothing else happens.

    File names may hold control sequences and bytes that are not text: both are shown as escapes.
    """
    text = fspath(path)
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # halves of characters, as JSON may hold
        data = text.encode("utf-8", "surrogatepass")
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def display_text(text: str) -> str:
    """Returns a text of lines so that a terminal shows it and nothing else happens; see `display_path`."""
    return "\n".join(map(display_path, text.split("\n")))


class Img2ImgError(Exception):
    """Base of everything that img2img raises on purpose."""


class UsageError(Img2ImgError):
    """The request is wrong; nothing was started."""


class ConfigError(UsageError):
    """A configuration, recipe or option holds a wrong value."""


class PlanError(UsageError):
    """Inputs and output do not fit together."""


class _PathError(Img2ImgError):
    """An error about one file: `str()` is "path: reason"."""

    def __init__(self, reason: str, path: str | PathLike[str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = None if path is None else Path(path)

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{display_path(self.path)}: {self.reason}"


class ImageError(_PathError):
    """Something about one image file."""


class ImageReadError(ImageError):
    """The file cannot be read as a complete image."""


class ImageFormatError(ImageReadError):
    """The file is of a kind that is not read."""


class ImageLimitError(ImageReadError):
    """The file is larger than the limits allow; nothing was decoded."""


class ImageWriteError(ImageError):
    """The image could not be encoded or stored; no partial file is left under the final name."""


class ImageFitError(ImageWriteError):
    """The format cannot hold this depth, alpha or number of channels."""


class ModelError(_PathError):
    """Something about one model or checkpoint file."""


class UnsafeCheckpointError(ModelError):
    """Opening the file would run code that it carries."""


class UnknownModelError(ModelError):
    """Neither the name nor the layout is known."""


class DownloadError(Img2ImgError):
    """A file could not be fetched from the network, whole and unchanged."""


class UploadError(Img2ImgError):
    """Files could not be sent to the network; none of them is there."""


class ProcessingError(Img2ImgError):
    """The file was fine, the work on it failed."""
