"""Deep image structure and texture similarity."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ModelError
from img2img.metrics.backbones import BACKBONES, BackboneNetwork
from img2img.metrics.base import Metric, metrics, one_thread, rgb, unit
from img2img.metrics.files import WeightFile, read_weights
from img2img.types import ValueRange

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, channels in [0, 1]
_EPSILON = 1e-6
_TITLE = "DISTS"
_CHANNELS = (3, 64, 128, 256, 512, 512)
HEADS = WeightFile(
    "dists_weights.pt",
    "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
    "https://raw.githubusercontent.com/dingkeyan93/DISTS/master/DISTS_pytorch/weights.pt",
    "12 KiB",
    _TITLE,
    (("torchmetrics", "functional/image/dists_models/weights.pt"),),
    ("dists/weights.pt",),
)


@one_thread()
def dists(
    a: Tensor,
    b: Tensor,
    value_range: ValueRange,
    border: int = 0,
    *,
    weights: str | PathLike[str] | None = None,
    heads: str | PathLike[str] | None = None,
    allow_download: bool = False,
) -> Tensor:
    """Returns how different each image is in structure and texture, on VGG16.

    At the size that pictures have; the authors' script first makes the shorter side 256. The network computes
    in fp32, the statistics in float64; it agrees with torchmetrics to 5 decimals.

    Args:
        a, b: (N, C, H, W) of one shape, C = 1 or 3 (RGB), in `value_range`.
        value_range: What stands for black and white.
        border: Pixels on each side that do not count, and that nothing sees.
        weights: A file with other weights for VGG16; None takes torchvision's, whose checksum decides.
        heads: A file with other weights alpha and beta; None takes the authors'.
        allow_download: Whether the usual files may be downloaded.

    Returns:
        (N,) float64 from 0, where the images are equal, to 1.

    Raises:
        ValueError: The shapes differ, there are neither one nor three channels, or values are not in the
            range.
        ConfigError: Weights are not at hand.
        ModelError: A file does not hold the weights.
        DownloadError: The download failed.

    References:
        Ding, Ma, Wang, Simoncelli: Image Quality Assessment: Unifying Structure and Texture Similarity
        (arXiv:2004.07728).
    """
    a, b = (rgb(_TITLE, x).float() for x in unit(a, b, value_range, border))
    network = _network(*(None if path is None else fspath(path) for path in (weights, heads)), allow_download)
    found: Tensor = network.to(a.device)(a, b)
    return found


class Dists(nn.Module):
    """VGG16 with smooth poolings, and the weights of its channels."""

    alpha: Tensor
    beta: Tensor

    def __init__(self, weights: str | None, heads: str | None, allow_download: bool) -> None:
        super().__init__()
        layers = BackboneNetwork("vgg", weights, allow_download).features
        self.layers = nn.Sequential(*(_Pool() if isinstance(x, nn.MaxPool2d) else x for x in layers))
        path = HEADS.find(allow_download) if heads is None else Path(heads)
        state = read_weights(path, _TITLE)
        if any(name not in state or state[name].numel() != sum(_CHANNELS) for name in ("alpha", "beta")):
            raise ModelError(f"does not hold {sum(_CHANNELS)} weights alpha and beta of {_TITLE}", path)
        alpha, beta = (state[name].double().flatten() for name in ("alpha", "beta"))
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / total)
        self.register_buffer("beta", beta / total)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Returns the distance of each of (N, 3, H, W) in [0, 1]."""
        similarity = a.new_zeros(len(a), dtype=torch.float64)
        first = 0
        for x, y in zip(self._features(a), self._features(b), strict=True):
            x, y = x.double().flatten(2), y.double().flatten(2)
            mean_x, mean_y = x.mean(2, keepdim=True), y.mean(2, keepdim=True)
            x, y = x - mean_x, y - mean_y
            variances = x.square().mean(2) + y.square().mean(2)
            structure = (2 * (x * y).mean(2) + _EPSILON) / (variances + _EPSILON)
            mean_x, mean_y = mean_x[..., 0], mean_y[..., 0]
            texture = (2 * mean_x * mean_y + _EPSILON) / (mean_x.square() + mean_y.square() + _EPSILON)
            part = slice(first, first := first + x.shape[1])
            similarity = similarity + texture @ self.alpha[part] + structure @ self.beta[part]
        return 1 - similarity

    def _features(self, x: Tensor) -> list[Tensor]:
        """Returns the picture itself and its features behind the last ReLU of each block."""
        found = [x]
        x = (x - self.get_buffer("mean")) / self.get_buffer("deviation")
        for place, layer in enumerate(self.layers, 1):
            x = layer(x)
            if place in BACKBONES["vgg"].ends:
                found.append(x)
        return found


class _Pool(nn.Module):
    """The root of the mean square in a Hann window of 3x3 pixels, of every second place."""

    def __init__(self) -> None:
        super().__init__()
        window = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("window", torch.outer(window, window)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, H / 2, W / 2), rounded up."""
        weights = self.get_buffer("window").expand(x.shape[1], -1, -1, -1)
        return (F.conv2d(x.square(), weights, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


@lru_cache(maxsize=2)
def _network(weights: str | None, heads: str | None, allow_download: bool) -> Dists:
    return Dists(weights, heads, allow_download)


metrics.register("dists")(
    Metric(
        dists,
        higher_is_better=False,
        decimals=4,
        title=_TITLE,
        perfect=0.0,
        channels=(1, 3),
        files=(BACKBONES["vgg"].file, HEADS),
    )
)
