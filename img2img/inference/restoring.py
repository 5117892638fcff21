"""Restoring pictures at the size they have: which model does it, and whether a picture needs it at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from img2img.errors import UnknownModelError, UsageError, display_path
from img2img.image import Image
from img2img.image.estimates import VISIBLE, damages, estimates
from img2img.image.image import UNTOUCHED
from img2img.inference.choice import Chooser
from img2img.inference.translator import Translator
from img2img.weights import CLEAN, RestorationTask, restorer

OpenModel = Callable[..., tuple[Translator, dict[str, Any]]]
"""Opens the model in a file with arguments of `load_model`, and returns it with what identifies it."""
_BY_DAMAGE: Mapping[str, RestorationTask] = {
    "compression": "dejpeg",
    "noise": "denoise",
    "compression, noise": "clean",
}


def restorers(task: RestorationTask | None, model: Path | None = None) -> dict[str, Path]:
    """Returns which model file restores what is damaged in which way.

    Args:
        task: What all of them remove; None takes for each damage the model for it.
        model: The one for everything.

    Raises:
        UnknownModelError: There is no model that restores.
    """
    found = {}
    for damage, usual in _BY_DAMAGE.items():
        path = model or restorer(task or usual)
        if path is None:
            raise UnknownModelError(
                f"no model that restores is in this installation ({task or usual} or {CLEAN}). Name a "
                "`model`; img2img config init restore_clean_cpu begins the training of one."
            )
        found[damage] = path
    return found


def restoring(
    load: OpenModel, files: Mapping[str, Path], every: bool, *, strength: float = 1.0, **more: Any
) -> tuple[Chooser, dict[str, Any]]:
    """Returns what restores pictures, and what identifies it.

    Args:
        load: Opens a model.
        files: From `restorers`.
        every: Whether every picture is restored, or what is visibly compressed or noisy; others are left
            untouched.
        strength: Share of the model in the result; at 0 all pictures are left untouched.
        **more: Further arguments of `load_model`.

    Raises:
        UsageError: A model enlarges, or makes other pictures of its inputs.
        ModelError: One cannot be opened.
    """
    # a model of that name is none that leaves pictures alone
    called = {path: path.name if path.stem == UNTOUCHED else path.stem for path in files.values()}
    ways: dict[str, list[Translator]] = {}
    choices: dict[str, Any] = {UNTOUCHED: {}}
    for path, name in called.items():
        translator, own = load(path, strength=strength, **more)
        _require_restorer(translator, path)
        ways[name], choices[name] = [translator], own
    names = {damage: called[path] for damage, path in files.items()}

    def choose(image: Image) -> str:
        found = "noise" if every else ", ".join(sorted(damages(estimates(image))))
        return names[found] if found and strength > 0 else UNTOUCHED

    rule = names if every else {"visible": VISIBLE, **names}
    return Chooser(ways, choose), {"restore": rule, "strength": strength, "choices": choices}


def _require_restorer(translator: Translator, path: Path) -> None:
    """Makes sure that results have the size and the content of their inputs."""
    name, scale = display_path(path), translator.generator.scale
    if scale != 1:
        raise UsageError(
            f"{name} enlarges by {scale}, and restoring keeps the size; img2img upscale with this `model` "
            "enlarges."
        )
    if translator.info.output != "like_input":
        raise UsageError(
            f"{name} makes other pictures of its inputs, and no better ones; img2img translate with this "
            "`model` does that."
        )
