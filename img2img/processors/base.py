"""What an operation promises: one picture in, one picture out, parameters checked when it is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from img2img.errors import ProcessingError
from img2img.image.image import Image
from img2img.image.numbers import limits, require_finite
from img2img.registry import Registry


class Operation(BaseModel, ABC):
    """One step of a chain: an immutable, validated set of parameters that is callable on an image.

    A subclass is registered with `@processors.register("name")` in the file of its family; its fields are its
    parameters, each `Annotated` with `parameter(...)` for people. Whatever the depth (uint8, uint16,
    float32), the parameters mean the same and the result is the same picture; it has the dtype of the
    input. An operation takes every image that the `Image` contract allows, knows nothing of files and
    folders, and never changes its input.

    Attributes:
        name: The name in the registry and in words.
        bare: The parameters that a value without a name may stand for, in this order: `sharpen=0.5`.
        examples: Complete words, see `parse_operations`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    bare: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[str, ...]] = ()

    def __call__(self, image: Image, original: Image | None = None) -> Image:
        """Returns the processed image.

        Args:
            image: What the operation before this one returned.
            original: The picture as it entered the chain, for operations that compare; `image` when None.

        Raises:
            ProcessingError: This picture cannot be processed this way; the sentence says why.
        """
        if self.moves or image.pixels.dtype != np.float32:
            return self.apply(image)
        require_finite(image)
        with np.errstate(over="ignore", invalid="ignore"):  # values that are too large show in the result
            result = self.apply(image)
        if not np.isfinite(limits(result)).all():
            raise ProcessingError(
                f"the picture holds the value {max(limits(image), key=abs):.3g}, too large to compute with; "
                "give such places a number near the others"
            )
        return result

    @property
    def moves(self) -> bool:
        """Whether it only moves pixels, so that those may be anything, also no finite numbers."""
        return False

    @abstractmethod
    def apply(self, image: Image) -> Image:
        """Returns the processed `image`."""

    def settings(self) -> dict[str, Any]:
        """Returns name and all parameters, JSON-able; equal settings give equal pictures."""
        return {"operation": self.name, **self.model_dump(mode="json")}


OperationType = TypeVar("OperationType", bound=Operation)


class _OperationRegistry(Registry[type[Operation]]):
    """The registry of operations; it tells each class its name, and reads names as people write them."""

    def register(self, name: str) -> Callable[[type[OperationType]], type[OperationType]]:
        file = super().register(name)

        def decorate(cls: type[OperationType]) -> type[OperationType]:
            cls.name = name
            file(cls)
            return cls

        return decorate

    def __getitem__(self, name: str) -> type[Operation]:
        spelled = name.strip().lower().replace("_", "-")
        if spelled not in self:
            spelled = spelled.replace("color", "colour").replace("grey", "gray")
        return super().__getitem__(spelled)


processors = _OperationRegistry("operation")
