"""RRDBNet in the three layouts that people own.

    new      conv_first, body.0.rdb1.conv1, conv_body, conv_up1, ...   BasicSR, Real-ESRGAN
    middle   conv_first, RRDB_trunk.0.RDB1.conv1, upconv1, ...         the ESRGAN repository, KAIR
    old      model.0, model.1.sub.0.RDB1.conv1.0, model.3, ...         before it; most of OpenModelDB

Ours are the names of the new one. All three come at every scale, width, growth and number of blocks, and with
the input folded by a pixel unshuffle (4 or 16 times as many input channels as output channels).

One thing cannot be told from a file: an old x3 model has one upsampling step by 3 and therefore exactly the
keys and shapes of an x2 model; it is read as x2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import ModelError
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec

_MIDDLE = {
    "trunk_conv": "conv_body",
    "HRconv": "conv_hr",
    "conv_first": "conv_first",
    "conv_last": "conv_last",
}


@layouts.register("esrgan")
def esrgan(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises RRDBNet in any of its layouts.

    Raises:
        ModelError: It is one, but with a number of upsampling steps that no layout has.
    """
    if "body.0.rdb1.conv1.weight" in state:
        layout, renamed = "new", dict(state)
    elif "RRDB_trunk.0.RDB1.conv1.weight" in state:
        layout, renamed = "middle", _from_middle(state)
    elif "model.1.sub.0.RDB1.conv1.0.weight" in state:
        layout, renamed = "old", _from_old(state)
    else:
        return None
    required = ("conv_first.weight", "conv_last.weight", "body.0.rdb1.conv1.weight")
    if any(name not in renamed or renamed[name].ndim != 4 for name in required):
        return None
    first, last, growth = (renamed[name] for name in required)
    features, inputs, outputs = first.shape[0], first.shape[1], last.shape[0]
    steps = count(renamed, "conv_up{}.weight", start=1)
    unshuffle = {4: 2, 16: 4}.get(inputs // outputs if inputs % outputs == 0 else 0, 1)
    if 2**steps % unshuffle:  # too few steps to undo it: simply a network with that many input channels
        unshuffle = 1
    scale = 2**steps // unshuffle
    if steps > 6 or scale > 16:
        raise ModelError(f"is an RRDBNet with {steps} upsampling steps; x16 is the largest that is known.")
    arguments = {
        "in_channels": inputs // unshuffle**2,
        "out_channels": outputs,
        "scale": scale,
        "features": features,
        "blocks": count(renamed, "body.{}.rdb1.conv1.weight"),
        "growth": growth.shape[0],
        "unshuffle": unshuffle,
        "plus": "body.0.rdb1.conv1x1.weight" in renamed,
    }
    name = "ESRGAN+" if arguments["plus"] else "ESRGAN"
    folded = f", unshuffle {unshuffle}" if unshuffle > 1 else ""
    text = f"{name}, {layout} layout, x{scale}{folded}"
    return Recognised(ArchSpec("rrdbnet", arguments), renamed, text, ModelInfo(origin={"layout": text}))


def _from_middle(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def rename(key: str) -> str:
        if found := re.fullmatch(r"RRDB_trunk\.(\d+)\.RDB(\d)\.(.+)", key):
            return "body.{}.rdb{}.{}".format(*found.groups())
        if found := re.fullmatch(r"upconv(\d+)\.(.+)", key):
            return "conv_up{}.{}".format(*found.groups())
        module, _, rest = key.partition(".")
        return f"{_MIDDLE.get(module, module)}.{rest}"

    return {rename(key): value for key, value in state.items()}


def _from_old(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames by position: an upsampling step takes three places, activations and enlargements count."""
    places = sorted(int(key.split(".")[1]) for key in state if re.fullmatch(r"model\.\d{1,4}\.weight", key))
    steps = len(places) - 3
    modules = {"0": "conv_first", str(3 * steps + 2): "conv_hr", str(3 * steps + 4): "conv_last"}
    modules |= {str(3 * step): f"conv_up{step}" for step in range(1, steps + 1)}

    def rename(key: str) -> str:
        if found := re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.(.+)", key):
            return "body.{}.rdb{}.{}.{}".format(*found.groups())
        if found := re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv1x1\.(.+)", key):
            return "body.{}.rdb{}.conv1x1.{}".format(*found.groups())
        if found := re.fullmatch(r"model\.1\.sub\.\d+\.(weight|bias)", key):
            return f"conv_body.{found[1]}"
        if (found := re.fullmatch(r"model\.(\d+)\.(weight|bias)", key)) and found[1] in modules:
            return f"{modules[found[1]]}.{found[2]}"
        return key

    return {rename(key): value for key, value in state.items()}
