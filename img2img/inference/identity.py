"""What identifies a model in use: when it changes, files are done again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from img2img.checkpoint import plain_size
from img2img.inference.translator import Translator


def identity(translator: Translator, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `settings` of `img2img.batch.run` for a model.

    Args:
        translator: The model.
        asked: The arguments of `load_model` that it was opened with and that change results, beside
            precision, alpha and mark.

    Returns:
        The fingerprint of the weights, and all that changes the results, JSON-able.
    """
    settings = {
        "model": translator.fingerprint,
        "precision": translator.precision,
        "alpha": translator.alpha,
        **asked,
        "size": plain_size(translator.size),
    }
    if translator.source_type is not None:
        settings["mark"] = translator.source_type
    settings.pop("color_fix", None)
    if translator.color_fix != "off":  # results without it, of before, stay valid
        settings["color_fix"] = translator.color_fix
    if translator.size and translator.fit != "squeeze":
        settings["fit"] = translator.fit
    else:
        settings.pop("fit", None)
    return settings
