"""Features of the networks VGG16 and VGG19, which were trained to recognise things, and of others like them.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition (arXiv:1409.1556).
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError, ModelError, display_path
from img2img.fetch import fetch
from img2img.losses import hed
from img2img.losses.pixel import full
from img2img.metrics.backbones import BACKBONES, TORCHVISION, VGG16_BLOCKS
from img2img.metrics.files import weight_folders
from img2img.registry import unknown
from img2img.types import ValueRange

_SHOWN = 3  # keys in a message
Three = tuple[float, float, float]


class FeaturesMissingError(ConfigError):
    """The weights of a network of features are not at hand."""


@dataclass(frozen=True)
class Vgg:
    """One of the networks.

    Attributes:
        title: Its name, for people.
        file: The name of the file with torchvision's weights.
        sha256: The digits that its checksum begins with.
        size: Roughly how large that is, for people.
        depths: Convolutions of each block.
        widths: Their channels; a pooling follows each block.
        mean, deviation: What its inputs are standardised by, red, green and blue in [0, 1]: by default those
            of ImageNet's pictures.
    """

    title: str
    file: str
    sha256: str
    size: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = tuple(width for width, _ in VGG16_BLOCKS)
    mean: Three = (0.485, 0.456, 0.406)
    deviation: Three = (0.229, 0.224, 0.225)

    @property
    def url(self) -> str:
        """Where torchvision's weights can be downloaded."""
        return TORCHVISION + self.file

    @property
    def layers(self) -> tuple[str, ...]:
        """Convolutions by block and place, and the pooling after each block: conv1_1, conv1_2, pool1, ..."""
        return tuple(
            name
            for block, depth in enumerate(self.depths, 1)
            for name in (*(f"conv{block}_{place}" for place in range(1, depth + 1)), f"pool{block}")
        )

    @property
    def places(self) -> frozenset[int]:
        """The numbers of the convolutions in torchvision's names: features.0, features.2, ..."""
        stages = [c for depth in self.depths for c in ("conv", "relu") * depth + ("pool",)]
        return frozenset(place for place, stage in enumerate(stages) if stage == "conv")


_FILE = BACKBONES["vgg"].file
VGG16 = Vgg("VGG16", _FILE.name, _FILE.sha256, _FILE.size, tuple(depth for _, depth in VGG16_BLOCKS))
VGG19 = Vgg("VGG19", "vgg19-dcbb9e9d.pth", "dcbb9e9d", "548 MiB", (2, 2, 4, 4, 4))
VGG16_HED = Vgg(
    "VGG16 fine-tuned to find edges (HED)",
    hed.FILE,
    "",
    "56 MiB",
    VGG16.depths,
    mean=hed.MEAN,
    deviation=hed.DEVIATION,
)
"""That of `img2img.losses.hed`."""
RANDOM = Vgg("a random network in the shape of VGG16", "", "", "", VGG16.depths, (4, 8, 16, 32, 32))
"""Narrow, and never trained: for tests, and to see what training it was good for."""
NETWORKS = {"vgg16": VGG16, "vgg19": VGG19, "vgg16_hed": VGG16_HED, "random": RANDOM}


