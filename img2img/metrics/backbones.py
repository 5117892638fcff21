"""Networks that were trained to recognise things, in whose features pictures are compared.

Their layers and weights are torchvision's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.metrics.files import WeightFile, fill, read_weights
from img2img.registry import unknown

BackboneName = Literal["alex", "vgg", "squeeze"]
TORCHVISION = "https://download.pytorch.org/models/"
"""Where its weights can be downloaded, by the names of the files."""
VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of the convolutions of each block of VGG16; a pooling follows each."""


@dataclass(frozen=True)
class Backbone:
    """One of the networks.

    Attributes:
        title: Its name, for people.
        layers: Makes its layers, named as in torchvision.
        file: Its weights.
        ends: After how many of its layers features are taken, each time behind a ReLU.
        smallest: Pixels of the shortest side that it needs.
    """

    title: str
    layers: Callable[[], list[nn.Module]]
    file: WeightFile
    ends: tuple[int, ...]
    smallest: int


def _file(name: str, size: str, title: str) -> WeightFile:
    """Returns a file of torchvision, whose name ends with the digits that its checksum begins with."""
    digits = name.removesuffix(".pth").rpartition("-")[2]
    return WeightFile(name, digits, TORCHVISION + name, size, title)


class _Fire(nn.Module):
    """A narrow layer, and two wide ones side by side."""

    def __init__(self, inputs: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) to (N, 2 wide, H, W)."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


def _alexnet() -> list[nn.Module]:
    return [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


def _vgg16() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = 3
    for width, depth in VGG16_BLOCKS:
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return layers[:-1]


def _squeezenet() -> list[nn.Module]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return [
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()),
        *(_Fire(64, 16, 64), _Fire(128, 16, 64), pool()),
        *(_Fire(128, 32, 128), _Fire(256, 32, 128), pool()),
        *(_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)),
    ]


BACKBONES: dict[str, Backbone] = {
    "alex": Backbone(
        "AlexNet",
        _alexnet,
        _file("alexnet-owt-7be5be79.pth", "233 MiB", "AlexNet"),
        (2, 5, 8, 10, 12),
        31,
    ),
    "vgg": Backbone(
        "VGG16",
        _vgg16,
        _file("vgg16-397923af.pth", "528 MiB", "VGG16"),
        (4, 9, 16, 23, 30),
        16,
    ),
    "squeeze": Backbone(
        "SqueezeNet 1.1",
        _squeezenet,
        _file("squeezenet1_1-b8a52dc0.pth", "5 MiB", "SqueezeNet 1.1"),
        (2, 5, 8, 10, 11, 12, 13),
        17,
    ),
}


class BackboneNetwork(nn.Module):
    """A frozen network up to the deepest of its layers that are looked at.

    Args:
        name: "alex", "vgg" or "squeeze".
        weights: A file of weights with torchvision's names; None takes the usual file by its checksum.
        allow_download: Whether that may be downloaded.

    Raises:
        ConfigError: There is no such network, or its weights are not at hand.
        ModelError: The file does not hold them.
        DownloadError: The download failed.
    """

    def __init__(
        self, name: str, weights: str | PathLike[str] | None = None, allow_download: bool = False
    ) -> None:
        super().__init__()
        self.kind = find_backbone(name)
        path = self.kind.file.find(allow_download) if weights is None else Path(weights)
        with torch.device("meta"):
            self.features = nn.Sequential(*self.kind.layers())
        fill(self, read_weights(path, self.kind.title), self.kind.title, path)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the features of (N, 3, H, W) at each of the layers, (N, C, h, w)."""
        found = []
        for place, layer in enumerate(self.features, 1):
            x = layer(x)
            if place in self.kind.ends:
                found.append(x)
        return found


def find_backbone(name: str) -> Backbone:
    """Returns what is known of a network.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in BACKBONES:
        raise ConfigError(unknown("backbone", name, get_args(BackboneName)))
    return BACKBONES[name]
