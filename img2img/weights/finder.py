"""Where models are looked for.

By name in this order: the models that ship with the package, the folders in IMG2IMG_WEIGHTS_DIR (separated
like PATH), the user's cache (`~/.cache/img2img/weights` on Linux, its like elsewhere; XDG_CACHE_HOME moves
it).
`hf:owner/name` is one of Hugging Face, see `img2img.hubs.huggingface`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from img2img.errors import UnknownModelError, display_path
from img2img.files import user_cache
from img2img.hubs import huggingface
from img2img.registry import unknown

EXTENSIONS = (".safetensors", ".pth", ".param", ".onnx")
_SHOWN = 5  # names in a message


def folders() -> list[Path]:
    """Returns the folders that are looked through, the first one first; not all of them need exist."""
    listed = os.environ.get("IMG2IMG_WEIGHTS_DIR", "").split(os.pathsep)
    return [
        Path(__file__).parent,
        *(Path(entry).expanduser() for entry in listed if entry),
        user_cache() / "weights",
    ]


def available(extensions: Sequence[str] = EXTENSIONS) -> dict[str, Path]:
    """Returns every model that has a name, with its path; of two with one name the one found first.

    Args:
        extensions: Of the files that count; in one folder the first of them wins.
    """
    found: dict[str, Path] = {}
    for folder in folders():
        try:
            files = sorted(file for file in folder.iterdir() if file.is_file())
        except OSError:
            continue
        for extension in extensions:
            for file in files:
                if file.suffix.lower() == extension:
                    found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def find_model(name: str | os.PathLike[str]) -> Path:
    """Returns the file of a model given by its path or its name.

    What exists or has a folder in it is a path; a name with an extension is that of such a file alone, and
    hf:owner/name is downloaded from Hugging Face, unless it is in its cache.

    Raises:
        UnknownModelError: There is no such file or name; the message offers the nearest names.
        ConfigError, DownloadError: See `img2img.hubs.huggingface.find_file`.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if huggingface.is_reference(name):
        return huggingface.find_model(os.fspath(name), EXTENSIONS)
    if path.exists() and not path.is_dir():
        raise UnknownModelError("this is a pipe, socket or device, not a model file.", path)
    extension = path.suffix.lower() if path.suffix.lower() in EXTENSIONS else ""
    models = available((extension,) if extension else EXTENSIONS) if is_name(path) else {}
    stem = path.stem if extension else path.name
    if stem not in models and path.is_dir():
        raise UnknownModelError(_is_a_folder(path), path)
    if not is_name(path):
        raise UnknownModelError("there is no such model file.", path)
    if stem not in models:
        places = ", ".join(display_path(folder) for folder in folders()[1:])
        raise UnknownModelError(
            f"{unknown('model', display_path(path.name), available())} A model is a path, or the name of a "
            f"file ({' or '.join(EXTENSIONS)}) in {places}."
        )
    return models[stem]


def _is_a_folder(path: Path) -> str:
    try:
        inside = sorted(file.name for file in path.iterdir() if file.suffix.lower() in EXTENSIONS)
    except OSError:
        inside = []
    if not inside:
        return f"is a folder, and holds no model; name a file ({' or '.join(EXTENSIONS)})."
    more = ", ..." if len(inside) > _SHOWN else ""
    return f"is a folder; name the model in it: {', '.join(map(display_path, inside[:_SHOWN]))}{more}."


def is_name(name: str | os.PathLike[str]) -> bool:
    """Returns whether `find_model` would take this for the name of a model and not for a path."""
    path = Path(name).expanduser()
    return (path.parent == Path() or huggingface.is_reference(name)) and not path.is_file()
