"""Which model is taken when the user names none."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from img2img.errors import UnknownModelError
from img2img.weights.finder import available

UPSCALERS = {2: "x2", 4: "x4"}  # factors of the models that ship, and their names
PHOTO = "photo"  # enlarges photographs that are compressed or noisy
CLEAN: Final = "clean"  # restores at the same size
RestorationTask = Literal["denoise", "dejpeg", "deblur", "clean"]


def upscaler(factor: float) -> tuple[int, Path]:
    """Returns the model that ships for enlarging by `factor`: its own factor and its file.

    That is the smallest that enlarges enough, or else the one that enlarges most; the rest of the way is a
    resize. A user's file called x2 or x4 stands in where the package has none.

    Raises:
        UnknownModelError: None of them is there.
    """
    models = available()
    found = {scale: models[name] for scale, name in UPSCALERS.items() if name in models}
    if not found:
        raise UnknownModelError(
            f"the models {' and '.join(UPSCALERS.values())}, which enlarge when no other is named, are not "
            "in this installation: it was made from a source tree without its weights. Install a release, or "
            "name a `model`."
        )
    scale = min((scale for scale in found if scale >= factor), default=max(found))
    return scale, found[scale]


def photo_upscaler() -> Path | None:
    """Returns the model for enlarging compressed and noisy photographs, or None where it is not there."""
    return available().get(PHOTO)


def restorer(task: RestorationTask = CLEAN) -> Path | None:
    """Returns the model that restores at the same size: one for just this task, called like it, or `clean`.

    None where neither is there.
    """
    models = available()
    return models.get(task) or models.get(CLEAN)


def ships(path: Path) -> bool:
    """Returns whether a model file is one of the package."""
    return path.parent == Path(__file__).parent
