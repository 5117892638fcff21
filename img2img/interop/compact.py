"""The compact network (SRVGGNetCompact): `body.0` convolution, `body.1` slopes, ...; a convolution last."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised, layouts
from img2img.models import ArchSpec


@layouts.register("compact")
def compact(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises the compact network.

    Raises:
        ModelError: It is one without PReLU: its activation has no weights, so the file does not say which.
    """
    places = [int(found[1]) for key in state if (found := re.fullmatch(r"body\.(\d{1,4})\.weight", key))]
    if not places or not all(re.fullmatch(r"body\.\d{1,4}\.(weight|bias)", key) for key in state):
        return None
    first, last = state.get("body.0.weight"), state[f"body.{max(places)}.weight"]
    if first is None or first.ndim != 4 or last.ndim != 4 or max(places) % 2:
        return None
    slopes = state.get("body.1.weight")
    if slopes is None:
        raise ModelError(
            "is a compact network without PReLU; whether its activation is relu or leakyrelu is not in the "
            "file. Build it with img2img.models.Compact(activation=...) and save it with save_model."
        )
    if slopes.ndim != 1:
        return None
    inputs, phases = first.shape[1], last.shape[0]
    # the phases are out_channels * scale^2, and out_channels is nearly always in_channels
    for outputs in (inputs, 3, 1):
        scale = math.isqrt(phases // outputs)
        if outputs * scale**2 == phases and (outputs == inputs or 1 in (outputs, inputs)):
            break
    else:
        raise ModelError(
            f"is a compact network with {inputs} input and {phases} last channels: no scale fits."
        )
    arguments = {
        "in_channels": inputs,
        "out_channels": outputs,
        "scale": scale,
        "features": first.shape[0],
        "convs": (max(places) - 2) // 2,
        "activation": "prelu",
    }
    text = f"compact (SRVGGNetCompact), x{scale}"
    return Recognised(ArchSpec("compact", arguments), dict(state), text, ModelInfo(origin={"layout": text}))
