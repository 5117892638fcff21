"""Learned perceptual image patch similarity."""

from __future__ import annotations

from functools import lru_cache, partial
from os import PathLike, fspath
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from img2img.errors import ModelError
from img2img.metrics.backbones import BACKBONES, BackboneName, BackboneNetwork, find_backbone
from img2img.metrics.base import Metric, metrics, one_thread, require_size, rgb, unit
from img2img.metrics.files import WeightFile, read_weights
from img2img.types import ValueRange

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]
_EPSILON = 1e-10
_SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
}
_URL = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
HEADS = {
    name: WeightFile(
        f"lpips_{name}.pth",
        sha256,
        f"{_URL}{name}.pth",
        "11 KiB",
        f"LPIPS on {BACKBONES[name].title}",
        (
            ("torchmetrics", f"functional/image/lpips_models/{name}.pth"),
            ("lpips", f"weights/v0.1/{name}.pth"),
        ),
        (f"lpips/v0.1/{name}.pth",),
    )
    for name, sha256 in _SHA256.items()
}


@one_thread()
def lpips(
    a: Tensor,
    b: Tensor,
    value_range: ValueRange,
    border: int = 0,
    *,
    backbone: BackboneName = "alex",
    weights: str | PathLike[str] | None = None,
    heads: str | PathLike[str] | None = None,
    allow_download: bool = False,
) -> Tensor:
    """Returns how different each image looks, as people were found to judge it.

    Version 0.1 of the authors, at the size that pictures have. The network computes in fp32, the distances in
    float64; it agrees with the authors' package lpips to 6 decimals.

    Args:
        a, b: (N, C, H, W) of one shape, C = 1 or 3 (RGB), in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count, and that nothing sees.
        backbone: The network: "alex", which papers use to compare results, "vgg" or "squeeze". Their numbers
            are not comparable with each other.
        weights: A file with other weights for it; None takes torchvision's, whose checksum decides.
        heads: A file with other weights for its channels; None takes the authors'.
        allow_download: Whether the usual files may be downloaded.

    Returns:
        (N,) float64 from 0, where the images are equal; seldom above 1.

    Raises:
        ValueError: The shapes differ, there are too few pixels (31 along the shorter side for alex, 16 for
            vgg, 17 for squeeze), there are neither one nor three channels, or values are not in the range.
        ConfigError: There is no such network, or weights are not at hand.
        ModelError: A file does not hold the weights.
        DownloadError: The download failed.

    References:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric
        (arXiv:1801.03924).
    """
    a, b = unit(a, b, value_range, border)
    kind = find_backbone(backbone)
    title = f"LPIPS on {kind.title}"
    require_size(title, a, kind.smallest)
    a, b = (rgb(title, x).float() for x in (a, b))
    network = _network(backbone, _path(weights), _path(heads), allow_download)
    found: Tensor = network.to(a.device)(a, b)
    return found


class Lpips(nn.Module):
    """The network and the weights of its channels."""

    shift: Tensor
    scale: Tensor

    def __init__(self, name: str, weights: str | None, heads: str | None, allow_download: bool) -> None:
        super().__init__()
        self.backbone = BackboneNetwork(name, weights, allow_download)
        path = HEADS[name].find(allow_download) if heads is None else Path(heads)
        state = read_weights(path, HEADS[name].title)
        names = [f"lin{place}.model.1.weight" for place in range(len(self.backbone.kind.ends))]
        if not set(names) <= set(state):
            raise ModelError(f"does not hold the weights of {HEADS[name].title}: {names[0]} ...", path)
        for place, each in enumerate(names):
            self.register_buffer(f"head{place}", state[each].double().flatten())
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns the distance of each of (N, 3, H, W) in [0, 1]."""
        features = [self.backbone((2 * x - 1 - self.shift) / self.scale) for x in (a, b)]
        distance = a.new_zeros(len(a), dtype=torch.float64)
        for place, (x, y) in enumerate(zip(*features, strict=True)):
            squares = (_normalised(x) - _normalised(y)).square().mean((2, 3))
            distance = distance + squares @ self.get_buffer(f"head{place}")
        return distance


def _normalised(features: Tensor) -> Tensor:
    """Returns features (N, C, h, w) in float64 whose vectors of channels have the length 1."""
    features = features.double()
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)


def _path(path: str | PathLike[str] | None) -> str | None:
    return None if path is None else fspath(path)


@lru_cache(maxsize=4)
def _network(name: str, weights: str | None, heads: str | None, allow_download: bool) -> Lpips:
    return Lpips(name, weights, heads, allow_download)


def _register(name: BackboneName) -> None:
    kind = BACKBONES[name]
    metrics.register(f"lpips_{name}")(
        Metric(
            partial(lpips, backbone=name),
            higher_is_better=False,
            decimals=4,
            title=f"LPIPS ({kind.title})",
            perfect=0.0,
            smallest=kind.smallest,
            channels=(1, 3),
            files=(kind.file, HEADS[name]),
        )
    )


for _name in get_args(BackboneName):
    _register(_name)
