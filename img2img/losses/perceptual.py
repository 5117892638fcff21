"""How far apart two images are in the eyes of a network that was trained to recognise things.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution
(arXiv:1603.08155). Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition
(arXiv:1409.1556).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType

import safetensors.torch
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError, ModelError, display_path
from img2img.fetch import Progress, fetch
from img2img.losses.pixel import PixelKind, pixel_losses
from img2img.registry import unknown
from img2img.types import ValueRange

NAME = "vgg19-dcbb9e9d.pth"
"""The file with torchvision's weights; the digits begin its sha256."""
SHA256 = "dcbb9e9d"
URLS = (f"https://download.pytorch.org/models/{NAME}",)

DEFAULT_LAYERS: Mapping[str, float] = MappingProxyType({"conv5_4": 1.0})
"""That of SRGAN and ESRGAN."""

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels and convolutions; a pooling after each
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, channels in [0, 1]

LAYERS = tuple(
    f"conv{block}_{place}" for block, (_, convs) in enumerate(_BLOCKS, 1) for place in range(1, convs + 1)
)
"""The convolutions of VGG19 by block and place: conv1_2 is the second of the first block."""


class FeaturesMissingError(ConfigError):
    """The weights of VGG19 are not at hand."""


class PerceptualLoss:
    """Compares features of VGG19 at chosen convolutions.

    The network is frozen and no module of whatever holds this object: it is in no state dict and no group of
    parameters. It follows the images to their device and computes in their autocast precision, the distances
    are fp32.

    Args:
        layers: A weight for each convolution that is looked at; names as in `LAYERS`.
        value_range: What stands for black and white in the images.
        criterion: The distance between features, averaged over each layer: "l1", "l2" or "charbonnier".
        before_activation: Compares what the convolutions return (ESRGAN), not what the ReLU after them makes
            of it (SRGAN, with "l2" and a weight of 0.006).
        weights: A file with the weights, as torchvision or safetensors stores them, with or without the
            prefix "features."; those of the layers up to the deepest are enough. By default torchvision's,
            from where torch keeps downloaded models.
        allow_download: Whether they may be downloaded to there, 548 MiB.
        progress: Called while they are.

    Raises:
        ConfigError: A layer or criterion does not exist, or no weights are at hand.
        ModelError: The file does not hold the weights.
        DownloadError: The download failed.

    References:
        SRGAN (arXiv:1609.04802), ESRGAN (arXiv:1809.00219), Real-ESRGAN (arXiv:2107.10833) for usual layers.
    """

    def __init__(
        self,
        layers: Mapping[str, float] = DEFAULT_LAYERS,
        *,
        value_range: ValueRange,
        criterion: PixelKind = "l1",
        before_activation: bool = True,
        weights: str | PathLike[str] | None = None,
        allow_download: bool = False,
        progress: Progress | None = None,
    ) -> None:
        for name in layers:
            if name not in LAYERS:
                raise ConfigError(unknown("layer of VGG19", name, LAYERS))
        if not layers:
            raise ConfigError("the perceptual loss looks at no layer; name one or more, for example conv5_4.")
        self.layers = dict(layers)
        self.distance = pixel_losses[criterion]
        self.value_range = value_range
        self._network = _Features(tuple(layers), before_activation)
        self._network.fill(_find(weights, allow_download, progress))

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns the weighted sum of the layers' distances, a 0-dim fp32 tensor.

        Args:
            output: (N, 1 or 3, H, W); gradients pass through it.
            target: The same shape; none pass through it.

        Raises:
            ConfigError: The images have another number of channels, or are too small for the deepest layer.
            ValueError: The shapes differ.
        """
        self.check(output)
        if self._network.device != output.device:
            self._network.to(output.device)
        with torch.no_grad():
            expected = self._network(self._normalised(target))
        found = self._network(self._normalised(output))
        terms = [weight * self.distance(found[name], expected[name]) for name, weight in self.layers.items()]
        return torch.stack(terms).sum()

    def check(self, images: Tensor) -> None:
        """Makes sure that it can look at images such as these, (N, C, H, W).

        Raises:
            ConfigError: They are neither grey nor RGB, or too small for the deepest layer.
        """
        channels, height, width = images.shape[1:]
        if channels not in (1, 3):
            raise ConfigError(
                f"the perceptual loss sees grey or RGB images, not {channels} channels; leave it out here."
            )
        if min(height, width) < self._network.minimum_size:
            raise ConfigError(
                f"images of {width}x{height} pixels are too small for the perceptual loss at "
                f"{max(self.layers)}, which needs {self._network.minimum_size}x{self._network.minimum_size}; "
                "train on larger crops or take an earlier layer."
            )

    def _normalised(self, images: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) in the value range to (N, 3, H, W) as VGG19 was trained with."""
        low, high = self.value_range
        mean, deviation = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
        return ((images.float() - low) / (high - low) - mean) / deviation  # grey becomes three channels here


