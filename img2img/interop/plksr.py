"""PLKSR and RealPLKSR as their authors, neosr and traiNNer save them: `feats.0`, `feats.1.lk.conv`, ...

In PLKSR the mixer is called `channe_mixer`, in RealPLKSR `channel_mixer`: that tells them apart. Not in a
file, and taken as published: the identity beside a large kernel (none), the groups of a group norm (4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec

_MIXERS = {(3, 1): "ccm", (1, 3): "iccm", (3, 3): "dccm"}
_PARTS = {
    "channe_mixer": "mixer",
    "channel_mixer": "mixer",
    "lk": "large",
    "attn.f.0": "attention.conv",
    "refine": "refine",
    "norm": "after",
    "layer_norm": "before",
}


@layouts.register("plksr")
def plksr(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises PLKSR and RealPLKSR.

    Raises:
        ModelError: It is one with large kernels made of several, or no scale fits.
    """
    if "feats.0.weight" not in state or "feats.1.refine.weight" not in state:
        return None
    if any(re.match(r"feats\.1\.lk\.(convs|mn_conv)\.", key) for key in state):
        raise ModelError(
            "is a PLKSR network whose large kernels are made of several (SparsePLK, RectSparsePLK), an "
            "ablation of its paper that is not built here."
        )
    real = "feats.1.channel_mixer.0.weight" in state
    blocks = count(state, "feats.{}.refine.weight", start=1)
    end = max(int(found[1]) for key in state if (found := re.fullmatch(r"feats\.(\d{1,4})\.weight", key)))
    first, last, large = (state[f"feats.{name}.weight"] for name in ("0", str(end), "1.lk.conv"))
    inputs, phases = first.shape[1], last.shape[0]
    scale = math.isqrt(phases // inputs)
    if scale < 1 or inputs * scale**2 != phases:
        raise ModelError(f"is a PLKSR network with {inputs} input and {phases} last channels: no scale fits.")
    arguments: dict[str, Any] = {
        "in_channels": inputs,
        "out_channels": inputs,
        "scale": scale,
        "features": first.shape[0],
        "blocks": blocks,
        "kernel": large.shape[2],
        "partial": large.shape[0],
    }
    attention = "feats.1.attn.f.0.weight" in state
    if real:
        norm = "layer" if "feats.1.layer_norm.weight" in state else "group"
        dysample = "to_img.offset.weight" in state
        arguments |= {"attention": attention, "norm": norm, "dysample": dysample}
        text = f"RealPLKSR{' with DySample' if dysample else ''}, {norm} norm, x{scale}"
    else:
        sides = tuple(state[f"feats.1.channe_mixer.{place}.weight"].shape[2] for place in (0, 2))
        arguments |= {"mixer": _MIXERS[sides[0], sides[1]], "attention": attention}
        text = f"PLKSR, {arguments['mixer']}, x{scale}"
    weights = {_name(key, end): value for key, value in state.items()}
    name = "realplksr" if real else "plksr"
    return Recognised(ArchSpec(name, arguments), weights, text, ModelInfo(origin={"layout": text}))


def _name(key: str, end: int) -> str:
    """Returns our name; what has none keeps its own, so that reading reports it."""
    if found := re.fullmatch(r"feats\.(\d{1,4})\.(weight|bias)", key):
        return f"{ {0: 'first', end: 'last'}.get(int(found[1]), found[0]) }.{found[2]}"
    if found := re.fullmatch(r"feats\.(\d{1,4})\.(.+)", key):
        part = next((part for part in _PARTS if found[2].startswith(f"{part}.")), None)
        if part:
            return f"blocks.{int(found[1]) - 1}.{_PARTS[part]}{found[2].removeprefix(part)}"
    return key
