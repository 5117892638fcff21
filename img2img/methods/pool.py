"""Images made some steps ago, for a discriminator that should not chase the last ones only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Hands back images of earlier steps for half of the new ones.

    Until the pool is full every new image is stored and handed back. After that it is handed back with
    probability one half; else a stored image, drawn at random, is handed back and the new one takes its
    place. An image that holds a value that is not finite is handed back and never stored, and so is one with
    another number of channels or another size than the first that came.

    Draws come from torch's global generator of the device, two numbers for every image, used or not: no step
    waits for the device, and a run that restores the generator goes on exactly.

    Args:
        size: How many images are kept; 0 for no pool.

    Attributes:
        images: (size, C, H, W), a buffer made when the first image comes or a state is loaded, None until
            then. Free places hold NaN: with the images alone the pool is whole, there is no count to lose.

    References:
        Shrivastava et al., Learning from Simulated and Unsupervised Images through Adversarial Training
        (arXiv:1612.07828), as used by CycleGAN (arXiv:1703.10593).
    """

    images: Tensor | None

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", None)

    @property
    def count(self) -> Tensor:
        """How many images are stored: 0-dim, on the device."""
        if self.images is None:
            return torch.zeros((), dtype=torch.int64)
        return self.images[:, 0, 0, 0].isfinite().sum()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns (N, C, H, W) of stored and new images, without gradients; one image after the other.

        Args:
            images: (N, C, H, W), new ones.
        """
        images = images.detach()
        if not self.size:
            return images
        if self.images is None:
            dtype = torch.promote_types(images.dtype, torch.float32)
            self.images = images.new_full((self.size, *images.shape[1:]), torch.nan, dtype=dtype)
        self.images = self.images.to(images.device)  # where a state was loaded before the first step
        if images.shape[1:] != self.images.shape[1:]:
            return images
        return torch.stack([self._exchange(self.images, image) for image in images])

    def _exchange(self, stored: Tensor, image: Tensor) -> Tensor:
        coin, place = torch.rand(2, device=image.device)
        count = self.count
        full = count == self.size
        finite = image.isfinite().all()
        swap = full & finite & (coin > 0.5)
        drawn = (place * self.size).long().clamp(max=self.size - 1)
        slot = torch.where(full, drawn, count).reshape(1)
        old = stored.index_select(0, slot)[0]
        kept = torch.where(swap | (finite & ~full), image.to(stored.dtype), old)
        stored.index_copy_(0, slot, kept[None])
        return torch.where(swap, old.to(image.dtype), image)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Makes room for what is loaded; forgets what is stored if that comes from an unused pool."""
        loaded = state_dict.get(f"{prefix}images")
        if loaded is None:
            self.images = None
        else:
            device = loaded.device if self.images is None else self.images.device
            self.images = loaded.new_empty((self.size, *loaded.shape[1:]), device=device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"size={self.size}"