class _Features(nn.Module):
    """VGG19 up to the deepest of some convolutions, with torchvision's names for the weights.

    Args:
        names: The convolutions whose output is returned.
        before_activation: Or that of the ReLU after them.
    """

    def __init__(self, names: tuple[str, ...], before_activation: bool) -> None:
        super().__init__()
        self.places: dict[int, str] = {}
        stages: list[nn.Module] = []
        inputs, last = 3, max(names)  # names sort by depth
        with torch.device("meta"):
            for name in LAYERS[: LAYERS.index(last) + 1]:
                block = int(name[4])
                if name.endswith("_1") and block > 1:
                    stages.append(nn.MaxPool2d(2, 2))
                channels = _BLOCKS[block - 1][0]
                stages.append(nn.Conv2d(inputs, channels, 3, padding=1))
                inputs = channels
                if name in names:
                    self.places[len(stages) - (1 if before_activation else 0)] = name
                kept = name in names and before_activation  # then the ReLU must not overwrite it
                stages.append(nn.ReLU(inplace=not kept))
        if before_activation:
            del stages[-1]
        self.stages = nn.Sequential(*stages)
        self.minimum_size = 2 ** (int(last[4]) - 1)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def fill(self, path: Path) -> None:
        """Takes the weights from a file, freezes them, and makes the network ready for use."""
        state = _read(path)
        taken = {}
        for key, parameter in self.stages.named_parameters():
            value = state.get(f"features.{key}", state.get(key))
            if value is None or value.shape != parameter.shape:
                found = "is missing" if value is None else f"has the shape {tuple(value.shape)}"
                raise ModelError(
                    f"is no file of VGG19's weights: features.{key} {found}, it should have the shape "
                    f"{tuple(parameter.shape)}.",
                    path,
                )
            taken[key] = value.to(torch.float32, copy=True)
        self.stages.load_state_dict(taken, assign=True)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Returns the features of (N, 3, H, W) by name."""
        found = {}
        for place, stage in enumerate(self.stages):
            x = stage(x)
            if place in self.places:
                found[self.places[place]] = x
        return found


def _find(given: str | PathLike[str] | None, allow_download: bool, progress: Progress | None) -> Path:
    """Returns where the weights lie."""
    if given is not None:
        if not Path(given).is_file():
            raise ConfigError(
                f"{display_path(given)}, named as the file of the perceptual loss's weights, does not exist."
            )
        return Path(given)
    path = Path(torch.hub.get_dir()) / "checkpoints" / NAME
    if path.is_file():
        return path
    if allow_download:
        return fetch(URLS, path, SHA256, progress=progress)
    raise FeaturesMissingError(
        f"the weights of VGG19 for the perceptual loss are not at hand. Name their file (weights), or put "
        f"{NAME} into {display_path(path.parent)}, or allow the download of 548 MiB from {URLS[0]} "
        "(allow_download)."
    )


def _read(path: Path) -> Mapping[str, Tensor]:
    """Returns the tensors of a file by name."""
    try:
        if path.suffix.lower() == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever a broken file makes the two readers raise
        raise ModelError(f"cannot be read as a file of weights ({type(error).__name__}).", path) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError("holds something other than weights by name.", path)
    return state
