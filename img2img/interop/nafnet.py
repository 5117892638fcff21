"""NAFNet as its authors save it: `intro`, `encoders.0.0.conv1`, `middle_blks.0`, `ups.0.0`, ..., `ending`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec


@layouts.register("nafnet")
def nafnet(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises NAFNet of any width and numbers of blocks."""
    intro = state.get("intro.weight")
    if intro is None or "ending.weight" not in state or "encoders.0.0.sca.1.weight" not in state:
        return None

    def blocks(side: str) -> str:
        levels = count(state, "downs.{}.weight") if side == "encoders" else count(state, "ups.{}.0.weight")
        return "-".join(str(count(state, f"{side}.{level}.{{}}.beta")) for level in range(levels))

    arguments = {
        "in_channels": intro.shape[1],
        "out_channels": state["ending.weight"].shape[0],
        "features": intro.shape[0],
        "encoder": blocks("encoders"),
        "middle": count(state, "middle_blks.{}.beta"),
        "decoder": blocks("decoders"),
        "window": 384,
    }
    text = f"NAFNet, width {intro.shape[0]}, blocks {arguments['encoder']}, x1"
    renamed = {_name(key): value for key, value in state.items()}
    return Recognised(ArchSpec("nafnet", arguments), renamed, text, ModelInfo(origin={"layout": text}))


def _name(key: str) -> str:
    key = re.sub(r"^middle_blks\.", "middle.", key)
    key = re.sub(r"^(ups\.\d+)\.0\.", r"\1.", key)
    return key.replace(".sca.1.", ".attention.")
