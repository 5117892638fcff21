"""The generator of StarGAN as its authors save it (`200000-G.ckpt`): one row of layers.

    main.{0,1}, main.{3,4}, main.{6,7}     convolution and norm, down to a quarter of the resolution
    main.{9,...}.main.{0,1,3,4}            residual blocks
    two more pairs, and one convolution    up again

The number of attributes, that of blocks and the width are seen from the shapes. The norms carry running
statistics, which the authors' code never uses (it never leaves training mode); they are dropped.

What the attributes are called is in no such file. Five of them get the names of the authors' default
selection from CelebA, which both of their published files have; others are numbered. Files that were trained
on two data sets together take the labels of both and two more numbers, as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from img2img.checkpoint import ModelInfo
from img2img.errors import UnknownModelError
from img2img.interop.discriminators import discriminator_reason
from img2img.interop.layouts import Recognised, count, layouts
from img2img.models import ArchSpec

_CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
_FIRST_BLOCK = 9
_SIZE = (128, 128)  # the default of the authors' code
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@layouts.register("stargan")
def stargan(state: Mapping[str, Tensor]) -> Recognised | None:
    """Recognises the generator of StarGAN with any number of attributes.

    Raises:
        UnknownModelError: It is the discriminator.
    """
    if reason := discriminator_reason(state):
        raise UnknownModelError(reason)
    blocks = count(state, "main.{}.main.0.weight", _FIRST_BLOCK)
    up = _FIRST_BLOCK + blocks
    first, last = state.get("main.0.weight"), state.get(f"main.{up + 6}.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4 or first.shape[-1] != 7:
        return None
    channels, attributes = last.shape[0], first.shape[1] - last.shape[0]
    if attributes < 1:
        return None
    modules = {f"main.{up + 6}": "last.conv"}
    for part, places in (("head", (0, 3, 6)), ("tail", (up, up + 3))):
        for index, place in enumerate(places):
            modules |= {f"main.{place}": f"{part}.{index}.conv", f"main.{place + 1}": f"{part}.{index}.norm"}
    for index in range(blocks):
        inner = {0: "conv1", 1: "norm1", 3: "conv2", 4: "norm2"}
        modules |= {
            f"main.{_FIRST_BLOCK + index}.main.{place}": f"blocks.{index}.{name}"
            for place, name in inner.items()
        }
    renamed = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if leaf not in _STATISTICS:
            renamed[f"{modules.get(module, module)}.{leaf}"] = value
    arguments = {
        "in_channels": channels,
        "features": first.shape[0],
        "blocks": blocks,
        "attributes": attributes,
    }
    known = attributes == len(_CELEBA)
    names = _CELEBA if known else tuple(f"attribute_{number}" for number in range(1, attributes + 1))
    origin = {"attributes": "the authors' default, assumed" if known else "not named in the file"}
    info = ModelInfo(
        "own", _SIZE, origin, attributes={"attributes": names}, exclusive=(_CELEBA[:3],) if known else ()
    )
    text = f"StarGAN, {attributes} attributes, {blocks} blocks"
    return Recognised(ArchSpec("stargan", arguments), renamed, text, info)