class VGGFeatures:
    """What a frozen network sees in pictures, at chosen layers.

    It is no module of whatever holds this object, so it is in no state dict and no group of parameters. It
    follows the pictures to their device and computes in their autocast precision.

    Args:
        vgg: Which network.
        layers: Which layers, of `vgg.layers`.
        value_range: What stands for black and white in the pictures.
        before_activation: Whether of a convolution its own output is taken, not that of the ReLU after it.
        weights: A file with the weights, as torchvision or safetensors stores them, with or without the
            prefix "features."; those of the layers up to the deepest are enough. By default torchvision's,
            from where torch keeps downloaded models.
        allow_download: Whether they may be downloaded to there.
        standardised: Whether it sees values in units of the mean and the deviation of ImageNet's pictures, as
            it was trained; else as they are in `value_range`, as the authors of pix2pixHD have it.
        opened: The weights, where they are at hand already.

    Raises:
        ConfigError: A layer does not exist, or no weights are at hand.
        ModelError: The file does not hold the weights.
        DownloadError: The download failed.
    """

    def __init__(
        self,
        vgg: Vgg,
        layers: Sequence[str],
        value_range: ValueRange,
        before_activation: bool = True,
        weights: str | PathLike[str] | None = None,
        allow_download: bool = False,
        standardised: bool = True,
        opened: VggWeights | None = None,
    ) -> None:
        for name in layers:
            if name not in vgg.layers:
                raise ConfigError(unknown(f"layer of {vgg.title}", name, vgg.layers))
        self.deepest = max(layers, key=vgg.layers.index)
        self.value_range, self.standardised = value_range, standardised
        self.network = _VGGNetwork(vgg, tuple(layers), before_activation)
        self.network.fill(opened or vgg_weights(vgg, weights, allow_download))

    def __call__(self, images: Tensor, layers: Collection[str] | None = None) -> dict[str, Tensor]:
        """Returns the features of (N, 1 or 3, H, W) by layer, with gradients where the pictures have them.

        Args:
            images: In `value_range`.
            layers: Which of the layers; None for all.

        Raises:
            ConfigError: The pictures have another number of channels, or are too small for the deepest layer.
        """
        self.check(images)
        values = full(images)
        self.network.to(values.device, values.dtype)
        found: dict[str, Tensor]
        if not self.standardised:
            found = self.network(values.expand(-1, 3, -1, -1), layers)
            return found
        low, high = self.value_range
        vgg = self.network.vgg
        mean, deviation = (values.new_tensor(v).view(3, 1, 1) for v in (vgg.mean, vgg.deviation))
        values = (values - low) / (high - low)
        found = self.network((values - mean) / deviation, layers)  # grey becomes three channels
        return found

    def check(self, images: Tensor) -> None:
        """Makes sure that it can look at pictures such as these, (N, C, H, W).

        Raises:
            ConfigError: They are neither grey nor RGB, or too small for the deepest layer.
        """
        channels, height, width = images.shape[1:]
        if channels not in (1, 3):
            raise ConfigError(
                f"the perceptual loss sees grey or RGB images, not {channels} channels; leave it out here."
            )
        if min(height, width) < self.network.minimum_size:
            raise ConfigError(
                f"images of {width}x{height} pixels are too small for the perceptual loss at "
                f"{self.deepest}, which needs {self.network.minimum_size}x{self.network.minimum_size}; "
                "train on larger crops or take an earlier layer."
            )


class _VGGNetwork(nn.Module):
    """A network up to the deepest of some layers, with torchvision's names for the weights."""

    def __init__(self, vgg: Vgg, names: tuple[str, ...], before_activation: bool) -> None:
        super().__init__()
        self.vgg = vgg
        self.places: dict[int, str] = {}
        stages: list[nn.Module] = []
        inputs, last = 3, max(map(vgg.layers.index, names))
        with torch.device("meta"):
            for name in vgg.layers[: last + 1]:
                block = int(name[4])
                if name.startswith("pool"):
                    stages.append(nn.MaxPool2d(2, 2))
                    if name in names:
                        self.places[len(stages) - 1] = name
                    continue
                stages.append(nn.Conv2d(inputs, vgg.widths[block - 1], 3, padding=1))
                inputs = vgg.widths[block - 1]
                if name in names:
                    self.places[len(stages) - (1 if before_activation else 0)] = name
                kept = name in names and before_activation  # then the ReLU must not overwrite it
                stages.append(nn.ReLU(inplace=not kept))
        self.stages = nn.Sequential(*stages[: max(self.places) + 1])
        poolings = sum(isinstance(stage, nn.MaxPool2d) for stage in self.stages)
        self.minimum_size = int(2**poolings)

    def fill(self, weights: VggWeights) -> None:
        """Takes the weights, freezes them, and makes the network ready for use."""
        shapes = {key: tuple(value.shape) for key, value in self.stages.named_parameters()}
        self.stages.load_state_dict(weights.take(shapes), assign=True)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor, layers: Collection[str] | None = None) -> dict[str, Tensor]:
        """Returns the features of (N, 3, H, W) by name, of some layers or of all."""
        found = {}
        left = set(self.places.values() if layers is None else layers)
        for place, stage in enumerate(self.stages):
            x = stage(x)
            name = self.places.get(place)
            if name in left:
                found[name] = x
                left.remove(name)
            if not left:
                break
        return found


