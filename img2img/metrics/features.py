"""What networks see in pictures, as one vector for each: for numbers about sets."""

from __future__ import annotations

import importlib
import io
from abc import ABC, abstractmethod
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from img2img.errors import ConfigError, display_path
from img2img.files import file_digest
from img2img.metrics.backbones import BACKBONES, BackboneNetwork
from img2img.metrics.base import one_thread, require_size, rgb, unit_of
from img2img.metrics.files import WeightFile, package_version, read_weights
from img2img.registry import unknown
from img2img.types import ValueRange

INCEPTION = "inception"
INCEPTION_FILE = WeightFile(
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "91 MiB",
    "Inception v3 (2015-12-05)",
    also=("pt_inception-2015-12-05-6726825d.pth",),
)
EXTRACTORS = (INCEPTION, *BACKBONES)
_PACKAGE = "torch-fidelity", "the network of FID"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, channels in [0, 1]


class PictureFeatures(NamedTuple):
    """Of N pictures.

    Attributes:
        vectors: (N, D) fp32.
        logits: (N, classes) fp32 without the classifier's bias; (N, 0) where the network has no classifier.
    """

    vectors: Tensor
    logits: Tensor


class Extractor(ABC):
    """What makes features of pictures.

    Attributes:
        name: What the numbers made of its features are called after; "inception" is that of FID.
        origin: What is stored with such numbers: network, package, checksum of the weights, resizing.
    """

    name: str
    origin: dict[str, Any]

    @one_thread()
    def __call__(self, images: Tensor, value_range: ValueRange) -> PictureFeatures:
        """Returns the features of (N, C, H, W), C = 1 or 3 (RGB), in `value_range`, on the CPU.

        Raises:
            ValueError: They are no such batch, too small, or values are not in the range.
        """
        unit = unit_of(images, value_range).clamp(0, 1)
        with torch.inference_mode():
            return self._look(rgb(f"the network {self.name}", unit).float())

    @abstractmethod
    def _look(self, images: Tensor) -> PictureFeatures:
        """Returns the features of (N, 3, H, W) in [0, 1]."""


class InceptionFeatures(Extractor):
    """Those of FID: Inception v3 of 2015 at 299x299 pixels, as torch-fidelity has it.

    It states to equal the first implementation, in TensorFlow, to the last digits. Pictures are rounded to 8
    bits and resized by TensorFlow's bilinear rule of old, without smoothing.

    Args:
        weights: A file with weights; None takes torch-fidelity's by its checksum.
        allow_download: Whether that may be downloaded.

    Raises:
        ConfigError: torch-fidelity is not installed, or the weights are not at hand.
        ModelError: The file does not hold them.
        DownloadError: The download failed.
    """

    def __init__(self, weights: str | PathLike[str] | None = None, allow_download: bool = False) -> None:
        version = package_version(*_PACKAGE)
        path = INCEPTION_FILE.find(allow_download) if weights is None else Path(weights)
        digest = file_digest(path)
        self.name = network_name(INCEPTION, digest)
        copy = io.BytesIO()  # torch-fidelity unpickles whatever a file holds; this one holds tensors alone
        torch.save(dict(read_weights(path, INCEPTION_FILE.title)), copy)
        copy.seek(0)
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
        layers = ["2048", "logits_unbiased"]
        try:
            self.network = module.FeatureExtractorInceptionV3(
                self.name, layers, feature_extractor_weights_path=copy
            )
        except RuntimeError as error:
            raise ConfigError(f"{path.name} does not hold the weights of {INCEPTION_FILE.title}.") from error
        self.origin = {
            "network": INCEPTION_FILE.title,
            "backend": f"torch-fidelity {version}",
            "resize": "bilinear to 299x299, TensorFlow 1 without smoothing",
            "weights": {path.name: digest},
        }

    def _look(self, images: Tensor) -> PictureFeatures:
        self.network.to(images.device)
        vectors, logits = self.network(images.mul(255).round().byte())
        return PictureFeatures(vectors.cpu(), logits.cpu())


class BackboneFeatures(Extractor):
    """Means over all places of the deepest features of AlexNet, VGG16 or SqueezeNet, at the pictures' size.

    Not FID's: numbers made of them bear the network's name, and of weights that are not torchvision's the
    first digits of their checksum.

    Args:
        backbone: "alex", "vgg" or "squeeze".
        weights: A file with weights; None takes torchvision's by its checksum.
        allow_download: Whether that may be downloaded.

    Raises:
        ConfigError: There is no such network, or its weights are not at hand.
        ModelError: The file does not hold them.
        DownloadError: The download failed.
    """

    def __init__(
        self, backbone: str, weights: str | PathLike[str] | None = None, allow_download: bool = False
    ) -> None:
        self.network = BackboneNetwork(backbone, weights, allow_download)
        file = self.network.kind.file
        path = file.find() if weights is None else Path(weights)
        digest = file_digest(path)
        self.name = network_name(backbone, digest)
        self.origin = {
            "network": f"{self.network.kind.title}, layer {self.network.kind.ends[-1]}, mean over places",
            "backend": f"torchvision {package_version('torchvision', self.network.kind.title)}",
            "resize": "none",
            "weights": {path.name: digest},
        }

    def _look(self, images: Tensor) -> PictureFeatures:
        require_size(self.network.kind.title, images, self.network.kind.smallest)
        mean, deviation = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (_MEAN, _DEVIATION))
        vectors = self.network.to(images.device)((images - mean) / deviation)[-1].mean((2, 3))
        return PictureFeatures(vectors.cpu(), vectors.new_zeros(len(images), 0).cpu())


def weight_file(network: str) -> WeightFile:
    """Returns the usual weights of one of `EXTRACTORS`."""
    return INCEPTION_FILE if network == INCEPTION else BACKBONES[network].file


def network_name(network: str, digest: str) -> str:
    """Returns what numbers on features of a network are called after.

    Args:
        network: One of `EXTRACTORS`.
        digest: The SHA-256 of its weights; of others than the usual ones its first digits are in the name.
    """
    return network if digest.startswith(weight_file(network).sha256) else f"{network}_{digest[:8]}"


def require_network(
    network: str, weights: str | PathLike[str] | None = None, allow_download: bool = False
) -> str:
    """Makes sure that a network can be opened, without opening it, and returns what numbers are called after.

    Args:
        network: One of `EXTRACTORS`.
        weights, allow_download: See `open_extractor`; nothing is downloaded here.

    Raises:
        ConfigError: A package or the weights are not at hand.
    """
    if network == INCEPTION:
        package_version(*_PACKAGE)
    if weights is None:
        if not allow_download:
            weight_file(network).find()
        return network
    if not Path(weights).is_file():
        raise ConfigError(
            f"{display_path(weights)}, named as the weights of {weight_file(network).title}, does not exist."
        )
    return network_name(network, file_digest(Path(weights)))


def open_extractor(
    name: str, weights: str | PathLike[str] | None = None, allow_download: bool = False
) -> Extractor:
    """Returns what makes features: "inception", "alex", "vgg" or "squeeze".

    Args:
        name: The network.
        weights: A file with its weights; None takes the usual one by its checksum.
        allow_download: Whether that may be downloaded.

    Raises:
        ConfigError: There is no such network, or a package or its weights are not at hand.
        ModelError: The file does not hold them.
        DownloadError: The download failed.
    """
    if name == INCEPTION:
        return InceptionFeatures(weights, allow_download)
    if name not in BACKBONES:
        raise ConfigError(unknown("network for features", name, EXTRACTORS))
    return BackboneFeatures(name, weights, allow_download)
