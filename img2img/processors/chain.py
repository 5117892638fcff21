"""Operations one after the other: what the batch engine runs over a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2

from img2img.errors import ProcessingError
from img2img.image.image import Image
from img2img.processors.base import Operation


@dataclass(frozen=True)
class Chain:
    """Operations applied in order; a batch processor. Empty, it returns every image as it is.

    Attributes:
        operations: The steps. Each sees the result of the one before it and the image that entered the chain.
    """

    operations: tuple[Operation, ...] = ()

    def group_key(self, image: Image) -> Hashable:
        """Returns None: operations work on one image at a time, and gain nothing from company."""
        return None

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the processed images, in order.

        Raises:
            ProcessingError: An operation cannot process an image; operation and reason are named.
        """
        return [self.apply(image) for image in images]

    def apply(self, image: Image) -> Image:
        """Returns one processed image; raises as calling the chain does."""
        result = image
        for operation in self.operations:
            try:
                result = operation(result, image)
            except (cv2.error, MemoryError) as error:
                reason = getattr(error, "err", "") or str(error) or "not enough memory"
                raise ProcessingError(
                    f"the operation {operation.name!r} failed on {result.width} x {result.height} pixels "
                    f"with {result.channels} channels ({reason})."
                ) from error
        return result

    def settings(self) -> list[dict[str, Any]]:
        """Returns every operation with all its parameters, JSON-able; reference pictures by their content."""
        return [operation.settings() for operation in self.operations]

    def fingerprint(self) -> str:
        """Returns a short text that changes when the results may: SHA-256 of `settings`, hexadecimal."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()
