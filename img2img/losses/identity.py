"""How far two pictures are apart in the eyes of a network that somebody brings: whether it is one person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.losses.pixel import full
from img2img.registry import Registry
from img2img.types import ValueRange

IdentityKind = Literal["cosine", "l2"]

feature_networks: Registry[type[nn.Module]] = Registry("feature network", "img2img.features", nn.Module)
"""Networks that turn pictures (N, 3, H, W) with black at 0 and white at 1 into features (N, ...).

Other packages bring them by entry points of the group `img2img.features`. One that has an attribute
`input_size`, a side length in pixels, is given pictures of that size.
"""


class IdentityLoss:
    """Compares the features of two pictures of one frozen network.

    It is no module of whatever holds this object, so it is in no state dict and no group of parameters. It
    follows the pictures to their device.

    Args:
        network: Its name in `feature_networks`.
        arguments: Those of its constructor.
        value_range: What stands for black and white in the pictures.
        kind: "cosine" is 1 minus the cosine of the angle between the features; "l2" their Euclidean distance,
            as Age-cGAN has it (arXiv:1702.01983).

    Raises:
        ConfigError: There is no such network, or it does not take these arguments.
    """

    def __init__(
        self,
        network: str,
        arguments: Mapping[str, Any],
        value_range: ValueRange,
        kind: IdentityKind = "cosine",
    ) -> None:
        cls = feature_networks[network]
        try:
            self.network = cls(**arguments).requires_grad_(False).eval()
        except Exception as error:
            raise ConfigError(
                f"the feature network {network!r} cannot be made: {type(error).__name__}: {error}."
            ) from error
        self.name, self.value_range, self.kind = network, value_range, kind
        self.input_size: int | None = getattr(self.network, "input_size", None)
        self._device: torch.device | None = None

    def __call__(self, made: Tensor, truth: Tensor) -> Tensor:
        """Returns the mean distance, a 0-dim fp32 tensor.

        Args:
            made: (N, 1 or 3, H, W); gradients pass through it.
            truth: The same shape; none pass through it.

        Raises:
            ConfigError: The network does not take such pictures, or its features are none.
        """
        if self._device != made.device:
            self.network.to(made.device)
            self._device = made.device
        with torch.no_grad():
            wanted = self._features(truth)
        found = self._features(made)
        distance: Tensor = 1 - F.cosine_similarity(found, wanted)
        if self.kind == "l2":
            distance = (found - wanted).norm(dim=1)
        return distance.mean()

    def _features(self, images: Tensor) -> Tensor:
        """Returns (N, values) in fp32."""
        low, high = self.value_range
        seen = (images - low) / (high - low)
        if seen.shape[1] == 1:
            seen = seen.expand(-1, 3, -1, -1)
        if self.input_size is not None and seen.shape[-2:] != (self.input_size, self.input_size):
            size = (self.input_size, self.input_size)
            # fp32: torch has no antialiased reduction in bf16 for CPUs
            seen = F.interpolate(seen.float(), size, mode="bilinear", align_corners=False, antialias=True)
        try:
            features = self.network(seen)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the feature network {self.name!r} does not take pictures of {tuple(seen.shape)}: "
                f"{str(error).splitlines()[0]}."
            ) from error
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(images):
            raise ConfigError(
                f"the feature network {self.name!r} is to return a tensor (N, ...) of features, and returns "
                f"{tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__}."
            )
        return full(features).flatten(1)