@dataclass(frozen=True)
class VggWeights:
    """The weights of a network of features, by torchvision's names of them.

    Attributes:
        vgg: Which network.
        state: The weights, with or without the prefix "features.".
        path: The file that they come from.
    """

    vgg: Vgg
    state: Mapping[str, Tensor]
    path: Path | None

    def take(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Returns copies of the weights called as in `shapes`, in fp32.

        Args:
            shapes: Those of the weights that are needed, by names as "0.weight" and "2.bias".

        Raises:
            ModelError: One is missing or has another shape, or they are those of another network.
        """
        state = self.state
        prefix = "features." if any(key.startswith("features.") for key in state) else ""
        wrong = _strange(state, prefix, self.vgg)
        taken = {}
        for key, shape in shapes.items():
            value = state.get(prefix + key)
            if value is not None and tuple(value.shape) == shape:
                taken[key] = value.to(torch.float32, copy=True)
            elif not wrong:
                found = "is missing" if value is None else f"has the shape {tuple(value.shape)}"
                wrong = f"features.{key} {found}, and should have the shape {shape}"
        if wrong:
            some = ", ".join([*list(map(str, state))[:_SHOWN], *["..."] * (len(state) > _SHOWN)]) or "none"
            raise ModelError(
                f"is no file of {self.vgg.title}'s weights as torchvision has them: {wrong}. Of "
                f"{len(shapes)} weights that are needed it has {len(taken)}; its own are "
                f"{some}. {_right(self.vgg)}",
                self.path,
            )
        return taken


def vgg_weights(
    vgg: Vgg, given: str | PathLike[str] | None = None, allow_download: bool = False
) -> VggWeights:
    """Returns the weights of a network of features; see `VGGFeatures` for the arguments and errors."""
    if vgg is RANDOM:
        if given is not None:
            raise ConfigError(f"{vgg.title} has no file of weights; leave {display_path(given)} out.")
        return VggWeights(vgg, _drawn(vgg), None)
    path = _find(vgg, given, allow_download)
    return VggWeights(vgg, _read(path, vgg), path)


def _drawn(vgg: Vgg) -> dict[str, Tensor]:
    """Returns the same random weights each time, such that values keep their size on the way down."""
    noise, state, inputs = torch.Generator("cpu").manual_seed(0), {}, 3
    widths = [width for width, depth in zip(vgg.widths, vgg.depths, strict=True) for _ in range(depth)]
    for place, width in zip(sorted(vgg.places), widths, strict=True):
        weight = torch.randn(width, inputs, 3, 3, generator=noise, device="cpu")
        state[f"{place}.weight"] = weight * (2 / (9 * inputs)) ** 0.5
        state[f"{place}.bias"] = torch.zeros(width, device="cpu")
        inputs = width
    return state


def _strange(state: Mapping[str, Tensor], prefix: str, vgg: Vgg) -> str:
    """Returns what says that weights are those of another network whose first ones have the same shapes."""
    found = {key.removeprefix(prefix).partition(".") for key in state if key.startswith(prefix)}
    places = {int(place) for place, _, rest in found if place.isdecimal() and rest == "weight"}
    if places <= vgg.places:
        return ""
    other = next((each.title for each in (VGG16, VGG19) if places <= each.places), None)
    return f"{prefix}{min(places - vgg.places)}.weight is of {other or 'another network'}"


def _find(vgg: Vgg, given: str | PathLike[str] | None, allow_download: bool) -> Path:
    """Returns where the weights lie."""
    if given is not None:
        if not Path(given).is_file():
            raise ConfigError(
                f"{display_path(given)}, named as the file of the perceptual loss's weights, does not exist."
            )
        return Path(given)
    if vgg is VGG16_HED:
        found = hed.find()
        if found is None:
            raise FeaturesMissingError(f"the weights of {vgg.title} are not at hand. {_right(vgg)}")
        return found
    places = [folder / vgg.file for folder in weight_folders()]
    for path in places:
        if path.is_file():
            return path
    if allow_download:
        return fetch((vgg.url,), places[-1], vgg.sha256)
    raise FeaturesMissingError(
        f"the weights of {vgg.title} for the perceptual loss are not at hand. Name their file (weights), or "
        f"put {vgg.file} into {display_path(places[-1].parent)} or a folder of IMG2IMG_WEIGHTS_DIR, or allow "
        f"the download of {vgg.size} from {vgg.url} (allow_download)."
    )


def _right(vgg: Vgg) -> str:
    if vgg is VGG16_HED:
        return hed.ORIGIN
    return f"The right file is {vgg.file}, from {vgg.url}"


def _read(path: Path, vgg: Vgg) -> Mapping[str, Tensor]:
    """Returns the tensors of a file by name."""
    try:
        if vgg is VGG16_HED and path.suffix.lower() == ".h5":
            return hed.read(path)
        if path.suffix.lower() == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except ConfigError:  # what reads it is not installed
        raise
    except Exception as error:  # whatever a broken file makes the two readers raise
        raise ModelError(
            f"cannot be read as a file of weights ({type(error).__name__}). {_right(vgg)}", path
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        held = (
            f"the keys {', '.join(list(map(str, state))[:_SHOWN])}"
            if isinstance(state, Mapping)
            else "no keys"
        )
        raise ModelError(f"holds something other than weights by name: {held}. {_right(vgg)}", path)
    return state
